//! Whether rules can be written: a module list says what could be there, the kernel says what works.

use std::fmt::Write as _;

use crate::Family;

/// The chain and the set of a trial. Nothing refers to them.
pub(crate) const NAME: &str = "KUBE-IPVS-PROBE";

/// What came of writing rules.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuleTrial {
    /// The program that was asked, as `iptables-restore`.
    pub program: String,
    /// The family of the rules.
    pub family: Family,
    /// What it said.
    pub outcome: TrialOutcome,
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
    /// A trial that somebody else made.
    #[must_use]
    pub fn new(program: impl Into<String>, family: Family, outcome: TrialOutcome) -> Self {
        Self {
            program: program.into(),
            family,
            outcome,
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
