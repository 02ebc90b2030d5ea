use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Address family of a table (`NFPROTO_…`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Family(pub u8);

impl Family {
    /// Every family, in a question.
    pub const ANY: Self = Self(0);
    /// `inet`: IPv4 and IPv6 in one table.
    pub const INET: Self = Self(1);
    /// `ip`.
    pub const IPV4: Self = Self(2);
    /// `ip6`.
    pub const IPV6: Self = Self(10);
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self::INET => f.write_str("inet"),
            Self::IPV4 => f.write_str("ip"),
            Self(3) => f.write_str("arp"),
            Self(5) => f.write_str("netdev"),
            Self(7) => f.write_str("bridge"),
            Self::IPV6 => f.write_str("ip6"),
            Self(other) => write!(f, "family {other}"),
        }
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Name of a table, chain or set: 1 to 255 bytes without NUL. Copies share the bytes.
///
/// ```
/// use ipvs_netfilter::nftables::Name;
/// let name: Name = "cluster-ips".parse().unwrap();
/// assert_eq!(name.to_string(), "cluster-ips");
/// assert!("".parse::<Name>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The longest name, in bytes (`NFT_NAME_MAXLEN` less the NUL).
    pub const MAX: usize = 255;

    /// A name; none if the bytes are none. The kernel takes bytes that are no UTF-8.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&bytes.len()) && !bytes.contains(&0);
        fits.then(|| Self(bytes.into()))
    }

    /// A name that is known to be one.
    pub(super) fn constant(name: &'static [u8]) -> Self {
        Self(name.into())
    }

    /// Its bytes, without NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A name that stands in the program, and is checked when that is compiled.
///
/// ```
/// use ipvs_netfilter::nftables::{FixedName, Name};
/// const VIPS: FixedName = FixedName::new("vips");
/// assert_eq!(Name::from(VIPS), "vips".parse::<Name>().unwrap());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FixedName(&'static str);

impl FixedName {
    /// The name; for constants.
    ///
    /// # Panics
    /// If it is none, which is an error of the compiler in a constant.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let mut rest = name.as_bytes();
        assert!(!rest.is_empty() && rest.len() <= Name::MAX);
        while let [byte, behind @ ..] = rest {
            assert!(*byte != 0);
            rest = behind;
        }
        Self(name)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl From<FixedName> for Name {
    fn from(name: FixedName) -> Self {
        Self::constant(name.0.as_bytes())
    }
}

/// A text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a table, chain or set: 1 to 255 bytes without NUL")]
pub struct InvalidName(String);

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::from_bytes(name.as_bytes()).ok_or_else(|| InvalidName(name.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// A table by its family and name.
///
/// ```
/// use ipvs_netfilter::nftables::{Family, TableId};
/// let table = TableId { family: Family::IPV6, name: "proxy".parse().unwrap() };
/// assert_eq!(table.to_string(), "ip6 proxy");
/// assert_eq!(table.set("vips".parse().unwrap()).to_string(), "ip6 proxy vips");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Name,
}

impl TableId {
    /// One of its chains.
    #[must_use]
    pub fn chain(&self, name: Name) -> ChainId {
        ChainId {
            table: self.clone(),
            name,
        }
    }

    /// One of its sets.
    #[must_use]
    pub fn set(&self, name: Name) -> SetId {
        SetId {
            table: self.clone(),
            name,
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// A chain by its table and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId {
    /// Its table.
    pub table: TableId,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// A set by its table and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId {
    /// Its table.
    pub table: TableId,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}
