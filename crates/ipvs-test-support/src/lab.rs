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
    /// A kernel that has loaded nothing yet.
    ColdKernel,
}

/// Set by `cargo xtask lab` where modules may be unloaded.
const MAY_UNLOAD: &str = "IPVS_LAB_MAY_UNLOAD";
/// Set by `cargo xtask lab --cold`.
const IS_COLD: &str = "IPVS_LAB_IS_COLD";

/// Whether the lab has what a test needs. If not, a line says so, which `cargo xtask test` counts: the test ends there.
#[must_use]
pub fn lab_has(need: Need) -> bool {
    let (has, what) = match need {
        Need::UnusedModules => (
            std::env::var_os(MAY_UNLOAD).is_some(),
            "modules that may be unloaded",
        ),
        Need::LegacyTables => (has_legacy_tables(), "tables of iptables-legacy"),
        Need::ColdKernel => (std::env::var_os(IS_COLD).is_some(), "a cold kernel"),
    };
    if !has {
        println!("skipped: it needs {what}");
    }
    has
}

fn has_legacy_tables() -> bool {
    let listed = Command::new("iptables-legacy")
        .args(["-t", "nat", "-S"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    listed.is_ok_and(|status| status.success())
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
