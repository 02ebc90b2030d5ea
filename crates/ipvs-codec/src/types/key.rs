use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use crate::error::{InvalidValue, SemanticError};

/// Address family of a service or a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Family {
    /// `AF_INET`, 2.
    #[cfg_attr(feature = "serde", serde(rename = "IPv4"))]
    Ipv4,
    /// `AF_INET6`, 10.
    #[cfg_attr(feature = "serde", serde(rename = "IPv6"))]
    Ipv6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    ///
    /// ```
    /// use ipvs_codec::Family;
    /// assert_eq!(Family::of("::1".parse().unwrap()), Family::Ipv6);
    /// ```
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The number of the family on Linux.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// Length in bits of an address, 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// The address in the kernel's 16-byte union.
    pub(crate) fn address(self, raw: [u8; 16]) -> IpAddr {
        let [a, b, c, d, ..] = raw;
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::from(raw)),
        }
    }
}

impl TryFrom<u16> for Family {
    type Error = SemanticError;
    fn try_from(number: u16) -> Result<Self, SemanticError> {
        match number {
            2 => Ok(Self::Ipv4),
            10 => Ok(Self::Ipv6),
            other => Err(SemanticError::UnknownFamily(other)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// The kernel's 16-byte union of an address.
pub(crate) fn union_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// IP protocol number of a service. The kernel takes and keeps any; IPVS balances TCP, UDP and SCTP.
///
/// ```
/// use ipvs_codec::Protocol;
/// assert_eq!(Protocol::try_from(17), Ok(Protocol::UDP));
/// assert!(Protocol::try_from(47).is_err());
/// assert_eq!("sctp".parse(), Ok(Protocol::SCTP));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Protocol(u16);

impl Protocol {
    /// 6.
    pub const TCP: Self = Self(6);
    /// 17.
    pub const UDP: Self = Self(17);
    /// 132.
    pub const SCTP: Self = Self(132);

    /// Any number, for what is read back from a kernel or is sent to one on purpose.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Protocol {
    type Error = InvalidValue;
    fn try_from(number: u16) -> Result<Self, InvalidValue> {
        match Self(number) {
            known @ (Self::TCP | Self::UDP | Self::SCTP) => Ok(known),
            _ => Err(InvalidValue::Protocol(number)),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::SCTP => f.write_str("SCTP"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What identifies a service: protocol, address and port, or a firewall mark.
///
/// ```
/// use ipvs_codec::{Protocol, ServiceKey};
/// let key = ServiceKey::endpoint(Protocol::TCP, "fd00:96::1".parse().unwrap(), 80);
/// assert_eq!(key.to_string(), "[fd00:96::1]:80/TCP");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum ServiceKey {
    /// `IPVS_SVC_ATTR_PROTOCOL`, `_ADDR` and `_PORT`.
    Endpoint {
        /// IP protocol.
        protocol: Protocol,
        /// The virtual address.
        addr: IpAddr,
        /// The virtual port; 0 takes all ports of a persistent service.
        port: u16,
    },
    /// `IPVS_SVC_ATTR_FWMARK`. Mark 0 is no mark: the kernel would make the service TCP 0.0.0.0:0 of it.
    Fwmark {
        /// The same mark may exist once for each family.
        family: Family,
        /// The mark that packets carry.
        mark: NonZeroU32,
    },
}

impl ServiceKey {
    /// A service with protocol, address and port.
    #[must_use]
    pub const fn endpoint(protocol: Protocol, addr: IpAddr, port: u16) -> Self {
        Self::Endpoint {
            protocol,
            addr,
            port,
        }
    }

    /// A service for packets that carry a firewall mark.
    ///
    /// # Errors
    /// [`InvalidValue::MarkZero`] for mark 0.
    pub const fn fwmark(family: Family, mark: u32) -> Result<Self, InvalidValue> {
        match NonZeroU32::new(mark) {
            Some(mark) => Ok(Self::Fwmark { family, mark }),
            None => Err(InvalidValue::MarkZero),
        }
    }

    /// The family of the service.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Endpoint { addr, .. } => Family::of(*addr),
            Self::Fwmark { family, .. } => *family,
        }
    }

    /// The protocol, if the service has one.
    #[must_use]
    pub const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Endpoint { protocol, .. } => Some(*protocol),
            Self::Fwmark { .. } => None,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint {
                protocol,
                addr,
                port,
            } => {
                write!(f, "{}/{protocol}", std::net::SocketAddr::new(*addr, *port))
            }
            Self::Fwmark { family, mark } => write!(f, "fwmark {mark} ({family})"),
        }
    }
}
