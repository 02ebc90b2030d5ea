//! The program that the lab tests are, and the names of its tests.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

use crate::workspace::cargo_command;

/// # Errors
/// If they do not build.
pub(super) fn build() -> Result<PathBuf> {
    let mut command = cargo_command();
    command.args([
        "test",
        "--quiet",
        "--package",
        "ipvs-test-support",
        "--test",
        "lab",
        "--no-run",
    ]);
    let output = command
        .arg("--message-format=json")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the lab tests do not build");
    }
    let mut programs = Message::parse_stream(output.stdout.as_slice()).filter_map(|message| {
        match message.ok()? {
            Message::CompilerArtifact(artifact) if artifact.target.name == "lab" => {
                artifact.executable
            }
            _ => None,
        }
    });
    Ok(programs
        .next()
        .context("cargo names no lab test program")?
        .into())
}

/// Those that `words` select.
///
/// # Errors
/// If the program does not tell them.
pub(super) fn names(program: &Path, words: &[OsString]) -> Result<Vec<OsString>> {
    let output = Command::new(program)
        .args(["--list", "--format=terse"])
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot list the lab tests")?;
    if !output.status.success() {
        bail!("cannot list the lab tests: {}", output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| line.strip_suffix(b": test"))
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect())
}
