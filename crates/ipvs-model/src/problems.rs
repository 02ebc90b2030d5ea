//! What Services ask for and do not get, so that each change of it costs its own size.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashSet;
use ipvs_codec::ServiceKey;

use crate::input::ObjectName;
use crate::problem::Problem;

#[derive(Debug)]
struct Claimants {
    winner: ObjectName,
    losers: BTreeSet<ObjectName>,
}

/// Problems by Service, and which Services' may have changed.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// What a Service's own fields and annotations make impossible.
    own: BTreeMap<ObjectName, Vec<Problem>>,
    /// Who claims a virtual server that several Services claim.
    contested: BTreeMap<ServiceKey, Claimants>,
    /// The virtual servers that a Service claims and does not have.
    lost: BTreeMap<ObjectName, BTreeSet<ServiceKey>>,
    /// The virtual servers that a Service asks for and that somebody else has, and whose they would be.
    foreign: BTreeMap<ServiceKey, ObjectName>,
    foreign_of: BTreeMap<ObjectName, BTreeSet<ServiceKey>>,
    /// Those whose problems may have changed since they were asked for.
    changed: HashSet<ObjectName>,
}

impl Problems {
    /// Those of all Services. O(problems).
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ObjectName, Problem)> {
        let own = self.own.iter();
        let own =
            own.flat_map(|(name, own)| own.iter().map(move |problem| (name, problem.clone())));
        let lost = self.contested.iter().flat_map(|(key, claimants)| {
            let losers = claimants.losers.iter();
            losers.filter_map(|loser| Some((loser, self.taken(*key)?)))
        });
        let foreign = self.foreign.iter();
        let foreign = foreign.map(|(key, name)| (name, Problem::Foreign { key: *key }));
        own.chain(lost).chain(foreign)
    }

    /// Those of one Service. O(its problems).
    pub(crate) fn of(&self, name: &ObjectName) -> impl Iterator<Item = Problem> {
        let own = self.own.get(name).into_iter().flatten().cloned();
        let lost = self.lost.get(name).into_iter().flatten();
        let lost = lost.filter_map(|key| self.taken(*key));
        let foreign = self.foreign_of.get(name).into_iter().flatten();
        let foreign = foreign.map(|key| Problem::Foreign { key: *key });
        own.chain(lost).chain(foreign)
    }

    fn taken(&self, key: ServiceKey) -> Option<Problem> {
        let by = self.contested.get(&key)?.winner.clone();
        Some(Problem::Taken { key, by })
    }

    /// Replaces what a Service itself makes impossible. O(its problems).
    pub(crate) fn replace_own(&mut self, name: &ObjectName, new: &[Problem]) {
        let known = self.own.get(name).map(Vec::as_slice);
        if known.unwrap_or_default() == new {
            return;
        }
        if new.is_empty() {
            self.own.remove(name);
        } else {
            self.own.insert(name.clone(), new.to_vec());
        }
        self.changed.insert(name.clone());
    }

    /// Takes in who has a virtual server and who else claims it. O(losers log losers) if anybody does.
    pub(crate) fn replace_claimants<'a>(
        &mut self,
        key: ServiceKey,
        winner: Option<&ObjectName>,
        losers: impl Iterator<Item = &'a ObjectName>,
    ) {
        let losers: BTreeSet<ObjectName> = losers.cloned().collect();
        let new = winner.filter(|_| !losers.is_empty());
        let new = new.cloned().map(|winner| Claimants { winner, losers });
        let before = self.contested.remove(&key);
        let nobody = BTreeSet::new();
        let had_lost = before.as_ref().map_or(&nobody, |before| &before.losers);
        let have_lost = new.as_ref().map_or(&nobody, |new| &new.losers);
        for name in had_lost.difference(have_lost) {
            take_out(&mut self.lost, name, key);
            self.changed.insert(name.clone());
        }
        for name in have_lost.difference(had_lost) {
            self.lost.entry(name.clone()).or_default().insert(key);
            self.changed.insert(name.clone());
        }
        let had_it = before.as_ref().map(|before| &before.winner);
        if had_it != new.as_ref().map(|new| &new.winner) {
            // It is another's now.
            self.changed.extend(have_lost.iter().cloned());
        }
        if let Some(new) = new {
            self.contested.insert(key, new);
        }
    }

    /// Takes in that a virtual server is somebody else's which a Service asks for, or no longer.
    pub(crate) fn replace_foreign(&mut self, key: ServiceKey, of: Option<&ObjectName>) {
        let before = match of {
            Some(name) => self.foreign.insert(key, name.clone()),
            None => self.foreign.remove(&key),
        };
        if before.as_ref() != of {
            if let Some(before) = &before {
                take_out(&mut self.foreign_of, before, key);
            }
            if let Some(name) = of {
                let keys = self.foreign_of.entry(name.clone()).or_default();
                keys.insert(key);
            }
            self.changed.extend(before.into_iter().chain(of.cloned()));
        }
    }

    /// Whether a virtual server is known to be claimed by several. O(log contested).
    pub(crate) fn is_contested(&self, key: &ServiceKey) -> bool {
        self.contested.contains_key(key)
    }

    /// The Services whose problems may have changed since the last call. O(those).
    pub(crate) fn take_changed(&mut self) -> Vec<ObjectName> {
        let changed = std::mem::take(&mut self.changed);
        let mut changed: Vec<ObjectName> = changed.into_iter().collect();
        changed.sort_unstable();
        changed
    }
}

fn take_out(
    from: &mut BTreeMap<ObjectName, BTreeSet<ServiceKey>>,
    name: &ObjectName,
    key: ServiceKey,
) {
    if let Some(keys) = from.get_mut(name) {
        keys.remove(&key);
        if keys.is_empty() {
            from.remove(name);
        }
    }
}
