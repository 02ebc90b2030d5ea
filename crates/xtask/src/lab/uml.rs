//! User-mode Linux: a kernel with IPVS as an ordinary process, on this machine's own files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::LabOptions;
use super::folder::Folder;
use super::guest::{Guest, exit_status};
use super::kernel::Backend;
use super::modules;
use crate::workspace::{cargo_build, target};

/// Where the Debian package has the kernel's modules.
const MODULES: &str = "/usr/lib/uml/modules";

/// Standard output and standard error are consoles of their own, so that they stay apart and unchanged.
const RUN: &str = "stty -F /dev/tty1 raw -echo; stty -F /dev/tty2 raw -echo\n( exec COMMAND ) >/dev/tty1 2>/dev/tty2 </dev/null";
const SHELL: &str = "setsid sh -c 'exec bash -i </dev/tty1 >/dev/tty1 2>&1'";
const END: &str = "halt -f >/dev/null 2>&1";
const PRELOADED: [&str; 2] = ["ip_vs", "nf_conntrack"];

/// Builds what lets the kernel run on processors with more registers than it knows.
///
/// # Errors
/// If it does not build.
pub(super) fn prepare() -> Result<()> {
    cargo_build(&["--package", "uml-ptrace"])
}

/// What the command says goes to `said`, or where this program's own output goes.
pub(super) fn run(options: &LabOptions, command: &[OsString], said: Option<File>) -> Result<u8> {
    let folder = Folder::new()?;
    let status = folder.file("status");
    let init = folder.file("init");
    let all_modules = Path::new(MODULES);
    let hidden = options.hidden_modules();
    let seen_modules: PathBuf = if hidden.is_empty() {
        all_modules.to_owned()
    } else {
        let release = modules::release(all_modules)?;
        modules::without(all_modules, &release, &hidden, folder.path())?
    };
    let guest = Guest {
        command,
        status: &status,
        machine: "",
        all_modules,
        modules: &seen_modules,
        boot: None,
        preloaded: if options.cold { &[] } else { &PRELOADED },
        backend: Backend::Legacy,
        run: if command.is_empty() { SHELL } else { RUN },
        end: END,
    };
    fs::write(&init, guest.script()?.as_encoded_bytes())?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    let memory = &options.memory;
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
        .arg(option("uml_dir=", folder.path()))
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
    let Some(status) = exit_status(&status)? else {
        bail!(
            "the user-mode kernel ended ({exit}) before the command did: is --memory {memory} enough?"
        )
    };
    Ok(status)
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
