//! Recorded states of the real kube-proxy, compared with ours in the lab.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::lab::{self, LabOptions};
use crate::lab_tests::LabTests;

#[derive(Debug, Args)]
pub(crate) struct GoldenOptions {
    /// Folder of cases instead of the repository's own: in each an `input.yaml`, and for each set of arguments a folder
    /// with `args` and what `capture` writes.
    #[arg(long, value_name = "FOLDER")]
    cases: Option<PathBuf>,

    #[command(flatten)]
    lab: LabOptions,
}

pub(crate) fn run(options: &GoldenOptions) -> Result<u8> {
    let Some(cases) = &options.cases else {
        return run_tests(options, &[], &["golden::".into()]);
    };
    let cases = cases
        .canonicalize()
        .with_context(|| format!("no folder {}", cases.display()))?;
    let mut folder = OsString::from("IPVS_GOLDEN=");
    folder.push(&cases);
    let words = ["--ignored", "golden::every_case_of_a_folder"];
    run_tests(options, &[folder], &words.map(OsString::from))
}

fn run_tests(options: &GoldenOptions, environment: &[OsString], words: &[OsString]) -> Result<u8> {
    lab::require_tools(&options.lab)?;
    let tests = LabTests::build()?;
    Ok(tests.run(&options.lab, environment, words)?.status)
}
