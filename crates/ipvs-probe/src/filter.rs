use std::fmt;

use crate::Family;

/// What writes the rules beside IPVS, which masquerade, refuse and let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Filter {
    /// iptables where it works and the kernel has ipset, as kube-proxy needs both; else nftables. [`check`](crate::check) finds
    /// out which: [`Report::filter`](crate::Report::filter).
    Auto,
    /// iptables, of the back end that works, with ipset.
    #[default]
    Iptables,
    /// `iptables-legacy`, with ipset.
    IptablesLegacy,
    /// `iptables-nft`, with ipset.
    IptablesNft,
    /// nftables by netlink: without any program, ipset, or module of iptables.
    Nftables,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "iptables or nftables",
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nftables => "nftables",
        })
    }
}

impl Filter {
    /// Whether iptables writes the rules, for certain.
    pub(crate) const fn is_iptables(self) -> bool {
        matches!(
            self,
            Self::Iptables | Self::IptablesLegacy | Self::IptablesNft
        )
    }

    /// What follows `iptables` and `ip6tables` in the names of the programs, in the order in which they are tried. `iptables` is
    /// one of the other two where its version says which. For nftables there is no program.
    ///
    /// ```
    /// use ipvs_probe::Filter;
    /// assert_eq!(Filter::Iptables.suffixes("iptables v1.8.9 (nf_tables)"), ["", "-legacy"]);
    /// assert_eq!(Filter::IptablesNft.suffixes("iptables v1.8.9 (nf_tables)"), ["-nft"]);
    /// assert!(Filter::Nftables.suffixes("").is_empty());
    /// ```
    #[must_use]
    pub fn suffixes(self, version: &str) -> &'static [&'static str] {
        match self {
            Self::Auto | Self::Iptables if version.contains("(legacy)") => &["", "-nft"],
            Self::Auto | Self::Iptables if version.contains("(nf_tables)") => &["", "-legacy"],
            // Before 1.8 there was one; without any, those of a back end may be there.
            Self::Auto | Self::Iptables => &["", "-legacy", "-nft"],
            Self::IptablesLegacy => &["-legacy"],
            Self::IptablesNft => &["-nft"],
            Self::Nftables => &[],
        }
    }

    /// The back ends of iptables that are tried.
    pub(crate) fn backends(self) -> impl Iterator<Item = &'static Backend> {
        BACKENDS
            .iter()
            .filter(move |backend| matches!(self, Self::Iptables) || self == backend.filter)
    }
}

/// A back end of iptables: the modules that it stands on. Of each group, one.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    filter: Filter,
    ipv4: &'static [&'static [&'static str]],
    ipv6: &'static [&'static [&'static str]],
}

const BACKENDS: [Backend; 2] = [
    Backend {
        name: "iptables-nft",
        filter: Filter::IptablesNft,
        // nft_chain_nat serves both families since Linux 5.1.
        ipv4: &[
            &["nf_tables"],
            &["nft_compat"],
            &["nft_chain_nat", "nft_chain_nat_ipv4"],
        ],
        ipv6: &[
            &["nf_tables"],
            &["nft_compat"],
            &["nft_chain_nat", "nft_chain_nat_ipv6"],
        ],
    },
    Backend {
        name: "iptables-legacy",
        filter: Filter::IptablesLegacy,
        ipv4: &[&["ip_tables"], &["iptable_nat"], &["iptable_filter"]],
        ipv6: &[&["ip6_tables"], &["ip6table_nat"], &["ip6table_filter"]],
    },
];

impl Backend {
    /// Groups of names of the same thing on different kernels.
    pub(crate) const fn modules(&self, family: Family) -> &'static [&'static [&'static str]] {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

/// Every module of a back end.
pub(crate) fn backend_modules() -> impl Iterator<Item = &'static str> {
    let groups = BACKENDS
        .iter()
        .flat_map(|backend| backend.ipv4.iter().chain(backend.ipv6));
    groups.copied().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_back_end_is_tried_twice() {
        let suffixes = |version| Filter::Iptables.suffixes(version);
        assert_eq!(suffixes("iptables v1.8.9 (legacy)"), ["", "-nft"]);
        assert_eq!(suffixes("iptables v1.8.9 (nf_tables)"), ["", "-legacy"]);
        assert_eq!(suffixes("iptables v1.6.1"), ["", "-legacy", "-nft"]);
        assert_eq!(suffixes(""), ["", "-legacy", "-nft"]);
    }

    #[test]
    fn a_back_end_that_was_chosen_is_the_only_one() {
        let names = |filter: Filter| filter.backends().map(|backend| backend.name);
        assert_eq!(names(Filter::Iptables).count(), 2);
        let nft: Vec<_> = names(Filter::IptablesNft).collect();
        assert_eq!(nft, ["iptables-nft"]);
    }
}
