use crate::{Facts, Filter, Needs, Profile, When};

impl When {
    /// Whether a rule applies to a node of these facts that is used like this.
    pub(crate) fn applies(self, facts: &Facts, needs: &Needs) -> bool {
        match self {
            Self::Always => true,
            Self::HasSysctl {
                name,
                since,
                before,
            } => facts.release().is_some_and(|release| {
                let is_there = facts.sysctl(name).is_some()
                    || (!facts.shows_sysctls_of_ipvs() && release >= since);
                is_there && release < before
            }),
            Self::StrictArp => needs.strict_arp,
            Self::Ipv6 => needs.ipv6,
            Self::DummyLink => needs.dummy_link,
            Self::MasqueradeAll => needs.masquerade_all,
            Self::Alone => needs.alone,
            Self::Kube18 => needs.profile == Profile::Kube18,
            Self::Iptables => needs.filter.is_iptables(),
            Self::Nftables => needs.filter == Filter::Nftables,
            Self::PodsOnBridge => !facts.bridges.is_empty(),
            Self::PodsOnBridgeLater => facts.bridges.is_empty() && needs.profile != Profile::Kube18,
            Self::Any(these) => these.iter().any(|when| when.applies(facts, needs)),
            Self::All(these) => these.iter().all(|when| when.applies(facts, needs)),
        }
    }
}
