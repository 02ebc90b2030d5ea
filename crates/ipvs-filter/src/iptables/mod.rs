//! The filter in kube-proxy's sets of ipset and chains of iptables.

mod entries;
mod names;
mod recognition;
mod rule_place;
mod rules;
#[cfg(test)]
mod tests;

pub use entries::{asked_for, filter_entry, set_entry};
pub use names::{set_name, set_spec};
pub use recognition::recognise;
pub use rule_place::RulePlace;
pub(crate) use rules::GUARD;
pub use rules::ruleset;

/// With every rule that there can be.
#[cfg(test)]
pub(crate) fn sample(family: ipvs_codec::Family) -> ipvs_model::FilterShape {
    use ipvs_model::{FilterSet, FilterSets, FilterShape, Masquerade};
    let all = FilterSet::ALL.into_iter();
    FilterShape {
        family,
        mark: 0x4000,
        random_fully: true,
        cluster_ips: Some(Masquerade::Node),
        filled: all.filter(|set| set.shapes_filter()).collect(),
        without: FilterSets::default(),
        refused: std::collections::BTreeSet::new(),
    }
}
