//! The kernels that the lab can have.

use std::fmt;
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// A kernel of Debian's, which QEMU boots.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DebianKernel {
    /// As `--kernel` has it.
    pub(crate) name: &'static str,
    /// The suite that has it, as `linux-image-cloud-amd64`.
    pub(crate) suite: &'static str,
}

/// One line for each. The rest is found out from the package: where its parts are, and whether it needs an initramfs.
pub(crate) static DEBIAN: [DebianKernel; 4] = [
    debian("5.10", "bullseye"),
    debian("6.1", "bookworm"),
    debian("6.12", "trixie"),
    debian("newest", "trixie-backports"),
];

/// What nodes run today, as `--kernel` has it.
pub(super) const OF_NODES: &str = "6.12";

const fn debian(name: &'static str, suite: &'static str) -> DebianKernel {
    DebianKernel { name, suite }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// This machine's kernel, in fresh namespaces.
    Native,
    /// User-mode Linux.
    Uml,
    /// One of Debian's, in QEMU.
    Debian(&'static DebianKernel),
}

static ALL: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    [Kernel::Native, Kernel::Uml]
        .into_iter()
        .chain(DEBIAN.iter().map(Kernel::Debian))
        .collect()
});

impl Kernel {
    /// What nodes run today.
    pub(crate) fn of_nodes() -> Option<Self> {
        Self::named(OF_NODES)
    }

    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    /// Every kernel that this machine can boot, with every iptables that it can have.
    pub(crate) fn matrix() -> Vec<(Self, Backend)> {
        let both =
            |kernel| [Backend::Nft, Backend::Legacy].map(|backend| (Self::Debian(kernel), backend));
        let uml = (Self::Uml, Backend::Legacy);
        [uml]
            .into_iter()
            .chain(DEBIAN.iter().flat_map(both))
            .collect()
    }
}

impl ValueEnum for Kernel {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Native => {
                PossibleValue::new("native").help("This machine's kernel, in fresh namespaces")
            }
            Self::Uml => PossibleValue::new("uml").help("User-mode Linux 6.1"),
            Self::Debian(kernel) => PossibleValue::new(kernel.name)
                .help(format!("The kernel of Debian {}, in QEMU", kernel.suite)),
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Uml => "uml",
            Self::Debian(kernel) => kernel.name,
        })
    }
}

/// Which iptables comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// iptables-nft.
    Nft,
    /// iptables-legacy.
    Legacy,
}

impl Backend {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_that_are_named_elsewhere_are_there() {
        assert!(Kernel::of_nodes().is_some());
        for profile in crate::lab::profile::Profile::value_variants() {
            assert!(Kernel::named(profile.kernel()).is_some(), "{profile:?}");
        }
    }

    #[test]
    fn the_matrix_has_both_iptables_where_the_kernel_has() {
        let matrix = Kernel::matrix();
        assert_eq!(matrix.len(), 1 + 2 * DEBIAN.len());
        assert!(!matrix.contains(&(Kernel::Uml, Backend::Nft)));
    }
}
