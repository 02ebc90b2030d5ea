use std::fmt;
use std::net::IpAddr;

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
