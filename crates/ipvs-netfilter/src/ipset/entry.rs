use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Transport protocol in an entry (`IPSET_ATTR_PROTO`): an IP protocol number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryProtocol(pub u8);

impl EntryProtocol {
    /// 6.
    pub const TCP: Self = Self(6);
    /// 17.
    pub const UDP: Self = Self(17);
    /// 132.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for EntryProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::SCTP => f.write_str("sctp"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

impl fmt::Debug for EntryProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry of a set, in the form that the kernel lists it in.
///
/// ```
/// use ipvs_netfilter::ipset::{Entry, EntryProtocol};
/// let entry = Entry::IpPort("10.96.0.10".parse().unwrap(), EntryProtocol::TCP, 80);
/// assert_eq!(entry.to_string(), "10.96.0.10,tcp:80");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// `hash:ip`.
    Ip(IpAddr),
    /// `hash:ip,port`.
    IpPort(IpAddr, EntryProtocol, u16),
    /// `hash:ip,port,ip`.
    IpPortIp(IpAddr, EntryProtocol, u16, IpAddr),
    /// `hash:ip,port,net`; the kernel refuses prefix length 0.
    IpPortNet(IpAddr, EntryProtocol, u16, IpNet),
    /// `bitmap:port`.
    Port(u16),
}

/// A text is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEntry(String);

impl fmt::Display for InvalidEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is no entry as 10.0.0.1, 10.0.0.1,tcp:80, 10.0.0.1,tcp:80,10.0.0.0/8 or 80"
        )
    }
}

impl std::error::Error for InvalidEntry {}

/// As the kernel lists it. A network of one address, which is listed without its length, is read as an address.
///
/// ```
/// use ipvs_netfilter::ipset::{Entry, EntryProtocol};
/// let entry = Entry::IpPort("fd00::1".parse().unwrap(), EntryProtocol::UDP, 53);
/// assert_eq!("fd00::1,udp:53".parse(), Ok(entry));
/// ```
impl FromStr for Entry {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        parse(text).ok_or_else(|| InvalidEntry(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Entry> {
    let mut parts = text.split(',');
    let first = parts.next()?;
    let Some(middle) = parts.next() else {
        let port = first.parse().ok().map(Entry::Port);
        return port.or_else(|| first.parse().ok().map(Entry::Ip));
    };
    let ip = first.parse().ok()?;
    let (protocol, port) = middle.split_once(':')?;
    let protocol = match protocol {
        "tcp" => EntryProtocol::TCP,
        "udp" => EntryProtocol::UDP,
        "sctp" => EntryProtocol::SCTP,
        number => EntryProtocol(number.parse().ok()?),
    };
    let port = port.parse().ok()?;
    let entry = match parts.next() {
        None => Entry::IpPort(ip, protocol, port),
        Some(net) if net.contains('/') => Entry::IpPortNet(ip, protocol, port, net.parse().ok()?),
        Some(other) => Entry::IpPortIp(ip, protocol, port, other.parse().ok()?),
    };
    parts.next().is_none().then_some(entry)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::IpPort(ip, protocol, port) => write!(f, "{ip},{protocol}:{port}"),
            Self::IpPortIp(ip, protocol, port, second) => {
                write!(f, "{ip},{protocol}:{port},{second}")
            }
            Self::IpPortNet(ip, protocol, port, net)
                if net.prefix_len() == net.max_prefix_len() =>
            {
                write!(f, "{ip},{protocol}:{port},{}", net.addr())
            }
            Self::IpPortNet(ip, protocol, port, net) => write!(f, "{ip},{protocol}:{port},{net}"),
            Self::Port(port) => write!(f, "{port}"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
