use ipvs_codec::{Family, Protocol};
use ipvs_model::{AddressAndPort, EntryParts, FilterEntry, FilterSet};
use ipvs_netfilter::ipset::{Entry, EntryProtocol, SetType};

use super::names::{set_name, set_spec};
use crate::protocol_byte;

/// How an entry stands in its set.
///
/// ```
/// use ipvs_filter::iptables::set_entry;
/// let entry = "cluster-ip 10.96.0.10:80/TCP".parse().unwrap();
/// assert_eq!(set_entry(&entry).to_string(), "10.96.0.10,tcp:80");
/// ```
#[must_use]
pub fn set_entry(entry: &FilterEntry) -> Entry {
    let protocol = |served: AddressAndPort| EntryProtocol(protocol_byte(served.protocol));
    match entry.parts() {
        EntryParts::Served(served) => Entry::IpPort(served.address, protocol(served), served.port),
        EntryParts::From(served, from) => {
            Entry::IpPortIp(served.address, protocol(served), served.port, from)
        }
        EntryParts::FromNet(served, range) => {
            Entry::IpPortNet(served.address, protocol(served), served.port, range)
        }
        EntryParts::Port(_, port) => Entry::Port(port),
        EntryParts::Address(address) => Entry::Ip(address),
    }
}

/// What an entry of a set is; none if it is of another type than the set is to have, or of the other family.
#[must_use]
pub fn filter_entry(set: FilterSet, family: Family, entry: Entry) -> Option<FilterEntry> {
    let served = |address, protocol: EntryProtocol, port| AddressAndPort {
        address,
        protocol: Protocol::from_number(protocol.0.into()),
        port,
    };
    let parts = match entry {
        Entry::IpPort(ip, protocol, port) => EntryParts::Served(served(ip, protocol, port)),
        Entry::IpPortIp(ip, protocol, port, from) => {
            EntryParts::From(served(ip, protocol, port), from)
        }
        Entry::IpPortNet(ip, protocol, port, range) => {
            EntryParts::FromNet(served(ip, protocol, port), range)
        }
        Entry::Port(port) => EntryParts::Port(family, port),
        Entry::Ip(address) => EntryParts::Address(address),
    };
    let found = FilterEntry::of(set, parts)?;
    (found.family() == family).then_some(found)
}

/// The entry that a text asks for in the words of `ipset list`: the name of a set, and an entry as it is listed.
///
/// ```
/// use ipvs_filter::iptables::asked_for;
/// let entry = asked_for("KUBE-6-NODE-PORT-TCP 30080").unwrap();
/// assert_eq!(entry.to_string(), "node-port-tcp IPv6:30080");
/// assert_eq!(asked_for("KUBE-CLUSTER-IP 30080"), None);
/// ```
#[must_use]
pub fn asked_for(text: &str) -> Option<FilterEntry> {
    let mut words = text.split_whitespace();
    let (name, entry) = (words.next()?, words.next()?);
    let mut sets = FilterSet::ALL
        .into_iter()
        .flat_map(|set| Family::ALL.map(|family| (set, family)));
    let (set, family) = sets.find(|(set, family)| set_name(*set, *family).as_str() == name)?;
    let entry = match (set_spec(set, family).set_type, entry.parse().ok()?) {
        // A network of one address is written as the address.
        (SetType::HashIpPortNet, Entry::IpPortIp(ip, protocol, port, one)) => {
            Entry::IpPortNet(ip, protocol, port, one.into())
        }
        (_, entry) => entry,
    };
    let found = filter_entry(set, family, entry)?;
    words.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_what_was_added() {
        for text in [
            "KUBE-LOOP-BACK 10.244.0.5,tcp:8080,10.244.0.5",
            "KUBE-6-CLUSTER-IP fd00:96::1,tcp:80",
            "KUBE-EXTERNAL-IP 203.0.113.5,udp:80",
            "KUBE-EXTERNAL-IP-LOCAL 203.0.113.5,sctp:80",
            "KUBE-LOAD-BALANCER 198.18.0.7,47:80",
            "KUBE-LOAD-BALANCER-FW 198.18.0.7,tcp:80",
            "KUBE-LOAD-BALANCER-LOCAL 198.18.0.7,tcp:80",
            "KUBE-LOAD-BALANCER-SOURCE-IP 198.18.0.7,tcp:80,198.18.0.7",
            "KUBE-LOAD-BALANCER-SOURCE-CIDR 198.18.0.7,tcp:80,10.0.0.0/8",
            "KUBE-LOAD-BALANCER-SOURCE-CIDR 198.18.0.7,tcp:80,10.0.0.1",
            "KUBE-6-NODE-PORT-TCP 30080",
            "KUBE-NODE-PORT-LOCAL-TCP 30080",
            "KUBE-NODE-PORT-UDP 30080",
            "KUBE-NODE-PORT-LOCAL-UDP 30080",
            "KUBE-NODE-PORT-SCTP-HASH 10.0.0.1,sctp:30080",
            "KUBE-NODE-PORT-LOCAL-SCTP-HASH 10.0.0.1,sctp:30080",
            "KUBE-HEALTH-CHECK-NODE-PORT 32000",
            "KUBE-IPVS-IPS 10.96.0.10",
        ] {
            let found = asked_for(text).unwrap();
            let (set, family) = (found.set(), found.family());
            let listed = set_entry(&found);
            assert_eq!(format!("{} {listed}", set_name(set, family)), text);
            assert_eq!(filter_entry(set, family, listed), Some(found));
            // Neither of the other family nor of a set of another type.
            let others = FilterSet::ALL.into_iter().filter(|other| {
                set_spec(*other, family).set_type != set_spec(set, family).set_type
            });
            for other in others {
                assert_eq!(filter_entry(other, family, listed), None, "{other} {text}");
            }
        }
        let ipv6 = asked_for("KUBE-6-IPVS-IPS fd00::1").unwrap();
        let listed = set_entry(&ipv6);
        assert_eq!(filter_entry(FilterSet::Vip, Family::Ipv4, listed), None);
        for text in [
            "KUBE-IPVS-IPS",
            "KUBE-IPVS-IPS 10.0.0.1 more",
            "KUBE-6-IPVS-IPS 10.0.0.1",
            "KUBE-CLUSTER-IP 80",
            "OTHER 80",
        ] {
            assert_eq!(asked_for(text), None, "{text}");
        }
    }
}
