use std::fmt;
use std::str::FromStr;

/// Address family of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum SetFamily {
    /// No family: `bitmap:port`.
    #[cfg_attr(feature = "serde", serde(rename = "unspec"))]
    Unspec,
    /// `family inet`.
    #[cfg_attr(feature = "serde", serde(rename = "inet"))]
    Inet,
    /// `family inet6`.
    #[cfg_attr(feature = "serde", serde(rename = "inet6"))]
    Inet6,
}

impl SetFamily {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Unspec => 0,
            Self::Inet => 2,
            Self::Inet6 => 10,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unspec),
            2 => Some(Self::Inet),
            10 => Some(Self::Inet6),
            _ => None,
        }
    }
}

impl fmt::Display for SetFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspec => "unspec",
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

/// What the entries of a set are made of. The kernel loads `ip_set_TYPE` on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetType {
    /// `hash:ip`.
    HashIp,
    /// `hash:ip,port`.
    HashIpPort,
    /// `hash:ip,port,ip`.
    HashIpPortIp,
    /// `hash:ip,port,net`.
    HashIpPortNet,
    /// `bitmap:port` of all ports.
    BitmapPort,
}

impl SetType {
    /// Every type that this crate knows.
    pub const ALL: [Self; 5] = [
        Self::HashIp,
        Self::HashIpPort,
        Self::HashIpPortIp,
        Self::HashIpPortNet,
        Self::BitmapPort,
    ];

    /// The kernel's name of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashIp => "hash:ip",
            Self::HashIpPort => "hash:ip,port",
            Self::HashIpPortIp => "hash:ip,port,ip",
            Self::HashIpPortNet => "hash:ip,port,net",
            Self::BitmapPort => "bitmap:port",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|set_type| set_type.name().as_bytes() == name)
    }
}

impl fmt::Display for SetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SetType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A set's name: 1 to 31 bytes.
///
/// ```
/// use ipvs_netfilter::ipset::SetName;
/// assert_eq!("KUBE-CLUSTER-IP".parse::<SetName>().unwrap().as_str(), "KUBE-CLUSTER-IP");
/// assert!("KUBE-6-LOAD-BALANCER-SOURCE-CIDR".parse::<SetName>().is_err(), "32 bytes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetName {
    bytes: [u8; Self::MAX],
    length: u8,
}

/// A name that the kernel refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("set name {0:?}: 1 to 31 bytes without NUL")]
pub struct InvalidSetName(pub String);

impl SetName {
    /// `IPSET_MAXNAMELEN` less the NUL.
    pub const MAX: usize = 31;

    /// A name, or `None` if the kernel would refuse it.
    #[must_use]
    pub const fn new(name: &str) -> Option<Self> {
        let length = name.len();
        if length == 0 || length > Self::MAX {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        let mut from = name.as_bytes();
        let mut to: &mut [u8] = &mut bytes;
        while let ([byte, from_tail @ ..], [place, to_tail @ ..]) = (from, to) {
            if *byte == 0 {
                return None;
            }
            *place = *byte;
            (from, to) = (from_tail, to_tail);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 31")]
        Some(Self {
            bytes,
            length: length as u8,
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl FromStr for SetName {
    type Err = InvalidSetName;
    fn from_str(name: &str) -> Result<Self, InvalidSetName> {
        Self::new(name).ok_or_else(|| InvalidSetName(name.to_owned()))
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SetName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A set as it is created: name, type and family; the hash types hold at most [`SetSpec::MAX_ELEMENTS`] entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SetSpec {
    /// Its name.
    pub name: SetName,
    /// Its type.
    #[cfg_attr(feature = "serde", serde(rename = "type"))]
    pub set_type: SetType,
    /// Its family; always [`SetFamily::Unspec`] for `bitmap:port`.
    pub family: SetFamily,
}

impl SetSpec {
    /// Entries that a hash set holds at most (`maxelem`, the default of `ipset create`).
    pub const MAX_ELEMENTS: u32 = 65_536;
    /// Buckets that a hash set starts with (`hashsize`, the default of `ipset create`).
    pub const HASH_SIZE: u32 = 1024;
}
