//! Which chains and rules are kube-proxy's, of its ipvs and its iptables mode. Chains are known by their names, as
//! kube-proxy's own clean-up knows them; rules in chains of others by their words.

use std::collections::BTreeSet;

use ipvs_netfilter::iptables::{Removal, Rule, SavedRules, Table};

use crate::iptables::GUARD;

/// Of a proxier that was killed while it tried whether rules can be written.
const PROBE: &str = "KUBE-IPVS-PROBE";

/// `KUBE-MARK-DROP`, `KUBE-FIREWALL` and `KUBE-KUBELET-CANARY` are the kubelet's.
const fn chains_of(table: Table) -> &'static [&'static str] {
    match table {
        Table::Nat => &[
            "KUBE-SERVICES",
            "KUBE-POSTROUTING",
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
            "KUBE-MARK-MASQ",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-CANARY",
            PROBE,
        ],
        Table::Filter => &[
            "KUBE-FORWARD",
            "KUBE-NODE-PORT",
            "KUBE-PROXY-FIREWALL",
            "KUBE-SOURCE-RANGES-FIREWALL",
            GUARD,
            "KUBE-IPVS-OUT-FILTER",
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-CANARY",
            PROBE,
        ],
        Table::Mangle => &["KUBE-PROXY-CANARY"],
        Table::Raw | Table::Security => &[],
    }
}

/// What the chains of services and endpoints of the iptables mode begin with. They are in the table `nat`.
const OF_SERVICES: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-SEP-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-XLB-",
];

/// The comments of the rules that lead into our chains, of every version.
const COMMENTS: [&str; 9] = [
    "kubernetes service portals",
    "kubernetes postrouting rules",
    "kubernetes forwarding rules",
    "kubernetes health check rules",
    "kubernetes health check service ports",
    "kubernetes externally-visible service portals",
    "kubernetes load balancer firewall",
    "kube-proxy firewall rules",
    "kubernetes ipvs access filter",
];

/// Whether a chain is kube-proxy's.
pub(super) fn is_ours(table: Table, chain: &str) -> bool {
    chains_of(table).contains(&chain)
        || (table == Table::Nat && OF_SERVICES.iter().any(|prefix| chain.starts_with(prefix)))
}

/// Whether a rule of a chain of others is kube-proxy's: it leads into one of our chains, with one of our comments, and has
/// no other match than the one for new connections.
fn is_our_jump(table: Table, rule: &Rule) -> bool {
    let words: Vec<_> = rule.words().collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let rest = match words.as_slice() {
        ["-m", "conntrack", "--ctstate", "NEW", rest @ ..] => rest,
        all => all,
    };
    let ["-m", "comment", "--comment", comment, "-j", chain] = rest else {
        return false;
    };
    COMMENTS.contains(comment) && is_ours(table, chain)
}

/// What unlinks our chains of a table: the rules that lead into them go, and they lose their own. While `guarded`, the
/// chain that guards the ports of the host stays as it is. O(rules).
pub(super) fn unlinking(saved: &SavedRules, table: Table, guarded: bool) -> Removal {
    let stays = |chain: &str| guarded && table == Table::Filter && chain == GUARD;
    let mut removal = Removal::of(table);
    for (_, chain, rules) in saved.chains().filter(|(of, _, _)| *of == table) {
        if is_ours(table, chain) {
            if !rules.is_empty() && !stays(chain) {
                removal.flushed.push(chain.to_owned());
            }
            continue;
        }
        let ours = rules.iter().filter(|rule| is_our_jump(table, rule));
        let ours = ours.filter(|rule| !rule.target().is_some_and(|target| stays(&target)));
        let ours = ours.map(|rule| (chain.to_owned(), rule.clone()));
        removal.rules.extend(ours);
    }
    removal
}

/// Our chains of a table that have no rules, and that no rule refers to. O(rules).
pub(super) fn deletable(saved: &SavedRules, table: Table) -> Vec<String> {
    let rules = saved.all_rules().filter(|(of, _, _)| *of == table);
    let referred: BTreeSet<_> = rules.filter_map(|(_, _, rule)| rule.target()).collect();
    let chains = saved.chains().filter(|(of, _, _)| *of == table);
    let ours = chains.filter(|(_, chain, rules)| is_ours(table, chain) && rules.is_empty());
    ours.map(|(_, chain, _)| chain)
        .filter(|chain| !referred.contains(*chain))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::{ruleset, sample};
    use ipvs_codec::Family;

    #[test]
    fn all_that_the_skeleton_has_is_ours() {
        for family in Family::ALL {
            let rules = ruleset(&sample(family));
            for (table, rules) in [(Table::Nat, &rules.nat), (Table::Filter, &rules.filter)] {
                for (chain, _) in &rules.chains {
                    assert!(is_ours(table, chain), "{chain}");
                }
                for (_, jump) in &rules.jumps {
                    assert!(is_our_jump(table, jump), "{jump}");
                }
            }
        }
    }

    #[test]
    fn what_others_made_is_not() {
        for chain in [
            "KUBE-MARK-DROP",
            "KUBE-FIREWALL",
            "KUBE-KUBELET-CANARY",
            "KUBE-NWPLCY-DEFAULT",
            "KUBE-POD-FW-ABCDEF",
            "KUBE-ROUTER-INPUT",
            "KUBE-IPTABLES-HINT",
            "CNI-HOSTPORT-DNAT",
            "OUTPUT",
        ] {
            for table in Table::ALL {
                assert!(!is_ours(table, chain), "{table} {chain}");
            }
        }
        let jump = |text: &str| is_our_jump(Table::Nat, &Rule::from_saved(text));
        let portals = r#"-m comment --comment "kubernetes service portals" -j KUBE-SERVICES"#;
        assert!(jump(portals));
        let new = format!("-m conntrack --ctstate NEW {portals}");
        assert!(jump(&new));
        assert!(!jump("-p tcp -j KUBE-SERVICES"));
        assert!(!jump(&format!("-p tcp {portals}")));
        assert!(!jump("-j KUBE-MARK-MASQ"));
        assert!(!jump(
            r#"-m comment --comment "kubernetes service portals" -j DOCKER"#
        ));
    }

    #[test]
    fn chains_of_services_are_ours_in_nat() {
        assert!(is_ours(Table::Nat, "KUBE-SVC-NPX46M4PTMTKRN6Y"));
        assert!(!is_ours(Table::Filter, "KUBE-SVC-NPX46M4PTMTKRN6Y"));
        assert!(is_ours(Table::Mangle, "KUBE-PROXY-CANARY"));
        assert!(
            [Table::Nat, Table::Filter]
                .iter()
                .all(|table| is_ours(*table, PROBE))
        );
    }
}
