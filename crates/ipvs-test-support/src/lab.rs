use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// What a test needs of the kernel that it runs on, beyond what every lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Modules that nobody else uses: they may be unloaded.
    UnusedModules,
    /// The tables of iptables-legacy, whichever iptables comes first.
    LegacyTables,
    /// kube-proxy's filter: iptables and ipset.
    Iptables,
    /// A kernel that has loaded nothing yet.
    ColdKernel,
}

/// Set by `cargo xtask lab` where modules may be unloaded.
const MAY_UNLOAD: &str = "IPVS_LAB_MAY_UNLOAD";
/// Set by `cargo xtask lab --cold`.
const IS_COLD: &str = "IPVS_LAB_IS_COLD";

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnusedModules => "modules that may be unloaded",
            Self::LegacyTables => "tables of iptables-legacy",
            Self::Iptables => "iptables and ipset",
            Self::ColdKernel => "a cold kernel",
        })
    }
}

/// Whether the lab has it.
#[must_use]
pub fn lab_has(need: Need) -> bool {
    match need {
        Need::UnusedModules => std::env::var_os(MAY_UNLOAD).is_some(),
        Need::LegacyTables => has_legacy_tables(),
        Need::Iptables => {
            succeeds("iptables", &["-t", "nat", "-S"]) && succeeds("ipset", &["list"])
        }
        Need::ColdKernel => std::env::var_os(IS_COLD).is_some(),
    }
}

/// Whether a test has to end at once for what the lab lacks. A line says so, which `cargo xtask test` counts.
#[must_use]
pub fn is_skipped_without(need: Need) -> bool {
    let is_skipped = !lab_has(need);
    if is_skipped {
        println!("skipped: it needs {need}");
    }
    is_skipped
}

fn has_legacy_tables() -> bool {
    succeeds("iptables-legacy", &["-t", "nat", "-S"])
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Whether `iptables` is the legacy one.
///
/// # Errors
/// When it cannot be asked.
pub fn iptables_is_legacy() -> Result<bool> {
    let output = Command::new("iptables")
        .arg("--version")
        .output()
        .context("run iptables")?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("legacy"))
}

/// Where a program is that is called by its name: the name itself if it is nowhere.
#[must_use]
pub fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| name.into())
}
