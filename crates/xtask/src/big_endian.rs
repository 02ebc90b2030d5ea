//! The codec's tests on a machine with the other byte order, where there is an emulator and a toolchain for one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{cargo_command, find_program};

const TARGET: &str = "s390x-unknown-linux-gnu";
const LINKER: &str = "s390x-linux-gnu-gcc";
/// Where Debian's cross compiler has its libraries.
const LIBRARIES: &str = "/usr/s390x-linux-gnu";

/// How the tests are run, or why they cannot be.
pub(crate) fn command() -> Result<Command, &'static str> {
    let emulator = ["qemu-s390x-static", "qemu-s390x"]
        .into_iter()
        .find(|name| find_program(name).is_some())
        .ok_or("no qemu-s390x: Debian's qemu-user-static")?;
    if find_program(LINKER).is_none() {
        return Err("no s390x-linux-gnu-gcc: Debian's gcc-s390x-linux-gnu");
    }
    if !has_standard_library() {
        return Err("no such standard library: rustup target add s390x-unknown-linux-gnu");
    }
    let mut command = cargo_command();
    command
        .args(["test", "--quiet", "--target", TARGET])
        .args(["--package", "ipvs-codec", "--all-features", "--tests"])
        .env("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER",
            format!("{emulator} -L {LIBRARIES}"),
        );
    Ok(command)
}

fn has_standard_library() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        let folder: PathBuf = Path::new(folder.trim()).into();
        !folder.as_os_str().is_empty() && folder.is_dir()
    })
}
