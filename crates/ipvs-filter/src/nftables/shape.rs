use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use ipvs_netfilter::nftables::{Family, Name};

/// What makes one node's filter differ from another's.
///
/// ```
/// use ipvs_filter::nftables::{MasqueradeClusterIps, Shape};
/// use ipvs_netfilter::nftables::Family;
/// let shape = Shape {
///     family: Family::IPV6,
///     name: "proxy".parse().unwrap(),
///     mark: 0x4000,
///     masquerade: MasqueradeClusterIps::All,
///     fully_random: true,
/// };
/// assert_eq!(shape.family.to_string(), "ip6");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// [`Family::IPV4`] or [`Family::IPV6`].
    pub family: Family,
    /// The name of the table.
    pub name: Name,
    /// The bit of the packet mark that says: masquerade this.
    pub mark: u32,
    /// Which connections to cluster IPs are masqueraded.
    pub masquerade: MasqueradeClusterIps,
    /// Whether ports of masqueraded connections are chosen at random, fully.
    pub fully_random: bool,
}

/// Which connections to cluster IPs are masqueraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasqueradeClusterIps {
    /// All.
    All,
    /// Those that do not come from pods of this node.
    NotFrom(LocalPods),
    /// Those of the node itself alone: their source is a VIP.
    Node,
}

/// How connections from pods of this node are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalPods {
    /// By its source address.
    Network(IpNet),
    /// By the interface that it comes in by.
    Bridge(InterfaceName),
    /// By how the name of that interface begins.
    InterfacePrefix(InterfaceName),
}

impl From<LocalPods> for MasqueradeClusterIps {
    fn from(pods: LocalPods) -> Self {
        Self::NotFrom(pods)
    }
}

/// The name of a network interface, or how one begins: 1 to 15 bytes without NUL, `/` and white space.
///
/// ```
/// use ipvs_filter::nftables::InterfaceName;
/// assert!("cbr0".parse::<InterfaceName>().is_ok());
/// assert!("a-name-that-is-long".parse::<InterfaceName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// `IFNAMSIZ` without its NUL.
    const MAX: usize = 15;

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;
    fn from_str(name: &str) -> Result<Self, InvalidInterfaceName> {
        let odd = |letter: char| letter == '\0' || letter == '/' || letter.is_whitespace();
        if (1..=Self::MAX).contains(&name.len()) && !name.contains(odd) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInterfaceName(name.to_owned()))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no name of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a network interface: 1 to 15 bytes without / and white space")]
pub struct InvalidInterfaceName(String);
