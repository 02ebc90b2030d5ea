//! Everything that is checked, and a summary of what was.

use std::ffi::OsString;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::bench::{self, ChurnOptions};
use crate::big_endian;
use crate::fuzz;
use crate::lab::{self, Backend, Kernel, LabOptions};
use crate::lab_tests::LabTests;
use crate::matrix;
use crate::workspace::{cargo_command, find_program};

/// The tests that tell most about a kernel.
const CORE: [&str; 3] = ["golden::", "packets::", "cold::"];
/// Where property tests, and `ipvs_test_support::seed`, look for it.
const SEED: &str = "PROPTEST_RNG_SEED";

#[derive(Debug, Clone, Args)]
pub(crate) struct TestOptions {
    /// Leave out what needs the lab.
    #[arg(long)]
    quick: bool,

    /// Also the tests that take minutes each.
    #[arg(long)]
    nightly: bool,

    /// Only the tests in the lab that tell kernels apart, on every kernel with every iptables (or those of --kernel and
    /// --backend), and a table of what passed.
    #[arg(long, conflicts_with_all = ["quick", "nightly", "filter"])]
    matrix: bool,

    /// What chance begins with, as a failure tells it. With --nightly each run has another one.
    #[arg(long)]
    seed: Option<u64>,

    /// Only tests whose name contains this, without formatting and lints.
    filter: Option<String>,

    #[command(flatten)]
    lab: LabOptions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f32();
        match &self.outcome {
            Outcome::Passed => write!(f, "  passed   {:<22} {seconds:6.1} s", self.name),
            Outcome::Failed(why) => {
                write!(f, "  FAILED   {:<22} {seconds:6.1} s  {why}", self.name)
            }
            Outcome::Skipped(why) => write!(f, "  skipped  {:<22}           {why}", self.name),
        }
    }
}

/// Runs all steps, also after one failed.
pub(crate) fn run(options: &TestOptions) -> Result<u8> {
    if options.matrix {
        return matrix::run(&options.lab);
    }
    let filter = options.filter.as_deref();
    let filter_words: Vec<OsString> = filter.into_iter().map(OsString::from).collect();
    let mut words = filter_words.clone();
    if options.nightly {
        // But for those of `cargo xtask golden --cases`.
        words.extend(["--include-ignored", "--skip=every_case_of_a_folder"].map(OsString::from));
    }
    let seed = options.seed.or_else(|| options.nightly.then(any_seed));
    if let Some(seed) = seed {
        println!("chance begins with --seed {seed}");
    }
    let environment = seed.map(|seed| format!("{SEED}={seed}").into());
    let environment: Vec<OsString> = environment.into_iter().collect();
    let cargo_test = |arguments: &[&str], words: &[OsString]| {
        let mut command = cargo_command();
        command.args(["test", "--quiet"]).args(arguments);
        command.envs(seed.map(|seed| (SEED, seed.to_string())));
        succeeded(command.arg("--").args(words))
    };
    let mut steps = Vec::new();
    let mut step = |name: &'static str, work: &dyn Fn() -> Result<Outcome>| {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        steps.push(Step {
            name,
            outcome,
            took: start.elapsed(),
        });
    };
    if filter.is_none() {
        step("format", &|| cargo(&["fmt", "--all", "--check"]));
        step("lints", &|| {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-Dwarnings",
            ])
        });
        step("lints of lab tests", &|| {
            cargo(&[
                "clippy",
                "--package",
                "ipvs-test-support",
                "--test",
                "lab",
                "--",
                "-Dwarnings",
            ])
        });
        step("documentation", &documentation);
        step("dependencies", &dependencies);
    }
    step("unit and property", &|| {
        cargo_test(
            &[
                "--workspace",
                "--all-features",
                "--lib",
                "--bins",
                "--tests",
            ],
            &words,
        )
    });
    step("doc tests", &|| {
        cargo_test(&["--workspace", "--all-features", "--doc"], &filter_words)
    });
    step("fuzz targets", &|| {
        cargo_test(&["--manifest-path", "fuzz/Cargo.toml"], &filter_words)
    });
    if filter.is_none() {
        step("fuzzing", &fuzzing);
        step("other byte order", &other_byte_order);
    }
    if options.quick {
        step("lab and packets", &|| {
            Ok(Outcome::Skipped("--quick".to_owned()))
        });
    } else {
        step("lab and packets", &|| {
            lab::require_tools(&options.lab)?;
            in_lab(&options.lab, &environment, &words)
        });
        // It takes minutes, and the default run is to stay below 25.
        if options.nightly && filter.is_none() && options.lab.kernel() == Kernel::Uml {
            step("lab core on 6.12, nft", &|| {
                core(&options.lab, &environment)
            });
        }
    }
    if options.nightly && !options.quick && filter.is_none() {
        step("churn", &|| {
            let options = ChurnOptions::promised(&options.lab);
            bench::churn(&options).map(|_| Outcome::Passed)
        });
    }
    Ok(summary(&steps))
}

fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn summary(steps: &[Step]) -> u8 {
    println!("\n== summary");
    steps.iter().for_each(|step| println!("{step}"));
    let count =
        |wanted: fn(&Outcome) -> bool| steps.iter().filter(|step| wanted(&step.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    println!(
        "\nsteps: {} passed, {failed} failed, {skipped} skipped",
        steps.len() - failed - skipped
    );
    u8::from(failed > 0)
}

fn succeeded(command: &mut Command) -> Result<Outcome> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(status.to_string())
    })
}

fn cargo(arguments: &[&str]) -> Result<Outcome> {
    succeeded(cargo_command().args(arguments))
}

fn documentation() -> Result<Outcome> {
    succeeded(
        cargo_command()
            .args(["doc", "--quiet", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )
}

fn dependencies() -> Result<Outcome> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let installed = home.is_some_and(|home| home.join("bin/cargo-deny").is_file());
    if !installed && find_program("cargo-deny").is_none() {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed: cargo install cargo-deny".to_owned(),
        ));
    }
    cargo(&[
        "deny",
        "--config",
        ".deny.toml",
        "check",
        "licenses",
        "bans",
        "sources",
    ])
}

fn fuzzing() -> Result<Outcome> {
    if let Some(problem) = fuzz::problem() {
        return Ok(Outcome::Skipped(problem.to_owned()));
    }
    Ok(match fuzz::run()? {
        None => Outcome::Passed,
        Some(target) => Outcome::Failed(target),
    })
}

fn other_byte_order() -> Result<Outcome> {
    match big_endian::command() {
        Ok(mut command) => succeeded(&mut command),
        Err(why) => Ok(Outcome::Skipped(why.to_owned())),
    }
}

fn in_lab(options: &LabOptions, environment: &[OsString], words: &[OsString]) -> Result<Outcome> {
    let report = LabTests::build()?.run(options, environment, words)?;
    println!(
        "\n{} passed, {} failed, {} skipped for what this lab lacks",
        report.passed, report.failed, report.skipped
    );
    Ok(match report.status {
        0 => Outcome::Passed,
        status => Outcome::Failed(format!("exit status {status}")),
    })
}

/// What nodes run today: user-mode Linux has no iptables-nft. Where the kernel cannot be fetched, the rest is test enough.
fn core(options: &LabOptions, environment: &[OsString]) -> Result<Outcome> {
    let options = LabOptions {
        kernel: Kernel::of_nodes(),
        backend: Some(Backend::Nft),
        ..options.clone()
    };
    if let Err(error) = lab::require_tools(&options) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    in_lab(&options, environment, &CORE.map(OsString::from))
}
