use std::fmt;

use ipvs_codec::Family;
use ipvs_model::{FilterSet, Key, Operation};

use crate::error::PlaneError;

/// What is read, compared and repaired by itself. One that cannot be read keeps no other from being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// The virtual servers with their real servers.
    VirtualServers,
    /// The virtual servers, and the real servers of those alone that are otherwise than known. It is no section of everything,
    /// but enough where something says that virtual servers came or went.
    ListOfVirtualServers,
    /// The dummy interface and what is bound to it.
    Link,
    /// A set with its entries.
    Set(FilterSet, Family),
    /// The rules of a family.
    Rules(Family),
}

impl Section {
    /// The sets of a family.
    pub(crate) fn sets(family: Family) -> impl Iterator<Item = Self> {
        let all = FilterSet::ALL.into_iter();
        all.map(move |set| Self::Set(set, family))
    }

    /// All of some families, in the order in which they are read. Rules are the last, so that nothing is read while the
    /// processes for them run.
    pub fn all(families: &[Family]) -> impl Iterator<Item = Self> {
        let rules = families.iter().copied().map(Self::Rules);
        let sets = families.iter().flat_map(|family| Self::sets(*family));
        [Self::VirtualServers, Self::Link]
            .into_iter()
            .chain(sets)
            .chain(rules)
    }

    /// What of the data plane reading it takes.
    pub(crate) const fn lane(self) -> Lane {
        match self {
            Self::Rules(_) => Lane::Rules,
            Self::VirtualServers | Self::ListOfVirtualServers | Self::Link | Self::Set(..) => {
                Lane::Tables
            }
        }
    }

    /// Which one an operation repairs.
    pub(crate) const fn repaired_by(operation: &Operation) -> Option<Self> {
        Some(match operation {
            Operation::EnsureLink { .. }
            | Operation::BindVip { .. }
            | Operation::UnbindVip { .. } => Self::Link,
            Operation::AddMember { member } | Operation::RemoveMember { member } => {
                Self::Set(member.set(), member.family())
            }
            Operation::CreateSet { set, family, .. }
            | Operation::DestroySet { set, family, .. } => Self::Set(*set, *family),
            Operation::WriteRules { family, .. } | Operation::ReleaseSets { family, .. } => {
                Self::Rules(*family)
            }
            Operation::AddVirtualServer { .. }
            | Operation::SetVirtualServer { .. }
            | Operation::RemoveVirtualServer { .. }
            | Operation::AddRealServer { .. }
            | Operation::SetRealServer { .. }
            | Operation::DrainRealServer { .. }
            | Operation::RemoveRealServer { .. } => Self::VirtualServers,
            _ => return None,
        })
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualServers => f.write_str("virtual servers"),
            Self::ListOfVirtualServers => f.write_str("the list of virtual servers"),
            Self::Link => f.write_str("the dummy interface"),
            Self::Set(set, family) => write!(f, "set {set} ({family})"),
            Self::Rules(Family::Ipv4) => f.write_str("IPv4 rules"),
            Self::Rules(Family::Ipv6) => f.write_str("IPv6 rules"),
        }
    }
}

/// What of a data plane a reading takes: two readings of one lane are in each other's way, those of different lanes go on
/// beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What is asked of the kernel: milliseconds.
    Tables,
    /// Processes that read rules, which are waited for: seconds on a busy node.
    Rules,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Tables, Self::Rules];
}

/// A section that could not be read, and why: what is known of it is as old as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {section}: {error}")]
pub struct Unread {
    /// Which.
    pub section: Section,
    /// Why; the first error, where there were several.
    #[source]
    pub error: Box<PlaneError>,
}

/// What a reading found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Where the kernel was otherwise than known. What is known has been put right.
    pub(crate) differing: Vec<Key>,
    /// What could not be read, each section once.
    pub(crate) unread: Vec<Unread>,
}
