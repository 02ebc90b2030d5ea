//! What clean-up finds, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};
use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{FilterEntry, FilterSet, Known, KnownFilter, Vip};
use ipvs_netfilter::ipset::SetName;
use ipvs_netfilter::iptables::SavedRules;

use crate::iptables::ruleset;

/// What clean-up reads at once. Nothing of one part is needed to remove another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CleanUpPart {
    /// Which of our sets are there, and their entries.
    Sets,
    /// Virtual servers.
    VirtualServers,
    /// The dummy interface and what is bound to it.
    Link,
    /// The rules of a family, all tables.
    Rules(Family),
    /// Our own tables of nftables, and those of kube-proxy's nftables mode.
    Nftables,
}

impl CleanUpPart {
    /// In the order in which they are read.
    pub const ALL: [Self; 6] = [
        Self::Sets,
        Self::VirtualServers,
        Self::Link,
        Self::Rules(Family::Ipv4),
        Self::Rules(Family::Ipv6),
        Self::Nftables,
    ];
}

impl fmt::Display for CleanUpPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sets => f.write_str("sets"),
            Self::VirtualServers => f.write_str("virtual servers"),
            Self::Link => f.write_str("dummy interface"),
            Self::Rules(family) => write!(f, "{family} rules"),
            Self::Nftables => f.write_str("nftables tables"),
        }
    }
}

/// Why a part was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// This machine has no such thing, so there is nothing to remove.
    Absent(String),
    /// Reading failed.
    Failed(String),
}

/// What is there that clean-up may have to remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remains {
    /// Those of our sets that are there, of whatever type. Without entries where these cannot be made out.
    pub sets: HashMap<(FilterSet, Family), HashSet<FilterEntry>>,
    /// The sets of type `list:set`, whoever made them, with the names of the sets that each lists.
    pub set_lists: BTreeMap<SetName, Vec<String>>,
    /// Virtual servers, but for those with a firewall mark, which are never ours.
    pub virtual_servers: BTreeSet<ServiceKey>,
    /// The link that has the name of the dummy interface.
    pub link: Option<RemainingLink>,
    /// The rules of each family.
    pub rules: BTreeMap<Family, SavedRules>,
    /// The rules of other back ends of iptables. Nothing is removed from them, but they may hold sets.
    pub other_rules: BTreeMap<Family, Vec<SavedRules>>,
    /// Why a back end of iptables could not be read, while another could.
    pub unread_rules: BTreeMap<Family, String>,
    /// The tables of nftables that are ours or of kube-proxy's nftables mode.
    pub nftables: BTreeSet<(NftablesTable, Family)>,
    /// What stands in the sets of ours.
    pub entries: HashMap<(FilterSet, Family), HashSet<FilterEntry>>,
}

/// A table of nftables that clean-up removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NftablesTable {
    /// That of kube-proxy's nftables mode, `kube-proxy`.
    KubeProxy,
    /// Our own, `kube-proxy-ipvs`.
    Ours,
}

impl NftablesTable {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeProxy => "kube-proxy",
            Self::Ours => crate::nftables::TABLE.as_str(),
        }
    }
}

/// A link that has the name of the dummy interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemainingLink {
    /// Another kind of link is not ours.
    pub is_dummy: bool,
    /// What is bound to it.
    pub vips: BTreeSet<Vip>,
    /// Addresses on it that have a network behind them, as no VIP has: they are not ours.
    pub networks: BTreeSet<IpAddr>,
    /// Where routes through it lead that bind no VIP, as address and prefix length: they are not ours.
    pub routes: BTreeSet<(IpAddr, u8)>,
}

impl Remains {
    /// Puts what was found of a part in the place of what was known of it.
    pub(super) fn take(&mut self, part: CleanUpPart, found: Self) {
        match part {
            // Our sets are the ledger, which has a place of its own.
            CleanUpPart::Sets => self.set_lists = found.set_lists,
            CleanUpPart::VirtualServers => self.virtual_servers = found.virtual_servers,
            CleanUpPart::Link => self.link = found.link,
            CleanUpPart::Rules(family) => {
                self.rules.remove(&family);
                self.rules
                    .extend(found.rules.into_iter().filter(|(of, _)| *of == family));
                self.unread_rules.remove(&family);
                let unread = found.unread_rules.into_iter();
                self.unread_rules
                    .extend(unread.filter(|(of, _)| *of == family));
                self.other_rules.remove(&family);
                let others = found.other_rules.into_iter();
                self.other_rules
                    .extend(others.filter(|(of, _)| *of == family));
            }
            // As with our sets of ipset, the entries have a place of their own.
            CleanUpPart::Nftables => self.nftables = found.nftables,
        }
    }
}

/// Where all is as known: the link is a dummy interface, and there is nothing of nftables mode.
impl From<&Known> for Remains {
    fn from(known: &Known) -> Self {
        let mut sets = known.sets.clone();
        let saved = |(family, filter): (&Family, &KnownFilter)| {
            let mut saved = SavedRules::default();
            saved.restored(&ruleset(filter.shape.as_ref()?));
            Some((*family, saved))
        };
        sets.extend(known.unusable.keys().map(|key| (*key, HashSet::default())));
        Self {
            sets,
            set_lists: BTreeMap::new(),
            virtual_servers: known.virtual_servers.keys().copied().collect(),
            link: known.link.map(|_| RemainingLink {
                is_dummy: true,
                vips: known.vips.values().flatten().copied().collect(),
                networks: BTreeSet::new(),
                routes: BTreeSet::new(),
            }),
            rules: known.filters.iter().filter_map(saved).collect(),
            other_rules: BTreeMap::new(),
            unread_rules: BTreeMap::new(),
            nftables: BTreeSet::new(),
            entries: HashMap::default(),
        }
    }
}
