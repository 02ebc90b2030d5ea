//! User-mode Linux: a kernel with IPVS as an ordinary process, on this machine's own files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use super::script::{exports, join, quote};
use crate::workspace::{cargo_build, target};

/// Where the Debian package has the kernel's modules.
const MODULES: &str = "/usr/lib/uml/modules";
/// Where a kernel looks for them: a folder that a machine without a kernel of its own, such as a container, lacks.
pub(super) const MODULES_PLACE: &str = "/lib/modules";

/// The first process of the guest. Its files are the host's, so it writes to memory only: `/run`, and `$TMPDIR` in it.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount --bind MODULES PLACE
mkdir -p /run/tmp /run/netns
export TMPDIR=/run/tmp
hostname lab
ip link set lo up
modprobe -a ip_vs nf_conntrack 2>/dev/null
cd DIRECTORY || exit 1
RUN
echo $? > STATUS
sync
halt -f >/dev/null 2>&1
"#;

/// Standard output and standard error are consoles of their own, so that they stay apart and unchanged.
const RUN: &str = "stty -F /dev/tty1 raw -echo; stty -F /dev/tty2 raw -echo\n( exec COMMAND ) >/dev/tty1 2>/dev/tty2 </dev/null";
const SHELL: &str = "setsid sh -c 'exec bash -i </dev/tty1 >/dev/tty1 2>&1'";

/// Builds what lets the kernel run on processors with more registers than it knows.
///
/// # Errors
/// If it does not build.
pub(super) fn prepare() -> Result<()> {
    cargo_build(&["--package", "uml-ptrace"])
}

/// What the command says goes to `said`, or where this program's own output goes.
pub(super) fn run(memory: &str, command: &[OsString], said: Option<File>) -> Result<u8> {
    let folder = Folder::new()?;
    let status = folder.path.join("status");
    let init = folder.path.join("init");
    fs::write(&init, script(command, &status)?.as_bytes())?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    let mut kernel = Command::new("linux.uml");
    kernel
        .env("LD_PRELOAD", target().join("release/libuml_ptrace.so"))
        .args([
            "rootfstype=hostfs",
            "root=/dev/root",
            "rootflags=/",
            "rw",
            "quiet",
            "con=null",
            "con0=null",
        ])
        .arg(format!("mem={memory}"))
        .arg(option("uml_dir=", &folder.path))
        .arg(option("init=", &init));
    if command.is_empty() {
        kernel.arg("con1=fd:0,fd:1");
    } else {
        kernel
            .args(["con1=null,fd:1", "con2=null,fd:2"])
            .stdin(Stdio::null());
    }
    if let Some(said) = said {
        kernel.stdout(said.try_clone()?).stderr(said);
    }
    let exit = kernel
        .status()
        .context("cannot run linux.uml (package user-mode-linux)")?;
    let written = fs::read_to_string(&status).unwrap_or_default();
    match written.trim().parse() {
        Ok(status) => Ok(status),
        Err(_) => bail!(
            "the user-mode kernel ended ({exit}) before the command did: is --memory {memory} enough?"
        ),
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

fn script(command: &[OsString], status: &Path) -> Result<OsString> {
    let directory = std::env::current_dir().context("no current folder")?;
    let run = if command.is_empty() {
        SHELL.into()
    } else {
        replace(RUN.into(), "COMMAND", &join(command))
    };
    let (head, rest) = INIT.split_once('\n').context("empty script")?;
    let mut script = OsString::from(head);
    script.push("\n");
    script.push(exports());
    let rest = replace(rest.into(), "MODULES", &MODULES.into());
    let rest = replace(rest, "PLACE", &MODULES_PLACE.into());
    let rest = replace(rest, "DIRECTORY", &quote(directory.as_os_str()));
    let rest = replace(rest, "STATUS", &quote(status.as_os_str()));
    script.push(replace(rest, "RUN", &run));
    Ok(script)
}

fn replace(script: OsString, place: &str, text: &OsString) -> OsString {
    let bytes = script.as_bytes();
    let at = bytes
        .windows(place.len())
        .position(|window| window == place.as_bytes());
    let Some(at) = at else { return script };
    let mut replaced = bytes[..at].to_vec();
    replaced.extend(text.as_bytes());
    replaced.extend(&bytes[at + place.len()..]);
    std::os::unix::ffi::OsStringExt::from_vec(replaced)
}

/// A folder for one run, removed afterwards.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = target().join("lab").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is small, below target/, and replaced by the next run of the same number.
        let _ = fs::remove_dir_all(&self.path);
    }
}
