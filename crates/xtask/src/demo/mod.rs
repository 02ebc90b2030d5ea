//! The demo: a node, two pods and a client in a real kernel, and the reference proxier between them.

mod inside;
mod requests;

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::lab::{self, LabOptions};
use crate::workspace::{root, target};

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    lab: LabOptions,

    /// The part that runs in the lab.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Builds the reference proxier, boots the lab, and shows requests being answered there.
pub(crate) fn run(options: &DemoOptions) -> Result<u8> {
    if options.inside {
        return inside::run().map(|()| 0);
    }
    lab::require(&options.lab)?;
    let proxier = build_kube_proxy(true)?;
    println!("booting the lab");
    let itself = std::env::current_exe().context("where is this program?")?;
    let command = [itself.into_os_string(), "demo".into(), "--inside".into()];
    let with_proxier = [OsString::from("env"), kube_proxy_variable(&proxier)]
        .into_iter()
        .chain(command);
    lab::run(&options.lab, &with_proxier.collect::<Vec<_>>())
}

/// `KUBE_PROXY=PATH`, by which the tests and the demo find the program.
pub(crate) fn kube_proxy_variable(path: &std::path::Path) -> OsString {
    let mut variable = OsString::from("KUBE_PROXY=");
    variable.push(path);
    variable
}

/// Builds the reference proxier; returns where it is.
pub(crate) fn build_kube_proxy(release: bool) -> Result<std::path::PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--package",
            "examples",
            "--example",
            "kube-proxy",
        ])
        .current_dir(root());
    if release {
        command.arg("--release");
    }
    println!("building the reference proxier");
    if !command.status().context("cannot run cargo")?.success() {
        bail!("the reference proxier does not build");
    }
    Ok(target()
        .join(if release { "release" } else { "debug" })
        .join("examples/kube-proxy"))
}
