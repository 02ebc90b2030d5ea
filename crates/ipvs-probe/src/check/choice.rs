//! Which filter is used where it is left open.

use super::findings;
use crate::{Facts, Filter, Needs, Profile, Rule, Severity};

/// With the filter that is used, and the rules about iptables that keep it from being that one.
pub(super) fn choose(facts: &Facts, needs: &Needs) -> (Needs, Vec<&'static Rule>) {
    let with = |filter| Needs {
        filter,
        ..needs.clone()
    };
    if needs.filter != Filter::Auto {
        return (needs.clone(), Vec::new());
    }
    let (iptables, nftables) = (with(Filter::Iptables), with(Filter::Nftables));
    if needs.profile == Profile::Kube18 {
        return (iptables, Vec::new());
    }
    let keeps_from_iptables = blocking(facts, &iptables, &nftables);
    // Where neither works, the one that lacks less is worth mending.
    if blocking(facts, &nftables, &iptables).len() < keeps_from_iptables.len() {
        (nftables, keeps_from_iptables)
    } else {
        (iptables, Vec::new())
    }
}

/// The rules about one filter, and not about the other, that are not kept and block.
fn blocking(facts: &Facts, needs: &Needs, others: &Needs) -> Vec<&'static Rule> {
    let rules = findings(facts, needs).into_iter();
    let rules = rules.map(|finding| finding.rule);
    let of_this =
        |rule: &&Rule| rule.severity == Severity::Blocks && !rule.when.applies(facts, others);
    rules.filter(of_this).collect()
}
