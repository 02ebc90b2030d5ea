//! Nodes of others that lack modules.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// RHEL 10 as its images are, without kernel-modules-extra.
    #[value(name = "rhel-10")]
    Rhel10,
}

impl Profile {
    /// What hides what these nodes lack. With a module all that need it go.
    pub(super) const fn hidden(self) -> &'static [&'static str] {
        match self {
            // Seen by kops (#18724) and rke2 (#8498): no `xt_` module, no nft_compat, no set, no rules for bridges.
            Self::Rhel10 => &["x_tables", "ip_set", "br_netfilter"],
        }
    }

    /// The kernel of Debian's that is nearest, as `--kernel` has it.
    pub(super) const fn kernel(self) -> &'static str {
        match self {
            Self::Rhel10 => "6.12",
        }
    }
}
