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
    Load(LoadOptions),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LoadOptions {
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
    let Bench::Load(options) = bench;
    lab::require(&options.lab)?;
    let program = build_load()?;
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

fn build_load() -> Result<OsString> {
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
            "bench-load",
        ])
        .current_dir(root());
    if !command.status().context("cannot run cargo")?.success() {
        bail!("the bench does not build");
    }
    Ok(target().join("release/bench-load").into_os_string())
}
