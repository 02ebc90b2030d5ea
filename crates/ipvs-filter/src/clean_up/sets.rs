//! Sets: which of them may go, and what holds the others.

use std::net::IpAddr;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{FilterSet, Foreign, entries_that_list, entry_that_names};
use ipvs_netfilter::ipset::SetName;
use ipvs_netfilter::iptables::SavedRules;

use super::CleanUp;
use super::left::Holder;
use super::operation::CleanUpOperation;
use super::remains::CleanUpPart;
use super::report::refused;
use crate::iptables::{RulePlace, set_name, set_spec};

impl CleanUp {
    /// Sets go by their names: what type they are does not matter.
    pub(super) fn destructions(&self) -> Vec<CleanUpOperation> {
        let mut sets: Vec<(FilterSet, Family)> = self.sets.keys().copied().collect();
        // Nothing is known to be ours by them.
        if self.has_failed(CleanUpPart::Sets) && self.config.foreign == Foreign::Remove {
            let families = Family::ALL.into_iter();
            sets = families
                .flat_map(|family| FilterSet::ALL.map(|set| (set, family)))
                .collect();
        }
        sets.sort_unstable();
        sets.retain(|(set, family)| self.holder_of_set(*set, *family).is_none());
        let destroy = |(set, family): (FilterSet, Family)| CleanUpOperation::DestroySet {
            set,
            family,
            spec: set_spec(set, family),
        };
        sets.into_iter().map(destroy).collect()
    }

    /// What keeps a set, as far as it is known before it is tried.
    fn holder_of_set(&self, set: FilterSet, family: Family) -> Option<Holder> {
        let name = set_name(set, family);
        let rules = self.remains.rules.iter();
        let others = self.remains.other_rules.iter();
        let others = others.flat_map(|(family, all)| all.iter().map(move |saved| (family, saved)));
        let mut all = rules.chain(others);
        let named = |(family, saved): (&Family, &SavedRules)| {
            RulePlace::that_names(name.as_str(), *family, saved)
        };
        if let Some(place) = all.find_map(named) {
            return Some(Holder::Rule(place));
        }
        if let Some(list) = self.list_of(name) {
            return Some(Holder::SetList(list));
        }
        if self.config.foreign == Foreign::Remove || self.kept.is_some() {
            return None;
        }
        let entries = self.ledger.sets.get(&(set, family));
        entries.filter(|entries| !entries.is_empty())?;
        if set.lists_virtual_servers() && self.has_failed(CleanUpPart::VirtualServers) {
            return Some(Holder::Unread(CleanUpPart::VirtualServers));
        }
        if set == FilterSet::Vip && self.has_failed(CleanUpPart::Link) {
            return Some(Holder::Unread(CleanUpPart::Link));
        }
        let lists = |key: &ServiceKey| {
            let mut entries = entries_that_list(key);
            entries.any(|entry| {
                (entry.set(), entry.family()) == (set, family) && self.ledger.has_member(&entry)
            })
        };
        let listed = self.virtual_servers().find(lists).map(Holder::Lists);
        listed.or_else(|| {
            let mut named = self.vips().map(|vip| vip.address());
            let is_named = |address: &IpAddr| {
                let entry = entry_that_names(*address);
                (entry.set(), entry.family()) == (set, family)
            };
            named.find(is_named).map(Holder::Names)
        })
    }

    pub(super) fn what_holds_set(&self, set: FilterSet, family: Family) -> Holder {
        if let Some(holder) = self.holder_of_set(set, family) {
            return holder;
        }
        let refusal = self.refusal(|operation| match operation {
            CleanUpOperation::DestroySet {
                set: other,
                family: of,
                ..
            } => (*other, *of) == (set, family),
            _ => false,
        });
        match refusal {
            Some(refusal) if refusal.is_set_busy => {
                let reason = refusal.text.clone();
                match self.unread_rules() {
                    Some(part) => Holder::MaybeRules(reason, part),
                    None => Holder::Unseen(reason),
                }
            }
            refusal => refused(refusal),
        }
    }

    /// A set of others that lists this one. One that has a name of ours goes itself.
    fn list_of(&self, name: SetName) -> Option<SetName> {
        let is_ours = |list: SetName| {
            self.sets
                .keys()
                .any(|(set, of)| set_name(*set, *of) == list)
        };
        let mut lists = self.remains.set_lists.iter();
        let lists_it = lists
            .find(|(list, sets)| sets.iter().any(|set| set == name.as_str()) && !is_ours(**list));
        lists_it.map(|(list, _)| *list)
    }

    /// Rules that may refer to sets, and could not be read.
    fn unread_rules(&self) -> Option<CleanUpPart> {
        let families = Family::ALL.into_iter();
        let mut parts = families.map(|family| (family, CleanUpPart::Rules(family)));
        let unread = parts.find(|(family, part)| {
            self.has_failed(*part) || self.remains.unread_rules.contains_key(family)
        });
        unread.map(|(_, part)| part)
    }
}
