//! A real IPVS kernel anywhere: this machine's own, or user-mode Linux.

mod native;
mod script;
mod uml;

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::install::{self, TOOLS, UML};

/// How the lab is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabOptions {
    /// Memory of a user-mode kernel.
    #[arg(long, default_value = "2G", value_name = "SIZE")]
    pub(crate) memory: String,

    /// Which kernel: this machine's, in fresh namespaces, or user-mode Linux [default: this machine's if it has IPVS].
    #[arg(long, value_enum)]
    pub(crate) kernel: Option<Kernel>,

    /// Refuse to install what is missing.
    #[arg(long)]
    pub(crate) no_install: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            memory: "2G".to_owned(),
            kernel: None,
            no_install: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// This machine's kernel.
    Native,
    /// User-mode Linux.
    Uml,
}

impl LabOptions {
    /// The one to take.
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel.unwrap_or_else(|| {
            if native::problem().is_none() {
                Kernel::Native
            } else {
                Kernel::Uml
            }
        })
    }
}

/// Makes sure that there is a lab, installing what it needs.
///
/// # Errors
/// Says why there is none, and what to do.
pub(crate) fn require(options: &LabOptions) -> Result<()> {
    let mut needs = TOOLS.to_vec();
    match options.kernel() {
        Kernel::Native => {
            if let Some(problem) = native::problem() {
                bail!("this machine's kernel is no lab: {problem}; use --kernel uml");
            }
        }
        Kernel::Uml => {
            needs.push(UML);
            let purpose = "is where user-mode Linux puts its modules";
            let folder = Path::new(uml::MODULES_PLACE);
            install::ensure_folder(folder, purpose, !options.no_install)?;
            uml::prepare()?;
        }
    }
    install::ensure(&needs, !options.no_install)
}

/// Runs a command in the lab, or a shell; returns its exit status.
pub(crate) fn run(options: &LabOptions, command: &[OsString]) -> Result<u8> {
    match options.kernel() {
        Kernel::Native => native::run(command),
        Kernel::Uml => uml::run(&options.memory, command, None),
    }
}

/// Runs a command in a user-mode kernel, which may be one of several; what it says goes into a file.
pub(crate) fn run_into(options: &LabOptions, command: &[OsString], said: &Path) -> Result<u8> {
    let file = File::create(said).with_context(|| format!("cannot write {}", said.display()))?;
    uml::run(&options.memory, command, Some(file))
}
