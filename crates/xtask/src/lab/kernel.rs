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

    /// Every kernel that this machine can boot, with every iptables that it can have, and with nftables.
    pub(crate) fn matrix() -> Vec<(Self, Backend, Filter)> {
        let all = |kernel| {
            [
                (Self::Debian(kernel), Backend::Nft, Filter::Iptables),
                (Self::Debian(kernel), Backend::Legacy, Filter::Iptables),
                (Self::Debian(kernel), Backend::Nft, Filter::Nftables),
            ]
        };
        let uml = (Self::Uml, Backend::Legacy, Filter::Iptables);
        [uml]
            .into_iter()
            .chain(DEBIAN.iter().flat_map(all))
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

/// What the filter of proxiers is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Filter {
    /// iptables and ipset, or nftables where they do not work.
    Auto,
    /// iptables and ipset.
    Iptables,
    /// nftables, by netlink.
    Nftables,
}

impl Filter {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
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
        assert_eq!(matrix.len(), 1 + 3 * DEBIAN.len());
        let of_uml = matrix.iter().filter(|(kernel, ..)| *kernel == Kernel::Uml);
        let of_uml: Vec<_> = of_uml
            .map(|(_, backend, filter)| (*backend, *filter))
            .collect();
        assert_eq!(of_uml, [(Backend::Legacy, Filter::Iptables)]);
    }
}
