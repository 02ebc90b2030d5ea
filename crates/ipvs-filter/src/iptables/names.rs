//! How kube-proxy calls its sets, and what they are.

use ipvs_codec::Family;
use ipvs_model::FilterSet;
use ipvs_netfilter::ipset::{SetFamily, SetName, SetSpec, SetType};

/// The name, the type, and the comment of the rules that match it.
const fn facts(set: FilterSet) -> (&'static str, SetType, &'static str) {
    use SetType::{BitmapPort, HashIp, HashIpPort, HashIpPortIp, HashIpPortNet};
    match set {
        FilterSet::Hairpin => (
            "KUBE-LOOP-BACK",
            HashIpPortIp,
            "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
        ),
        FilterSet::ClusterIp => (
            "KUBE-CLUSTER-IP",
            HashIpPort,
            "Kubernetes service cluster ip + port for masquerade purpose",
        ),
        FilterSet::ExternalIp => (
            "KUBE-EXTERNAL-IP",
            HashIpPort,
            "Kubernetes service external ip + port for masquerade and filter purpose",
        ),
        FilterSet::ExternalIpLocal => (
            "KUBE-EXTERNAL-IP-LOCAL",
            HashIpPort,
            "Kubernetes service external ip + port with externalTrafficPolicy=local",
        ),
        FilterSet::LoadBalancer => (
            "KUBE-LOAD-BALANCER",
            HashIpPort,
            "Kubernetes service lb portal",
        ),
        FilterSet::Firewalled => (
            "KUBE-LOAD-BALANCER-FW",
            HashIpPort,
            "Kubernetes service load balancer ip + port for load balancer with sourceRange",
        ),
        FilterSet::LoadBalancerLocal => (
            "KUBE-LOAD-BALANCER-LOCAL",
            HashIpPort,
            "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
        ),
        FilterSet::SourceAddress => (
            "KUBE-LOAD-BALANCER-SOURCE-IP",
            HashIpPortIp,
            "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
        ),
        FilterSet::SourceRange => (
            "KUBE-LOAD-BALANCER-SOURCE-CIDR",
            HashIpPortNet,
            "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
        ),
        FilterSet::NodePortTcp => (
            "KUBE-NODE-PORT-TCP",
            BitmapPort,
            "Kubernetes nodeport TCP port for masquerade purpose",
        ),
        FilterSet::NodePortLocalTcp => (
            "KUBE-NODE-PORT-LOCAL-TCP",
            BitmapPort,
            "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
        ),
        FilterSet::NodePortUdp => (
            "KUBE-NODE-PORT-UDP",
            BitmapPort,
            "Kubernetes nodeport UDP port for masquerade purpose",
        ),
        FilterSet::NodePortLocalUdp => (
            "KUBE-NODE-PORT-LOCAL-UDP",
            BitmapPort,
            "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
        ),
        FilterSet::NodePortSctp => (
            "KUBE-NODE-PORT-SCTP-HASH",
            HashIpPort,
            "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
        ),
        FilterSet::NodePortLocalSctp => (
            "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
            HashIpPort,
            "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
        ),
        FilterSet::HealthCheckPort => (
            "KUBE-HEALTH-CHECK-NODE-PORT",
            BitmapPort,
            "Kubernetes health check node port",
        ),
        FilterSet::Vip => ("KUBE-IPVS-IPS", HashIp, "Addresses on the ipvs interface"),
    }
}

/// The comment of the rules that match the set.
pub(super) const fn comment(set: FilterSet) -> &'static str {
    facts(set).2
}

/// The set's name in a family: `KUBE-…`, for IPv6 `KUBE-6-…` cut to 31 bytes.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::iptables::set_name;
/// use ipvs_model::FilterSet;
/// let name = set_name(FilterSet::SourceRange, Family::Ipv6);
/// assert_eq!(name.as_str(), "KUBE-6-LOAD-BALANCER-SOURCE-CID");
/// ```
#[must_use]
pub fn set_name(set: FilterSet, family: Family) -> SetName {
    let [ipv4, ipv6] = names(set);
    match family {
        Family::Ipv4 => *ipv4,
        Family::Ipv6 => *ipv6,
    }
}

/// Made once, at compile time: names go into every message about an entry.
#[allow(clippy::indexing_slicing, reason = "there are as many names as sets")]
const fn names(set: FilterSet) -> &'static [SetName; 2] {
    const NAMES: [[SetName; 2]; FilterSet::ALL.len()] = all_names();
    &NAMES[set as usize]
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "at compile time"
)]
const fn all_names() -> [[SetName; 2]; FilterSet::ALL.len()] {
    let mut names = [[ipv4_name(FilterSet::Hairpin); 2]; FilterSet::ALL.len()];
    let mut at = 0;
    while at < FilterSet::ALL.len() {
        names[at] = [ipv4_name(FilterSet::ALL[at]), ipv6_name(FilterSet::ALL[at])];
        at += 1;
    }
    names
}

#[allow(clippy::panic, reason = "at compile time")]
const fn ipv4_name(set: FilterSet) -> SetName {
    match SetName::new(facts(set).0) {
        Some(name) => name,
        None => panic!("not a set name"),
    }
}

/// `KUBE-6-` in the place of `KUBE-`, cut to what fits.
#[allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "at compile time"
)]
const fn ipv6_name(set: FilterSet) -> SetName {
    let mut bytes = *b"KUBE-6-________________________";
    let (_, rest) = facts(set).0.as_bytes().split_at(5);
    let mut length = 7;
    while length < bytes.len() && length - 7 < rest.len() {
        bytes[length] = rest[length - 7];
        length += 1;
    }
    let (name, _) = bytes.split_at(length);
    match std::str::from_utf8(name) {
        Ok(name) => match SetName::new(name) {
            Some(name) => name,
            None => panic!("not a set name"),
        },
        Err(_) => panic!("not ASCII"),
    }
}

/// How the set is created in a family.
#[must_use]
pub fn set_spec(set: FilterSet, family: Family) -> SetSpec {
    let set_type = facts(set).1;
    let set_family = match (set_type, family) {
        (SetType::BitmapPort, _) => SetFamily::Unspec,
        (_, Family::Ipv4) => SetFamily::Inet,
        (_, Family::Ipv6) => SetFamily::Inet6,
    };
    SetSpec {
        name: set_name(set, family),
        set_type,
        family: set_family,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_096_ipv6_names_are_cut_to_31_bytes() {
        let names = FilterSet::ALL.map(|set| set_name(set, Family::Ipv6).to_string());
        assert!(names.contains(&"KUBE-6-NODE-PORT-LOCAL-SCTP-HAS".to_owned()));
        assert!(names.contains(&"KUBE-6-LOAD-BALANCER-SOURCE-CID".to_owned()));
        assert!(names.contains(&"KUBE-6-HEALTH-CHECK-NODE-PORT".to_owned()));
        let all: std::collections::BTreeSet<_> = Family::ALL
            .iter()
            .flat_map(|family| FilterSet::ALL.map(|set| set_name(set, *family)))
            .collect();
        assert_eq!(all.len(), 34, "no two sets share a name");
    }
}
