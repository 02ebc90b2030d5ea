//! The demo: a node, two pods and a client in a real kernel, and the reference proxier between them.

mod inside;
mod requests;

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::lab::{self, LabOptions};
use crate::workspace::{cargo_command, target};

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
    lab::require_tools(&options.lab)?;
    println!("building the reference proxier");
    let examples = build_examples(true, &["kube-proxy"])?;
    println!("booting the lab");
    let itself = std::env::current_exe().context("where is this program?")?;
    let command = [itself.into_os_string(), "demo".into(), "--inside".into()];
    let with_proxier = [OsString::from("env"), examples_variable(&examples)]
        .into_iter()
        .chain(command);
    lab::run(&options.lab, &with_proxier.collect::<Vec<_>>())
}

/// `IPVS_EXAMPLES=FOLDER`, by which the tests and the demo find the programs.
pub(crate) fn examples_variable(folder: &std::path::Path) -> OsString {
    let mut variable = OsString::from("IPVS_EXAMPLES=");
    variable.push(folder);
    variable
}

/// Builds examples, all of them if none is named; returns the folder that they are in.
pub(crate) fn build_examples(release: bool, names: &[&str]) -> Result<std::path::PathBuf> {
    let mut command = cargo_command();
    command.args(["build", "--quiet", "--package", "examples"]);
    match names {
        [] => {
            command.arg("--examples");
        }
        names => {
            command.args(names.iter().flat_map(|name| ["--example", name]));
        }
    }
    if release {
        command.arg("--release");
    }
    if !command.status().context("cannot run cargo")?.success() {
        bail!("the examples do not build");
    }
    Ok(target()
        .join(if release { "release" } else { "debug" })
        .join("examples"))
}
