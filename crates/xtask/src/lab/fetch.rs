//! Debian's kernels, downloaded below `target/` and kept there; nothing is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::archive::Archive;
use super::initramfs;
use super::kernel::DebianKernel;
use super::modules::{depmod, release};
use crate::workspace::target;

/// The package that depends on the newest kernel of a suite: with all that virtual machines need, and little else.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that is there.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) image: PathBuf,
    /// The folder with one folder of modules, named by the kernel's release.
    pub(super) modules: PathBuf,
    /// What mounts the root, where the kernel cannot by itself.
    pub(super) initramfs: Option<PathBuf>,
    /// The kernel's configuration and symbols, as `/boot` has them.
    pub(super) boot: PathBuf,
}

/// The kernel, downloaded if it is not there yet.
///
/// # Errors
/// If it cannot be downloaded or unpacked.
pub(super) fn kernel(kernel: &DebianKernel) -> Result<Fetched> {
    let kernels = target().join("lab/kernels");
    let folder = kernels.join(kernel.name);
    if !folder.is_dir() {
        let part = kernels.join(format!("{}.part-{}", kernel.name, std::process::id()));
        let fetched = fetch(kernel, &part)
            .with_context(|| format!("no kernel {}: cannot fetch it", kernel.name));
        let renamed = fetched.and_then(|()| match fs::rename(&part, &folder) {
            // Another run was faster.
            Err(_) if folder.is_dir() => Ok(()),
            renamed => renamed.with_context(|| format!("cannot make {}", folder.display())),
        });
        // Gone if all went well; else the next try begins anew.
        let _ = fs::remove_dir_all(&part);
        renamed?;
    }
    found(&folder)
}

fn found(folder: &Path) -> Result<Fetched> {
    let modules = folder.join("lib/modules");
    let release = release(&modules)?;
    let in_boot = folder.join("boot").join(format!("vmlinuz-{release}"));
    // Since 7.x.
    let in_modules = modules.join(&release).join("vmlinuz");
    let image = [in_boot, in_modules]
        .into_iter()
        .find(|file| file.is_file());
    let initramfs = folder.join(initramfs::FILE);
    Ok(Fetched {
        image: image.with_context(|| {
            format!(
                "no kernel in {}: remove this folder, it is fetched again",
                folder.display()
            )
        })?,
        modules,
        initramfs: initramfs.is_file().then_some(initramfs),
        boot: folder.join("boot"),
    })
}

fn fetch(kernel: &DebianKernel, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let archive = Archive::open(kernel.suite, &into.join("apt"))?;
    let packages = archive.packages_of(PACKAGE, |name| name.starts_with("linux-"))?;
    let version = packages
        .iter()
        .find(|package| package.name == PACKAGE)
        .with_context(|| format!("Debian {} has no {PACKAGE}", kernel.suite))?;
    let bytes: u64 = packages.iter().map(|package| package.bytes).sum();
    eprintln!(
        "downloading Linux {} of Debian {} from {}: {:.0} MB, after {} of package lists; kept in {}",
        version.version,
        kernel.suite,
        archive.mirror(),
        megabytes(bytes),
        archive.list_size(),
        target().join("lab/kernels").join(kernel.name).display(),
    );
    archive.unpack(&packages, into)?;
    let lib = into.join("lib");
    if !lib.exists() {
        symlink("usr/lib", &lib).context("cannot make lib")?;
    }
    let release = release(&lib.join("modules"))?;
    depmod(into, &release)?;
    let modules = lib.join("modules").join(&release);
    if initramfs::is_needed(&modules)? {
        let tools = into.join("tools");
        archive.unpack(
            &archive.packages_of("busybox-static", |name| name == "busybox-static")?,
            &tools,
        )?;
        initramfs::build(
            &modules,
            &tools.join("bin/busybox"),
            &into.join(initramfs::FILE),
        )?;
        fs::remove_dir_all(&tools).context("cannot remove what was unpacked")?;
    }
    fs::remove_dir_all(into.join("apt")).context("cannot remove the package lists")
}

#[expect(clippy::cast_precision_loss, reason = "it is shown in whole megabytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
