//! Entries as they stand in their sets, and back.

use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::{Family, Protocol};
use ipvs_model::{AddressAndPort, EntryParts, FilterEntry, FilterSet};
use ipvs_netfilter::nftables::{Entry, Key, Value};

use crate::protocol_byte;

/// How an entry stands in its set.
///
/// ```
/// use ipvs_filter::nftables::{set, set_entry};
/// let entry = "source-range 203.0.113.7:80/TCP from 10.0.0.0/8".parse().unwrap();
/// let key = set_entry(&entry).key.text(&set(entry.set(), entry.family()).key);
/// assert_eq!(key, "203.0.113.7 . tcp . 80 . 10.0.0.0-10.255.255.255");
/// ```
#[must_use]
pub fn set_entry(entry: &FilterEntry) -> Entry {
    Entry::from(match entry.parts() {
        EntryParts::Served(served) => Key::Value(joined(served, None)),
        EntryParts::From(served, from) => Key::Value(joined(served, Some(from))),
        EntryParts::FromNet(served, range) => Key::Range(
            joined(served, Some(range.network())),
            joined(served, Some(range.broadcast())),
        ),
        EntryParts::Port(_, port) => Key::Value(Value::port(port)),
        EntryParts::Address(address) => Key::Value(Value::ip(address)),
    })
}

fn joined(served: AddressAndPort, from: Option<IpAddr>) -> Value {
    let protocol = protocol_byte(served.protocol);
    let address = Value::ip(served.address);
    let parts = [address, Value::byte(protocol), Value::port(served.port)];
    let joined = match from {
        Some(from) => Value::concat(&[parts[0], parts[1], parts[2], Value::ip(from)]),
        None => Value::concat(&parts),
    };
    // 40 bytes at most.
    joined.unwrap_or(address)
}

/// What an entry of a set is; none if no entry of ours stands like that.
#[must_use]
pub fn filter_entry(set: FilterSet, family: Family, entry: &Entry) -> Option<FilterEntry> {
    let parts = match (set, entry.key) {
        (FilterSet::SourceRange, Key::Range(first, last)) => {
            let (served, from) = parted(&first, family)?;
            let (same, until) = parted(&last, family)?;
            let range = network(from?, until?).filter(|_| same == served)?;
            EntryParts::FromNet(served, range)
        }
        (FilterSet::SourceRange, Key::Value(value)) => {
            let (served, from) = parted(&value, family)?;
            EntryParts::FromNet(served, from?.into())
        }
        (FilterSet::Vip, Key::Value(value)) => EntryParts::Address(value.to_ip()?),
        (_, Key::Value(value)) => match (value.to_port(), parted(&value, family)) {
            (Some(port), _) => EntryParts::Port(family, port),
            (None, Some((served, None))) => EntryParts::Served(served),
            (None, Some((served, Some(from)))) => EntryParts::From(served, from),
            (None, None) => return None,
        },
        _ => return None,
    };
    let found = FilterEntry::of(set, parts)?;
    (found.family() == family).then_some(found)
}

/// Address, protocol and port, and the second address where there is one.
fn parted(value: &Value, family: Family) -> Option<(AddressAndPort, Option<IpAddr>)> {
    let length = match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    };
    let (address, rest) = value.as_bytes().split_at_checked(length)?;
    let (&[protocol, ..], rest) = rest.split_first_chunk::<4>()?;
    let (&[high, low, ..], rest) = rest.split_first_chunk::<4>()?;
    let ip = |bytes: &[u8]| Value::from_bytes(bytes)?.to_ip();
    let served = AddressAndPort {
        address: ip(address)?,
        protocol: Protocol::from_number(protocol.into()),
        port: u16::from_be_bytes([high, low]),
    };
    match rest {
        [] => Some((served, None)),
        from if from.len() == length => Some((served, Some(ip(from)?))),
        _ => None,
    }
}

/// The network that begins and ends with these addresses.
fn network(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let ends = |network: &IpNet| network.network() == first && network.broadcast() == last;
    let bits = Family::of(first).bits();
    let mut networks = (0..=bits).filter_map(|prefix| IpNet::new(first, prefix).ok());
    networks.find(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_what_was_added() {
        for text in [
            "hairpin 10.244.0.5:8080/TCP from 10.244.0.5",
            "cluster-ip [fd00:96::1]:80/TCP",
            "external-ip 203.0.113.5:80/UDP",
            "external-ip-local 203.0.113.5:80/SCTP",
            "load-balancer 198.18.0.7:80/TCP",
            "firewalled 198.18.0.7:80/TCP",
            "load-balancer-local 198.18.0.7:80/TCP",
            "source-address [fd00::7]:80/TCP from fd00::7",
            "source-range 198.18.0.7:80/TCP from 10.0.0.0/8",
            "source-range 198.18.0.7:80/TCP from 0.0.0.0/0",
            "source-range 198.18.0.7:80/TCP from 10.1.2.3/32",
            "source-range [fd00::7]:80/TCP from fd00:1::/33",
            "node-port-tcp IPv4:30080",
            "node-port-local-tcp IPv6:30080",
            "node-port-udp IPv4:30080",
            "node-port-local-udp IPv6:30080",
            "node-port-sctp 10.0.0.1:30080/SCTP",
            "node-port-local-sctp 10.0.0.1:30080/SCTP",
            "health-check-port IPv4:32000",
            "vip 10.96.0.10",
            "vip fd00:96::1",
        ] {
            let entry: FilterEntry = text.parse().unwrap();
            let (set, family) = (entry.set(), entry.family());
            let listed = set_entry(&entry);
            assert_eq!(filter_entry(set, family, &listed), Some(entry), "{text}");
            let bytes = match listed.key {
                Key::Value(value) | Key::Range(value, _) => value.len(),
                _ => 0,
            };
            let key = super::super::set(set, family).key;
            assert_eq!(u32::try_from(bytes).unwrap(), key.length, "{text}");
            let other = match family {
                Family::Ipv4 => Family::Ipv6,
                Family::Ipv6 => Family::Ipv4,
            };
            let as_other = filter_entry(set, other, &listed);
            assert!(as_other.is_none() || entry.served().is_none(), "{text}");
        }
        let odd = Key::Range(
            joined(
                "198.18.0.7:80/TCP".parse::<Served>().unwrap().0,
                Some([10, 0, 0, 1].into()),
            ),
            joined(
                "198.18.0.7:80/TCP".parse::<Served>().unwrap().0,
                Some([10, 0, 0, 9].into()),
            ),
        );
        let odd = filter_entry(FilterSet::SourceRange, Family::Ipv4, &odd.into());
        assert_eq!(odd, None, "no network");
    }

    struct Served(AddressAndPort);

    impl std::str::FromStr for Served {
        type Err = ipvs_model::NoFilterEntry;
        fn from_str(text: &str) -> Result<Self, Self::Err> {
            let entry: FilterEntry = format!("cluster-ip {text}").parse()?;
            Ok(Self(entry.served().unwrap()))
        }
    }
}
