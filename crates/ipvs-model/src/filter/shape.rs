use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use ipvs_codec::Family;
use serde::{Serialize, Serializer};

use super::{AddressAndPort, FilterSet};
use crate::config::{Config, InterfaceName, LocalTraffic};

/// Some of the filter's sets.
///
/// ```
/// use ipvs_model::{FilterSet, FilterSets};
/// let sets: FilterSets = [FilterSet::Vip, FilterSet::ClusterIp].into_iter().collect();
/// assert!(sets.contains(FilterSet::Vip) && !sets.contains(FilterSet::Hairpin));
/// assert_eq!(sets.iter().count(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FilterSets(u32);

impl FilterSets {
    /// Whether a set is among them.
    #[must_use]
    pub const fn contains(self, set: FilterSet) -> bool {
        self.0 & bit(set) != 0
    }

    /// Those of them that `others` has not.
    #[must_use]
    pub const fn except(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Each of them, in the order of [`FilterSet::ALL`].
    pub fn iter(self) -> impl Iterator<Item = FilterSet> {
        FilterSet::ALL
            .into_iter()
            .filter(move |set| self.contains(*set))
    }
}

const fn bit(set: FilterSet) -> u32 {
    1_u32.unbounded_shl(set as u32)
}

impl FromIterator<FilterSet> for FilterSets {
    fn from_iter<I: IntoIterator<Item = FilterSet>>(sets: I) -> Self {
        Self(sets.into_iter().fold(0, |all, set| all | bit(set)))
    }
}

impl fmt::Debug for FilterSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for FilterSets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Which connections to cluster IPs are masqueraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Masquerade {
    /// All.
    All,
    /// Those that do not come from pods of this node.
    NotFrom(LocalPods),
    /// Those of the node itself alone: their source is a VIP.
    Node,
}

/// How connections from pods of this node are recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocalPods {
    /// By their source.
    Network(IpNet),
    /// By the interface that they come in by.
    Bridge(InterfaceName),
    /// By how the name of that interface begins.
    InterfacePrefix(InterfaceName),
}

/// What the filter of a family does with the entries of its sets: all of it that does not stand in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterShape {
    /// Of which family.
    #[serde(skip)]
    pub family: Family,
    /// The packet mark of what is masqueraded.
    pub mark: u32,
    /// Whether ports of what is masqueraded are taken at random.
    pub random_fully: bool,
    /// Who is masqueraded on the way to cluster IPs; none while there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ips: Option<Masquerade>,
    /// The sets that have entries, as far as the filter [depends](FilterSet::shapes_filter) on it.
    pub filled: FilterSets,
    /// The sets that are not asked for though the [guard](FilterSet::is_guard) needs them: they cannot be used.
    pub without: FilterSets,
    /// Ports that this node itself must not reach: a packet of its own to a VIP has the VIP as its source, so that what
    /// looks at source ranges would let it through.
    #[serde(serialize_with = "as_text")]
    pub refused: BTreeSet<AddressAndPort>,
}

fn as_text<S: Serializer>(
    refused: &BTreeSet<AddressAndPort>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(refused.iter().map(ToString::to_string))
}

impl FilterShape {
    /// The one that a family should have: `filled` tells which sets have entries, `pod_cidrs` are the Node object's pod
    /// networks.
    pub(crate) fn of(
        family: Family,
        config: &Config,
        pod_cidrs: &[IpNet],
        filled: impl Fn(FilterSet) -> bool,
        refused: impl Iterator<Item = AddressAndPort>,
    ) -> Self {
        let filled: FilterSets = FilterSet::ALL
            .into_iter()
            .filter(|set| set.shapes_filter() && filled(*set))
            .collect();
        let masquerade = || masquerade(family, config, pod_cidrs);
        Self {
            family,
            mark: config.masquerade_mark,
            random_fully: config.random_fully,
            cluster_ips: filled.contains(FilterSet::ClusterIp).then(masquerade),
            filled,
            without: FilterSets::default(),
            refused: refused.collect(),
        }
    }

    /// The same that asks for none of some sets.
    #[must_use]
    pub fn without_sets(mut self, sets: FilterSets) -> Self {
        self.filled = self.filled.except(sets);
        let guards = sets.iter().chain(self.without.iter());
        self.without = guards.filter(|set| set.is_guard()).collect();
        if sets.contains(FilterSet::ClusterIp) {
            self.cluster_ips = None;
        }
        self
    }

    /// Whether it asks for a set, which must be there then.
    #[must_use]
    pub const fn asks_for(&self, set: FilterSet) -> bool {
        self.filled.contains(set) || (set.is_guard() && !self.without.contains(set))
    }
}

fn masquerade(family: Family, config: &Config, pod_cidrs: &[IpNet]) -> Masquerade {
    if config.masquerade_all {
        return Masquerade::All;
    }
    let not_from = |cidrs: &[IpNet]| {
        let own = |cidr: &&IpNet| Family::of(cidr.addr()) == family;
        let cidr = cidrs.iter().find(own)?;
        Some(LocalPods::Network(cidr.trunc()))
    };
    let pods = match &config.local_traffic {
        LocalTraffic::ClusterCidrs(cidrs) => not_from(cidrs),
        LocalTraffic::NodeCidrs => not_from(pod_cidrs),
        LocalTraffic::Bridge(name) => Some(LocalPods::Bridge(name.clone())),
        LocalTraffic::InterfacePrefix(prefix) => Some(LocalPods::InterfacePrefix(prefix.clone())),
    };
    // Only the node itself connects with a VIP as its source.
    pods.map_or(Masquerade::Node, Masquerade::NotFrom)
}
