//! Entries as text.

use std::fmt;
use std::str::FromStr;

use ipvs_codec::{Family, ServiceKey};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{AddressAndPort, EntryParts, FilterEntry, FilterSet};

/// A text is no [`FilterEntry`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no entry as cluster-ip 10.96.0.10:80/TCP, source-range 203.0.113.7:80/TCP from 10.0.0.0/8, \
     node-port-tcp IPv4:30080 or vip 10.96.0.10"
)]
pub struct NoFilterEntry(String);

impl fmt::Display for AddressAndPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

impl fmt::Display for EntryParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served(served) => served.fmt(f),
            Self::From(served, from) => write!(f, "{served} from {from}"),
            Self::FromNet(served, range) => write!(f, "{served} from {range}"),
            Self::Port(family, port) => write!(f, "{family}:{port}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for FilterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.set(), self.parts())
    }
}

impl Serialize for FilterEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("FilterEntry", 2)?;
        entry.serialize_field("set", &self.set())?;
        entry.serialize_field("entry", &format_args!("{}", self.parts()))?;
        entry.end()
    }
}

impl FromStr for FilterEntry {
    type Err = NoFilterEntry;

    fn from_str(text: &str) -> Result<Self, NoFilterEntry> {
        parse(text).ok_or_else(|| NoFilterEntry(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<FilterEntry> {
    let mut words = text.split_whitespace();
    let name = words.next()?;
    let mut sets = FilterSet::ALL.into_iter();
    let set = sets.find(|set| set.as_str() == name)?;
    let first = words.next()?;
    let rest: Vec<&str> = words.collect();
    let parts = match (set, &rest[..]) {
        (FilterSet::Hairpin | FilterSet::SourceAddress, ["from", from]) => {
            EntryParts::From(served(first)?, from.parse().ok()?)
        }
        (FilterSet::SourceRange, ["from", range]) => {
            EntryParts::FromNet(served(first)?, range.parse().ok()?)
        }
        (FilterSet::Vip, []) => EntryParts::Address(first.parse().ok()?),
        (_, []) => match served(first) {
            Some(served) => EntryParts::Served(served),
            None => port(first)?,
        },
        _ => return None,
    };
    FilterEntry::of(set, parts)
}

fn served(text: &str) -> Option<AddressAndPort> {
    match text.parse().ok()? {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => Some(AddressAndPort {
            address: addr,
            protocol,
            port,
        }),
        ServiceKey::Fwmark { .. } => None,
    }
}

fn port(text: &str) -> Option<EntryParts> {
    let (name, port) = text.split_once(':')?;
    let mut families = Family::ALL.into_iter();
    let family = families.find(|family| family.to_string() == name)?;
    Some(EntryParts::Port(family, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_has_entries_that_are_read_as_they_are_written() {
        for (set, entry) in [
            ("hairpin", "10.244.0.5:8080/TCP from 10.244.0.5"),
            ("cluster-ip", "[fd00:96::1]:80/TCP"),
            ("external-ip", "203.0.113.5:80/UDP"),
            ("external-ip-local", "203.0.113.5:80/SCTP"),
            ("load-balancer", "198.18.0.7:80/TCP"),
            ("firewalled", "198.18.0.7:80/TCP"),
            ("load-balancer-local", "198.18.0.7:80/TCP"),
            ("source-address", "198.18.0.7:80/TCP from 198.18.0.7"),
            ("source-range", "198.18.0.7:80/TCP from 10.0.0.0/8"),
            ("node-port-tcp", "IPv4:30080"),
            ("node-port-local-tcp", "IPv6:30080"),
            ("node-port-udp", "IPv4:30080"),
            ("node-port-local-udp", "IPv6:30080"),
            ("node-port-sctp", "10.0.0.1:30080/SCTP"),
            ("node-port-local-sctp", "10.0.0.1:30080/SCTP"),
            ("health-check-port", "IPv4:32000"),
            ("vip", "fd00:96::1"),
        ] {
            let text = format!("{set} {entry}");
            let parsed: FilterEntry = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.set().as_str(), set);
            assert_eq!(FilterEntry::of(parsed.set(), parsed.parts()), Some(parsed));
            let is_ipv6 = entry.contains("::") || entry.contains("IPv6");
            assert_eq!(parsed.family() == Family::Ipv6, is_ipv6, "{text}");
            // No other kind of set takes the same.
            let others = FilterSet::ALL.into_iter();
            let takes = others.filter(|set| FilterEntry::of(*set, parsed.parts()).is_some());
            assert!((1..=8).contains(&takes.count()));
        }
        for text in [
            "",
            "vip",
            "vip 10.96.0.10:80/TCP",
            "vip 10.0.0.1 from 10.0.0.1",
            "cluster-ip IPv4:80",
            "cluster-ip 10.96.0.10:80/TCP from 10.0.0.1",
            "source-range 10.96.0.10:80/TCP",
            "node-port-tcp 10.0.0.1:80/TCP",
            "node-port-tcp IPv5:80",
            "no-such-set 10.96.0.10",
        ] {
            assert!(text.parse::<FilterEntry>().is_err(), "{text}");
        }
    }
}
