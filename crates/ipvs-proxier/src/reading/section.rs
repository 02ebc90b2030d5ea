use std::fmt;

use ipvs_codec::Family;
use ipvs_model::{Key, KubeSet};

use crate::error::PlaneError;

/// What is read, compared and repaired by itself. One that cannot be read keeps no other from being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// The virtual servers with their real servers.
    VirtualServers,
    /// The dummy interface and what is bound to it.
    Link,
    /// A set with its entries.
    Set(KubeSet, Family),
    /// The rules of a family.
    Rules(Family),
}

impl Section {
    /// All of some families, in the order in which they are read. Rules are the last, so that nothing is read while the
    /// processes for them run.
    pub fn all(families: &[Family]) -> impl Iterator<Item = Self> {
        let sets = |family: &Family| {
            let family = *family;
            KubeSet::ALL
                .into_iter()
                .map(move |set| Self::Set(set, family))
        };
        let rules = families.iter().copied().map(Self::Rules);
        let sets = families.iter().flat_map(sets);
        [Self::VirtualServers, Self::Link]
            .into_iter()
            .chain(sets)
            .chain(rules)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualServers => f.write_str("virtual servers"),
            Self::Link => f.write_str("the dummy interface"),
            Self::Set(set, family) => write!(f, "set {}", set.name(*family)),
            Self::Rules(Family::Ipv4) => f.write_str("IPv4 rules"),
            Self::Rules(Family::Ipv6) => f.write_str("IPv6 rules"),
        }
    }
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
