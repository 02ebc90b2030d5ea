//! This machine's kernel, in fresh network and mount namespaces: what the command writes to `/run`, `/etc`, `/lib` and `/var`
//! is gone with it.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::LabOptions;
use super::guest::{MAY_UNLOAD, cover, iptables_first};

const SETUP: &str = r#"
refuse() { echo "lab: $1" >&2; exit 1; }
mount --make-rprivate / && mount -t sysfs sys /sys && mount -t tmpfs tmpfs /run || refuse "cannot mount"
# An overlay is a module on many systems.
modprobe -q overlay
ip link set lo up || refuse "lo stays down"
"#;

/// Why this machine's kernel cannot be used, if it cannot.
pub(super) fn problem() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root (sudo -E env PATH=\"$PATH\" cargo xtask …)");
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

/// What the command says goes to `said`, or where this program's own output goes.
pub(super) fn run(options: &LabOptions, command: &[OsString], said: Option<File>) -> Result<u8> {
    let shell = [OsString::from("sh")];
    let command = if command.is_empty() {
        &shell[..]
    } else {
        command
    };
    let mut setup = OsString::from(SETUP);
    setup.push(cover(None));
    setup.push(iptables_first(options.backend()));
    setup.push("exec \"$@\"\n");
    let mut lab = Command::new("unshare");
    lab.args(["--net", "--mount", "sh", "-c"]);
    lab.arg(setup).arg("lab").args(command);
    if options.unload_modules {
        lab.env(MAY_UNLOAD, "1");
    } else {
        // Set where this machine is itself a guest.
        lab.env_remove(MAY_UNLOAD);
    }
    if let Some(said) = said {
        lab.stdout(said.try_clone()?).stderr(said);
    }
    let status = lab
        .status()
        .context("cannot run unshare (package util-linux)")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}
