use std::fmt;

use crate::{Family, KernelRelease};

/// How bad it is when a rule is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Severity {
    /// No proxying.
    Blocks,
    /// Proxying, with faults that clients notice.
    Degrades,
    /// Worth knowing.
    Advice,
}

/// Something that a node should have, and what goes wrong without it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, for `--explain` and for filters.
    pub id: &'static str,
    /// When it applies.
    pub when: When,
    /// How bad its absence is.
    pub severity: Severity,
    /// What is needed.
    pub need: Need,
    /// What would go wrong for traffic.
    pub reason: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// When a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// Always.
    Always,
    /// On kernels before a release that have a sysctl of IPVS. Distributions take sysctls into older kernels, so that only
    /// where none of IPVS is to be seen (it is not loaded) the release that brought it decides.
    HasSysctl {
        /// Its name, as `sysctl` prints it.
        name: &'static str,
        /// The release that brought it.
        since: KernelRelease,
        /// The release that needs the rule no more.
        before: KernelRelease,
    },
    /// With [`Needs::strict_arp`](crate::Needs::strict_arp).
    StrictArp,
    /// With [`Needs::ipv6`](crate::Needs::ipv6).
    Ipv6,
    /// With [`Needs::dummy_link`](crate::Needs::dummy_link).
    DummyLink,
    /// With [`Needs::masquerade_all`](crate::Needs::masquerade_all).
    MasqueradeAll,
    /// With [`Needs::alone`](crate::Needs::alone).
    Alone,
    /// With [`Profile::Kube18`](crate::Profile::Kube18).
    Kube18,
    /// Where iptables writes the rules: [`Needs::filter`](crate::Needs::filter).
    Iptables,
    /// Where nftables writes the rules, likewise.
    Nftables,
    /// Where pods are on a bridge: [`Facts::bridges`](crate::Facts::bridges).
    PodsOnBridge,
    /// Where no pod is on a bridge yet, and [`Needs::profile`](crate::Needs::profile) expects none.
    PodsOnBridgeLater,
    /// Where one of these holds.
    Any(&'static [Self]),
    /// Where all of these hold.
    All(&'static [Self]),
}

/// What a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// One of these modules; they are names of the same thing on different kernels. `now`: loaded already, because nothing
    /// else loads it.
    Module {
        /// Names, the newest first.
        names: &'static [&'static str],
        /// Loaded already.
        now: bool,
    },
    /// One of these modules, which rules of a family use; they are names of the same thing on different kernels. Rules that were
    /// [written](crate::Facts::rules) say more than a list of modules.
    RuleModule {
        /// Whose rules.
        family: Family,
        /// Names, the newest first.
        names: &'static [&'static str],
    },
    /// A kernel since this release, for rules of nftables. Distributions take what it brought into older kernels: that rules were
    /// [written](crate::Facts::rules) says more.
    Since(KernelRelease),
    /// The modules of one of the back ends of [`Needs::filter`](crate::Needs::filter), for a family.
    Backend(Family),
    /// Rules of a family can be written, where that was [tried](crate::Facts::rules).
    Rules(Family),
    /// The module of [`Needs::scheduler`](crate::Needs::scheduler).
    Scheduler,
    /// The modules of kube-proxy 1.8, loaded.
    Kube18Modules,
    /// A sysctl of this value.
    Sysctl {
        /// Its name, as `sysctl` prints it.
        name: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// A sysctl of any other value.
    SysctlNot {
        /// Its name, as `sysctl` prints it.
        name: &'static str,
        /// The value that is bad.
        bad: &'static str,
        /// The value to set.
        value: &'static str,
    },
    /// Frames of bridges pass the rules: `br_netfilter`, loaded.
    BridgeFrames,
    /// Hairpin mode on every port of a bridge that leads to a pod.
    Hairpin,
    /// A program in one of the usual folders.
    Program(&'static str),
    /// A capability of this process, by number.
    Capability(u8, &'static str),
    /// The initial user namespace.
    InitialUserNamespace,
    /// IPVS takes a virtual server.
    Ipvs,
    /// SELinux does not refuse.
    NoSelinux,
    /// A chain of the table `filter` that does not drop what no rule mentions.
    OpenChain(&'static str),
    /// No process of this name.
    NoProcess(&'static str),
    /// No firewall by `ufw`.
    NoUfw,
    /// Fewer counters than one timer of the kernel reads in time.
    FewEstimators,
    /// Few connections for each chain of their table.
    ShortConnectionChains,
    /// Few virtual servers for each chain of their table.
    ShortServiceChains,
    /// Connections that are kept as long as the shortest of their timers suggests.
    LongTimeouts,
    /// Fewer virtual servers than fit a set.
    RoomInSets,
    /// Nothing: a reminder.
    Reminder,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::HasSysctl { since, before, .. } => write!(
                f,
                "before Linux {before}, where the kernel has the sysctl (Linux {since} brought it)"
            ),
            Self::StrictArp => f.write_str("with strict ARP"),
            Self::Ipv6 => f.write_str("with IPv6 services"),
            Self::DummyLink => f.write_str("where VIPs stand on a dummy interface"),
            Self::MasqueradeAll => f.write_str("when everything is masqueraded"),
            Self::Alone => f.write_str("where the proxy is the only one of the node"),
            Self::Kube18 => f.write_str("with the profile of kube-proxy 1.8"),
            Self::Iptables => f.write_str("where iptables writes the rules"),
            Self::Nftables => f.write_str("where nftables writes the rules"),
            Self::PodsOnBridge => f.write_str("where pods are on a bridge"),
            Self::PodsOnBridgeLater => f.write_str("where no pod is on a bridge yet"),
            Self::Any(these) => joined(f, these, ", or "),
            Self::All(these) => joined(f, these, ", and "),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, these: &[When], between: &str) -> fmt::Result {
    for (index, when) in these.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        write!(f, "{when}")?;
    }
    Ok(())
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module { names, now } => {
                write!(f, "module {}", names.join(" or "))?;
                f.write_str(if *now { ", loaded" } else { "" })
            }
            Self::RuleModule { family, names } => {
                write!(f, "module {} for {family} rules", names.join(" or "))
            }
            Self::Since(release) => {
                write!(f, "Linux {release} or later, or what it brought in an older one")
            }
            Self::Backend(family) => {
                write!(f, "the modules of a back end of iptables, for {family}")
            }
            Self::Rules(family) => {
                write!(f, "{family} rules of each kind that every proxier writes")
            }
            Self::Scheduler => f.write_str("the scheduler's module"),
            Self::Kube18Modules => f.write_str(
                "ip_vs, ip_vs_rr, ip_vs_wrr, ip_vs_sh and nf_conntrack (nf_conntrack_ipv4 where the kernel has it), loaded",
            ),
            Self::Sysctl { name, value } => write!(f, "sysctl {name} = {value}"),
            Self::SysctlNot { name, bad, value } => {
                write!(f, "sysctl {name} not {bad}, better {value}")
            }
            Self::BridgeFrames => f.write_str("module br_netfilter, loaded"),
            Self::Hairpin => f.write_str("hairpin mode on the bridge port of every pod"),
            Self::Program(name) => write!(f, "program {name}"),
            Self::Capability(_, name) => f.write_str(name),
            Self::InitialUserNamespace => f.write_str("the initial user namespace"),
            Self::Ipvs => f.write_str("a kernel that takes virtual servers"),
            Self::NoSelinux => f.write_str("SELinux not enforcing"),
            Self::OpenChain(chain) => write!(f, "policy ACCEPT of chain {chain}"),
            Self::NoProcess(name) => write!(f, "no {name} beside"),
            Self::NoUfw => f.write_str("no ufw"),
            Self::FewEstimators => f.write_str("fewer than 100,000 counters, servers times CPUs"),
            Self::ShortConnectionChains => {
                f.write_str("a table of connections with at most 8 for each chain")
            }
            Self::ShortServiceChains => {
                f.write_str("a table of virtual servers with at most 16 for each chain")
            }
            Self::LongTimeouts => f.write_str("keep-alives before the first timer is over"),
            Self::RoomInSets => f.write_str("at most 65536 virtual servers"),
            Self::Reminder => f.write_str("nothing"),
        }
    }
}
