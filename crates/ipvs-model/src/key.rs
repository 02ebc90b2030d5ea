use std::fmt;
use std::net::IpAddr;

use ipvs_codec::{Family, ServiceKey};

use crate::filter::FilterEntry;

/// A part of the kernel's state that is planned for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The rule skeleton of a family.
    Rules(Family),
    /// An entry of a set.
    Member(FilterEntry),
    /// A virtual server with its real servers.
    VirtualServer(ServiceKey),
    /// A virtual address, however it is bound.
    Vip(IpAddr),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(family) => write!(f, "{family} rules"),
            Self::Member(member) => write!(f, "member {member}"),
            Self::VirtualServer(key) => write!(f, "virtual server {key}"),
            Self::Vip(address) => write!(f, "VIP {address}"),
        }
    }
}
