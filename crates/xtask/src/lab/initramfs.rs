//! For kernels that cannot mount virtiofs by themselves: a program, a few modules, and a script that mounts the root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::modules::{ModuleList, name_of};

/// Its name, beside the kernel's folders.
pub(super) const FILE: &str = "initramfs.cpio";

/// What must be there before the root is.
const NEEDED: [&str; 2] = ["virtio_pci", "virtiofs"];

/// `lab_init=` of the kernel's command line is a variable here.
const INIT: &str = r#"#!/bin/busybox sh
for module in MODULES; do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t virtiofs host /root
exec /bin/busybox switch_root /root "$lab_init"
"#;

/// Whether the kernel has something of what it needs as a module.
///
/// # Errors
/// If its lists cannot be read.
pub(super) fn is_needed(modules: &Path) -> Result<bool> {
    let builtin = fs::read_to_string(modules.join("modules.builtin"))
        .with_context(|| format!("cannot read modules.builtin in {}", modules.display()))?;
    let builtin: BTreeSet<String> = builtin.lines().map(name_of).collect();
    Ok(NEEDED.iter().any(|name| !builtin.contains(*name)))
}

/// Writes it, with `busybox` in it.
///
/// # Errors
/// If a module is missing, or the archive cannot be written.
pub(super) fn build(modules: &Path, busybox: &Path, file: &Path) -> Result<()> {
    let list = ModuleList::read(modules)?;
    let folder = file.with_extension("files");
    for name in ["bin", "modules", "root"] {
        fs::create_dir_all(folder.join(name)).context("cannot make the initramfs")?;
    }
    fs::copy(busybox, folder.join("bin/busybox")).context("no busybox")?;
    let mut files = Vec::new();
    for needed in NEEDED {
        for path in list.with_needs(needed) {
            let source = modules.join(path);
            let name = source.file_name().context("a module without a name")?;
            let name = name.to_string_lossy().into_owned();
            if !files.contains(&name) {
                fs::copy(&source, folder.join("modules").join(&name))
                    .with_context(|| format!("cannot copy {}", source.display()))?;
                files.push(name);
            }
        }
    }
    let init = folder.join("init");
    fs::write(&init, INIT.replace("MODULES", &files.join(" "))).context("cannot write init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&folder, file)?;
    fs::remove_dir_all(&folder).context("cannot remove the initramfs's files")
}

fn pack(folder: &Path, file: &Path) -> Result<()> {
    let archive =
        fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let status = Command::new("sh")
        .args(["-c", "bin/busybox find . | bin/busybox cpio -o -H newc"])
        .current_dir(folder)
        .stdout(archive)
        .stderr(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("cannot pack the initramfs: {status}");
    }
    Ok(())
}
