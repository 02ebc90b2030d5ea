//! The program that hands this machine's files to a guest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::folder::Folder;
use crate::install::{Need, need};

/// What it is on Debian 13 and later; before, it is a part of QEMU.
pub(super) const PACKAGE: Need = need(
    "virtiofsd",
    "virtiofsd",
    "hands this machine's files to the guest",
);
/// Not on the search path anywhere.
pub(super) const PLACES: [&str; 3] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/lib/virtiofsd",
];
const PAUSE: Duration = Duration::from_millis(20);

/// The program, if it is installed.
pub(super) fn program() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|file| file.is_file())
}

/// It runs, for one guest.
#[derive(Debug)]
pub(super) struct Virtiofsd {
    child: Child,
    socket: PathBuf,
}

impl Virtiofsd {
    /// # Errors
    /// With what it says, for example that it lacks a right.
    pub(super) fn start(folder: &Folder) -> Result<Self> {
        let program = program().context("virtiofsd is not installed")?;
        let socket = folder.file("virtiofsd");
        let log = folder.file("virtiofsd.txt");
        let mut command = command(&program, &socket);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut virtiofsd = Self { child, socket };
        while !virtiofsd.socket.exists() {
            if let Some(exit) = virtiofsd.child.try_wait()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} ended ({exit}): {}", program.display(), said.trim());
            }
            thread::sleep(PAUSE);
        }
        Ok(virtiofsd)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Virtiofsd {
    fn drop(&mut self) {
        // It ends with the guest by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's own until 7.2 and the one in Rust since have other options, and other ways without root.
fn command(program: &Path, socket: &Path) -> Command {
    let is_root = rustix::process::geteuid().is_root();
    if !program.starts_with("/usr/lib/qemu") {
        let mut command = Command::new(program);
        // The whole of this machine is shared, so there is nothing to keep it from.
        let sandbox = if is_root { "chroot" } else { "none" };
        command.args([
            "--shared-dir",
            "/",
            "--cache",
            "always",
            "--sandbox",
            sandbox,
        ]);
        command.arg("--socket-path").arg(socket);
        return command;
    }
    let mut command = if is_root {
        Command::new(program)
    } else {
        // It insists on being root: this user is, in a namespace of its own. Its lock is in `/run`, which guests do not use.
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs tmpfs /run && mkdir /run/virtiofsd && exec \"$@\"";
        command.args(["--user", "--map-root-user", "--mount"]);
        command.args(["sh", "-c", script, "sh"]).arg(program);
        command
    };
    let mut path = std::ffi::OsString::from("--socket-path=");
    path.push(socket);
    command.arg(path);
    command.args(["-o", "source=/,cache=always,sandbox=chroot,log_level=warn"]);
    command
}
