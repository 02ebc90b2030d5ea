//! The fuzzer, where there is one: `cargo test` runs the targets on their seeds anywhere.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace::{find_program, root, target};

/// How long each target is fuzzed by `cargo xtask test`.
const SECONDS: u32 = 20;

/// Why there is no fuzzing here.
pub(crate) fn problem() -> Option<&'static str> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let installed = home.is_some_and(|home| home.join("bin/cargo-fuzz").is_file());
    if !installed && find_program("cargo-fuzz").is_none() {
        return Some("cargo-fuzz is not installed: cargo install cargo-fuzz");
    }
    let nightly = Command::new("cargo")
        .args(["+nightly", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if nightly.is_ok_and(|status| status.success()) {
        None
    } else {
        Some("no nightly toolchain: rustup toolchain install nightly")
    }
}

/// Fuzzes every target for a while; the name of the first that fails.
pub(crate) fn run() -> Result<Option<String>> {
    for name in targets()? {
        println!("fuzzing {name} for {SECONDS} s");
        // What is found belongs to this run: the seeds stay as they are.
        let found = target().join("fuzz-corpus").join(&name);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        let seeds = root().join("fuzz/corpus").join(&name);
        let status = Command::new("cargo")
            .args(["+nightly", "fuzz", "run", "--features", "libfuzzer"])
            .arg(&name)
            .args([found, seeds])
            .args(["--", &format!("-max_total_time={SECONDS}"), "-verbosity=0"])
            .current_dir(root())
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort_unstable();
    Ok(names)
}
