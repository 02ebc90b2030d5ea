//! Whether rules can be written: a module list says what could be there, the kernel says what works.

use std::fmt::{self, Write as _};

use crate::{Family, Filter};

/// The chain and the set of a trial. Nothing refers to them.
pub(crate) const NAME: &str = "KUBE-IPVS-PROBE";

/// What came of writing rules.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuleTrial {
    /// Who was asked.
    pub by: TrialBy,
    /// The family of the rules.
    pub family: Family,
    /// What it said.
    pub outcome: TrialOutcome,
}

/// Who was asked to write rules, which is who would write them in earnest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum TrialBy {
    /// A program of iptables, as `iptables-restore`.
    Program(String),
    /// The kernel's nf_tables, for nftables.
    Netlink,
}

impl fmt::Display for TrialBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program(name) => name,
            Self::Netlink => "nf_tables",
        })
    }
}

/// How a [`RuleTrial`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum TrialOutcome {
    /// The kernel took the rules.
    Works,
    /// Program or kernel refused them, in one line.
    Refused(String),
    /// It says nothing of the node: there is no such program, no network namespace could be made, others hold the lock.
    NotTried(String),
}

impl RuleTrial {
    /// A trial with a program of iptables that somebody else made.
    #[must_use]
    pub fn new(program: impl Into<String>, family: Family, outcome: TrialOutcome) -> Self {
        Self {
            by: TrialBy::Program(program.into()),
            family,
            outcome,
        }
    }

    /// A trial of nftables: this crate has no netlink, so that whoever has a connection tries. One that works says more than the
    /// lists of modules and the release of the kernel: every kind of set and rule was taken, and a table's comment is there when
    /// it is read back, which kernels before 5.10 drop without a word.
    ///
    /// ```
    /// use ipvs_probe::{Facts, Family, Filter, Needs, NoPrograms, Root, RuleTrial, TrialOutcome, check};
    /// let mut facts = Facts::gather(&Root::host(), &mut NoPrograms);
    /// let refused = TrialOutcome::Refused("add rule: No such file or directory (os error 2)".to_owned());
    /// facts.rules = vec![RuleTrial::by_netlink(Family::Ipv4, refused)];
    /// let needs = Needs { filter: Filter::Nftables, ..Needs::default() };
    /// let report = check(&facts, &needs);
    /// assert!(report.findings.iter().any(|finding| finding.rule.id == "nft-rules"));
    /// ```
    #[must_use]
    pub const fn by_netlink(family: Family, outcome: TrialOutcome) -> Self {
        Self {
            by: TrialBy::Netlink,
            family,
            outcome,
        }
    }

    /// Whether it says something of the rules of a filter.
    pub(crate) fn is_of(&self, filter: Filter) -> bool {
        match self.by {
            TrialBy::Program(_) => filter != Filter::Nftables,
            TrialBy::Netlink => !filter.is_iptables(),
        }
    }
}

/// Text for `iptables-restore --noflush` (IPv6: `ip6tables-restore`) that writes one rule of each kind that every proxier needs,
/// into a chain of its own name that nothing refers to, and removes them. With a set there is a rule that asks it.
///
/// The removal is a transaction of its own: iptables-nft leaves out what one transaction adds and removes, legacy iptables shows
/// the kernel only its outcome, and `--test` shows it nothing, so that neither would say anything of the kernel.
///
/// ```
/// use ipvs_probe::{Family, sample_rules};
/// let text = sample_rules(Family::Ipv6, None);
/// assert!(text.contains("-j REJECT --reject-with icmp6-port-unreachable"));
/// assert_eq!(text.matches("COMMIT").count(), 4);
/// ```
#[must_use]
pub fn sample_rules(family: Family, set: Option<&str>) -> String {
    let unreachable = match family {
        Family::Ipv4 => "icmp-port-unreachable",
        Family::Ipv6 => "icmp6-port-unreachable",
    };
    let mut nat = vec![
        "-m comment --comment trial -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x4000/0x4000"
            .to_owned(),
        "-m mark --mark 0x4000/0x4000 -j MASQUERADE".to_owned(),
    ];
    nat.extend(set.map(|set| format!("-m set --match-set {set} dst,dst -j ACCEPT")));
    let reject = format!("-m conntrack --ctstate NEW -j REJECT --reject-with {unreachable}");
    let mut text = String::new();
    for (table, rules) in [("nat", nat), ("filter", vec![reject])] {
        // Writing to a string fails never.
        let _ = writeln!(text, "*{table}\n:{NAME} - [0:0]");
        for rule in rules {
            let _ = writeln!(text, "-A {NAME} {rule}");
        }
        let _ = writeln!(text, "COMMIT\n*{table}\n-F {NAME}\n-X {NAME}\nCOMMIT");
    }
    text
}
