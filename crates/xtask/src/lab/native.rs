//! This machine's kernel, in fresh network and mount namespaces.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

const SETUP: &str = "mount --make-rprivate / && mount -t sysfs sys /sys && mkdir -p /run/netns && \
                     mount -t tmpfs netns /run/netns && ip link set lo up && exec \"$@\"";

/// Why this machine's kernel cannot be used, if it cannot.
pub(super) fn problem() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root");
    }
    let has_ipvs = || Path::new("/proc/net/ip_vs").exists();
    if !has_ipvs() {
        // Loads it where it is a module; where modprobe is missing, the file stays missing too.
        let _ = Command::new("modprobe").args(["-q", "ip_vs"]).status();
    }
    if has_ipvs() {
        None
    } else {
        Some("it has no IPVS")
    }
}

pub(super) fn run(command: &[OsString]) -> Result<u8> {
    let shell = [OsString::from("sh")];
    let command = if command.is_empty() {
        &shell[..]
    } else {
        command
    };
    let status = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", SETUP, "lab"])
        .args(command)
        .status()
        .context("cannot run unshare (package util-linux)")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
