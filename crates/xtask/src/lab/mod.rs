//! A real IPVS kernel anywhere: user-mode Linux, one of Debian's in QEMU, or this machine's own.

mod archive;
mod fetch;
mod folder;
mod guest;
mod initramfs;
mod kernel;
mod modules;
mod native;
mod profile;
mod qemu;
mod script;
mod uml;
mod virtiofsd;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Args;

pub(crate) use self::kernel::{Backend, Filter, Kernel};
use self::profile::Profile;
use crate::install::{self, NATIVE, QEMU, TOOLS, UML};

/// How the lab is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabOptions {
    /// Memory of a guest.
    #[arg(long, default_value = "2G", value_name = "SIZE")]
    pub(crate) memory: String,

    /// Which kernel [default: user-mode Linux, or that of --profile].
    #[arg(long, value_enum)]
    pub(crate) kernel: Option<Kernel>,

    /// Which iptables comes first [default: nft, but legacy in user-mode Linux].
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Backend>,

    /// What proxiers make their filter with that are not told [default: auto].
    #[arg(id = "proxiers-filter", long = "filter", value_enum)]
    pub(crate) filter: Option<Filter>,

    /// Modules that the guest shall lack, with all that need them.
    #[arg(long, value_name = "MODULE", value_delimiter = ',')]
    pub(crate) without: Vec<String>,

    /// Lack what the nodes of others lack.
    #[arg(long, value_enum)]
    pub(crate) profile: Option<Profile>,

    /// Load no module beforehand: what needs one has it loaded.
    #[arg(long)]
    pub(crate) cold: bool,

    /// One processor, whose time counts instructions: for benches on a busy machine. In QEMU only.
    #[arg(long)]
    pub(crate) icount: bool,

    /// Let tests unload modules of IPVS of this machine's own kernel. In guests they may anyway.
    #[arg(long)]
    pub(crate) unload_modules: bool,

    /// Refuse to install what is missing.
    #[arg(long)]
    pub(crate) no_install: bool,
}

impl LabOptions {
    /// The one to take.
    pub(crate) fn kernel(&self) -> Kernel {
        let of_profile = || Kernel::named(self.profile?.kernel());
        self.kernel.or_else(of_profile).unwrap_or(Kernel::Uml)
    }

    /// The one to take.
    pub(crate) fn backend(&self) -> Backend {
        self.backend.unwrap_or_else(|| match self.kernel() {
            Kernel::Uml => Backend::Legacy,
            Kernel::Native | Kernel::Debian(_) => Backend::Nft,
        })
    }

    fn hidden_modules(&self) -> Vec<String> {
        let of_profile = self.profile.map_or(&[][..], Profile::hidden);
        let of_profile = of_profile.iter().copied().map(str::to_owned);
        of_profile.chain(self.without.iter().cloned()).collect()
    }

    /// What cannot be.
    fn problem(&self) -> Option<&'static str> {
        let hides = !self.hidden_modules().is_empty();
        match self.kernel() {
            Kernel::Uml if self.backend == Some(Backend::Nft) => Some(
                "user-mode Linux has no nf_tables for IPv4 and IPv6: take --kernel 6.12 for --backend nft",
            ),
            Kernel::Native if hides || self.cold => Some(
                "modules of this machine's own kernel are left alone: take --kernel uml or 6.12",
            ),
            Kernel::Native | Kernel::Uml if self.icount => {
                Some("--icount is QEMU's: take --kernel 6.12")
            }
            _ => None,
        }
    }
}

/// Makes sure that there is a lab, installing what it needs.
///
/// # Errors
/// Says why there is none, and what to do.
pub(crate) fn require(options: &LabOptions) -> Result<()> {
    if let Some(problem) = options.problem() {
        bail!(problem);
    }
    let install = !options.no_install;
    let mut needs = TOOLS.to_vec();
    match options.kernel() {
        Kernel::Native => {
            if let Some(problem) = native::problem() {
                bail!("this machine's kernel is no lab: {problem}; or take --kernel uml");
            }
            return install::ensure(&NATIVE, false);
        }
        Kernel::Uml => {
            needs.push(UML);
            uml::prepare()?;
        }
        Kernel::Debian(kernel) => {
            needs.extend(QEMU);
            install::ensure(&needs, install)?;
            // Until Debian 12 it comes with QEMU.
            install::ensure_file(virtiofsd::PACKAGE, &virtiofsd::PLACES, install)?;
            install::ensure_file(archive::PACKAGE, &[archive::KEYRING], install)?;
            fetch::kernel(kernel)?;
            return Ok(());
        }
    }
    install::ensure(&needs, install)
}

/// The same, with what the tests and the demo run. On this machine's own kernel nothing is installed: what is missing is
/// named.
///
/// # Errors
/// As `require`.
pub(crate) fn require_tools(options: &LabOptions) -> Result<()> {
    require(options)?;
    match options.kernel() {
        Kernel::Native => install::ensure(&TOOLS, false),
        _ => Ok(()),
    }
}

/// Runs a command in the lab, or a shell; returns its exit status.
pub(crate) fn run(options: &LabOptions, command: &[OsString]) -> Result<u8> {
    run_on(options, command, None)
}

/// The same; what the command says goes into a file.
pub(crate) fn run_into(options: &LabOptions, command: &[OsString], said: &Path) -> Result<u8> {
    let file = File::create(said).with_context(|| format!("cannot write {}", said.display()))?;
    run_on(options, command, Some(file))
}

fn run_on(options: &LabOptions, command: &[OsString], said: Option<File>) -> Result<u8> {
    match options.kernel() {
        Kernel::Native => native::run(options, command, said),
        Kernel::Uml => uml::run(options, command, said),
        Kernel::Debian(kernel) => qemu::run(options, kernel, command, said),
    }
}
