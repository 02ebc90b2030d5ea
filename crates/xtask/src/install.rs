//! Debian packages that the lab needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::find_program;

/// A program, its Debian package, and what it is needed for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

pub(crate) const fn need(
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
) -> Need {
    Need {
        program,
        package,
        purpose,
    }
}

/// For the tests and the demo, on any lab kernel.
pub(crate) const TOOLS: [Need; 6] = [
    need("ip", "iproute2", "lays out network namespaces"),
    need("iptables", "iptables", "writes the rule skeleton"),
    need("ipset", "ipset", "shows sets, for comparison"),
    need(
        "ipvsadm",
        "ipvsadm",
        "shows virtual servers, for comparison",
    ),
    need("modprobe", "kmod", "loads kernel modules"),
    need("strace", "strace", "makes system calls fail, for a test"),
];

/// For this machine's own kernel, whatever system it is.
pub(crate) const NATIVE: [Need; 2] = [
    TOOLS[0],
    need("unshare", "util-linux", "makes namespaces for the lab"),
];

/// For user-mode Linux.
pub(crate) const UML: Need = need(
    "linux.uml",
    "user-mode-linux",
    "is a Linux kernel with IPVS as an ordinary process",
);

/// For another kernel of Debian's.
pub(crate) const QEMU: [Need; 5] = [
    need(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "runs a kernel without help of this one",
    ),
    need("apt-get", "apt", "downloads kernels below target/"),
    need("dpkg-deb", "dpkg", "unpacks them"),
    need("depmod", "kmod", "lists their modules"),
    need("mkfifo", "coreutils", "makes pipes in the guest"),
];

/// What is missing of `needs`.
pub(crate) fn missing(needs: &[Need]) -> Vec<Need> {
    needs
        .iter()
        .copied()
        .filter(|need| find_program(need.program).is_none())
        .collect()
}

/// Installs what is missing, saying what and why; with `install` unset it only says so, as an error.
pub(crate) fn ensure(needs: &[Need], install: bool) -> Result<()> {
    ensure_all(&missing(needs), install)
}

/// The same for a program that is not on the search path but in one of some places.
pub(crate) fn ensure_file(need: Need, places: &[&str], install: bool) -> Result<()> {
    if places.iter().any(|place| Path::new(place).is_file()) {
        return Ok(());
    }
    ensure_all(&[need], install)
}

fn ensure_all(missing: &[Need], install: bool) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    for need in missing {
        eprintln!(
            "{} is missing: it {} (package {})",
            need.program, need.purpose, need.package
        );
    }
    let apt = find_program("apt-get").context(
        "no apt-get here: install the programs above by hand; the packages are Debian's",
    )?;
    if !install {
        bail!(
            "install them with: sudo apt-get install {}",
            packages.join(" ")
        );
    }
    let command = || as_root(&apt);
    let install = |quiet: bool| {
        let mut command = command();
        command
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&packages);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        let output = command.output().context("cannot run apt-get")?;
        if !output.status.success() && !quiet {
            bail!(
                "apt-get install failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        anyhow::Ok(output.status.success())
    };
    eprintln!("installing {}", packages.join(" "));
    // The list of packages may be old, or missing on a fresh machine.
    if !install(true)? {
        let updated = command()
            .arg("update")
            .output()
            .context("cannot run apt-get")?;
        if !updated.status.success() {
            bail!(
                "apt-get update failed:\n{}",
                String::from_utf8_lossy(&updated.stderr)
            );
        }
        install(false)?;
    }
    Ok(())
}

/// The program itself where this is root, by `sudo` elsewhere.
fn as_root(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}
