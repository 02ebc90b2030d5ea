#![doc = include_str!("../README.md")]

mod bench;
mod big_endian;
mod capture;
mod capture_nftables;
mod demo;
mod fuzz;
mod golden;
mod install;
mod lab;
mod lab_tests;
mod matrix;
mod test;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::capture::CaptureOptions;
use crate::capture_nftables::CaptureNftablesOptions;
use crate::demo::DemoOptions;
use crate::golden::GoldenOptions;
use crate::lab::LabOptions;
use crate::test::TestOptions;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developer commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the reference proxier at work: a node, two pods and a client in a real kernel, every VIP asked.
    Demo(DemoOptions),
    /// Run every check: format, lints, tests without and with a real kernel.
    Test(TestOptions),
    /// Measure: in a real kernel, or the model alone.
    #[command(subcommand)]
    Bench(Bench),
    /// Compare the kernel's state with what the real kube-proxy made of the same objects.
    Golden(GoldenOptions),
    /// Record what ipvsadm and the kernel say to each other, for the codec's tests.
    Capture(CaptureOptions),
    /// Record what nft and the kernel say to each other, for the codec's tests.
    CaptureNftables(CaptureNftablesOptions),
    /// Run a command in a real IPVS kernel, with the repository at its own path; a shell if there is none.
    Lab {
        #[command(flatten)]
        options: LabOptions,
        /// Command and arguments, behind `--`.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(options) => Ok(ExitCode::from(demo::run(&options)?)),
        Command::Test(options) => Ok(ExitCode::from(test::run(&options)?)),
        Command::Bench(bench) => Ok(ExitCode::from(bench::run(&bench)?)),
        Command::Golden(options) => Ok(ExitCode::from(golden::run(&options)?)),
        Command::Capture(options) => Ok(ExitCode::from(capture::run(&options)?)),
        Command::CaptureNftables(options) => Ok(ExitCode::from(capture_nftables::run(&options)?)),
        Command::Lab { options, command } => {
            lab::require(&options)?;
            Ok(ExitCode::from(lab::run(&options, &command)?))
        }
    }
}
