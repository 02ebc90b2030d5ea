//! Measurements that need the lab.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::lab::{self, LabOptions};
use crate::workspace::{root, target};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Load a generated cluster into an empty kernel, beside the replay of the same messages: a JSON line for each size.
    Load(SizeOptions),
    /// Read a generated table back, beside a loop that receives the same and parses nothing: a JSON line for each size.
    Dump(SizeOptions),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SizeOptions {
    /// Numbers of services.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    services: Vec<u32>,

    /// Endpoints of each service.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,

    #[command(flatten)]
    lab: LabOptions,
}

pub(crate) fn run(bench: &Bench) -> Result<u8> {
    let (program, options) = match bench {
        Bench::Load(options) => ("bench-load", options),
        Bench::Dump(options) => ("bench-dump", options),
    };
    lab::require(&options.lab)?;
    let program = build(program)?;
    // One boot for each size: the kernel remembers removed real servers for minutes.
    for services in &options.services {
        let arguments = [
            "--services",
            &services.to_string(),
            "--endpoints",
            &options.endpoints.to_string(),
        ];
        let command = [program.clone()]
            .into_iter()
            .chain(arguments.map(OsString::from));
        let status = lab::run(&options.lab, &command.collect::<Vec<_>>())?;
        if status != 0 {
            bail!("{services} services: exit status {status}");
        }
    }
    Ok(0)
}

fn build(program: &str) -> Result<OsString> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "benches",
            "--bin",
            program,
        ])
        .current_dir(root());
    if !command.status().context("cannot run cargo")?.success() {
        bail!("the bench does not build");
    }
    Ok(target().join("release").join(program).into_os_string())
}
