//! The tests that need the lab, dealt out to as many kernels as there are processors.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

use crate::demo::{build_examples, examples_variable};
use crate::lab::{self, Kernel, LabOptions};
use crate::workspace::{cargo_command, target};

/// For each kernel that runs beside others: enough that none has much more to do, few enough that booting is cheap.
const HANDS: usize = 4;

/// Runs those that `words` select, with more in their environment; returns an exit status.
pub(crate) fn run(
    options: &LabOptions,
    environment: &[OsString],
    words: &[OsString],
) -> Result<u8> {
    lab::require(options)?;
    let examples = build_examples(false, &[])?;
    let program = build()?;
    let mut command = vec![OsString::from("env"), examples_variable(&examples)];
    command.extend_from_slice(environment);
    command.push(program.clone().into());
    // What a test says of its requests and failures stands on its line.
    command.extend(["--test-threads=1", "--nocapture"].map(OsString::from));

    let kernels = match options.kernel() {
        // It stays the same one, and its modules and sysctls with it.
        Kernel::Native => 1,
        // Each has one processor, or needs most of it.
        Kernel::Uml | Kernel::Debian(_) => thread::available_parallelism().map_or(1, NonZero::get),
    };
    let names = names(&program, words)?;
    let kernels = kernels.min(names.len());
    if kernels < 2 {
        command.extend_from_slice(words);
        return lab::run(options, &command);
    }
    let is_flag = |word: &&OsString| word.as_bytes().starts_with(b"--");
    command.extend(words.iter().filter(is_flag).cloned());
    command.push("--exact".into());
    let hands = kernels.saturating_mul(HANDS).min(names.len());
    let dealt = (0..hands).map(|first| {
        let mut hand = command.clone();
        // In turn: neighbours are alike, so each gets as much of each kind.
        hand.extend(names.iter().skip(first).step_by(hands).cloned());
        hand
    });
    run_beside(options, kernels, &dealt.collect::<Vec<_>>())
}

fn build() -> Result<PathBuf> {
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

fn names(program: &Path, words: &[OsString]) -> Result<Vec<OsString>> {
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

/// Runs each command in a kernel of its own, so many at a time. What one says is seen when it has ended.
fn run_beside(options: &LabOptions, kernels: usize, commands: &[Vec<OsString>]) -> Result<u8> {
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let mut worst = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(command) = commands.get(number) else {
                return anyhow::Ok(worst);
            };
            let said = target().join(format!("lab-tests-{number}.txt"));
            let status = lab::run_into(options, command, &said);
            std::io::stdout().write_all(&fs::read(said)?)?;
            worst = worst.max(status?);
        }
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..kernels {
            threads.push(scope.spawn(one_after_the_other));
        }
        let mut worst = 0;
        for thread in threads {
            let status = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            worst = worst.max(status?);
        }
        Ok(worst)
    })
}
