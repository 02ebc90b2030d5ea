use crate::Filter;

/// What a proxy is to do on the node: decides which rules apply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Needs {
    /// Name of the scheduler, as `rr`.
    pub scheduler: String,
    /// Which list of modules must be there.
    pub profile: Profile,
    /// No node answers ARP for addresses that are bound here.
    pub strict_arp: bool,
    /// What writes the rules beside IPVS. kube-proxy of 1.8 to 1.26 knows nothing but iptables: with its profile
    /// [`Filter::Auto`] is [`Filter::Iptables`].
    pub filter: Filter,
    /// Services with IPv6 addresses.
    pub ipv6: bool,
    /// VIPs stand on a dummy interface, as kube-proxy binds them.
    pub dummy_link: bool,
    /// Everything that goes to a virtual address is masqueraded.
    pub masquerade_all: bool,
    /// The only proxy of the node: others that own IPVS state are trouble.
    pub alone: bool,
}

impl Default for Needs {
    /// kube-proxy without a flag.
    fn default() -> Self {
        Self {
            scheduler: "rr".to_owned(),
            profile: Profile::Current,
            strict_arp: false,
            filter: Filter::Iptables,
            ipv6: false,
            dummy_link: true,
            masquerade_all: false,
            alone: true,
        }
    }
}

/// Which modules must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Profile {
    /// Only the configured scheduler's, as kube-proxy since 1.27.
    #[default]
    Current,
    /// The list of kube-proxy 1.8: `ip_vs`, `ip_vs_rr`, `ip_vs_wrr`, `ip_vs_sh` and `nf_conntrack_ipv4` (`nf_conntrack`
    /// on kernels that have it merged), all of them loaded; and the sysctls of its time, which let the traffic of pods on a bridge
    /// pass the rules of both families.
    Kube18,
}
