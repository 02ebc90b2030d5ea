//! What the simulated kernel has for clean-up, and what of it is refused.

use ipvs_codec::Family;
use ipvs_filter::iptables::recognise;
use ipvs_filter::{CleanUpOperation, CleanUpPart, NftablesTable, Remains, Unreadable};
use ipvs_model::{KnownFilter, Operation};
use ipvs_netfilter::iptables::{Removal, SavedRules};

use super::{EINVAL, ENODEV, ENOENT, IPSET_BUSY, Simulated, refers, refused};
use crate::clean_up::CleanUpPlane;
use crate::dataplane::{DataPlane as _, Outcome};

const ENOTEMPTY: i32 = 39;
const EMLINK: i32 = 31;

impl Simulated {
    /// Gives a family a table of nftables, without entries.
    pub fn add_nftables_table(&mut self, table: NftablesTable, family: Family) {
        self.nftables.insert((table, family));
    }

    /// Makes the link that has the name of the dummy interface one of another kind, a bridge for example.
    pub const fn make_link_other(&mut self) {
        self.is_link_other = true;
    }
}

impl CleanUpPlane for Simulated {
    fn look(&mut self, part: CleanUpPart) -> Result<Remains, Unreadable> {
        let mut found = Remains::from(&self.state);
        if let CleanUpPart::Rules(family) = part {
            // What is left of the rules of a shape is no shape: it is kept as rules.
            if let Some(rules) = found.rules.remove(&family) {
                self.remaining.insert(family, rules);
            }
            found.rules.clone_from(&self.remaining);
        }
        if let Some(link) = &mut found.link {
            link.is_dummy = !self.is_link_other;
        }
        found.nftables.clone_from(&self.nftables);
        Ok(found)
    }

    fn remove(&mut self, operations: &[CleanUpOperation]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in operations {
            let shared = match operation {
                CleanUpOperation::RemoveVirtualServer { virtual_server } => {
                    let virtual_server = *virtual_server;
                    Some(Operation::RemoveVirtualServer { virtual_server })
                }
                CleanUpOperation::UnbindVip { vip } => Some(Operation::UnbindVip { vip: *vip }),
                _ => None,
            };
            match shared {
                Some(operation) => outcomes.extend(self.apply(&[operation])),
                None => outcomes.push(self.remove_one(operation).map_err(refused)),
            }
        }
        outcomes
    }
}

impl Simulated {
    fn remove_one(&mut self, operation: &CleanUpOperation) -> Result<(), i32> {
        self.events.after_others(&self.state);
        let cost = match operation {
            CleanUpOperation::RemoveRules { .. } | CleanUpOperation::RemoveNftablesTable { .. } => {
                &mut self.processes
            }
            _ => &mut self.messages,
        };
        *cost = cost.saturating_add(1);
        let state = &mut self.state;
        match operation {
            CleanUpOperation::FlushVirtualServers => state.virtual_servers.clear(),
            CleanUpOperation::DeleteLink => {
                state.link.take().ok_or(ENODEV)?;
                state.vips.clear();
            }
            CleanUpOperation::RemoveRules {
                family, removal, ..
            } => {
                let rules = self.remaining.get_mut(family).ok_or(ENOENT)?;
                check(rules, removal)?;
                rules.removed(removal);
                let found = recognise(*family, rules);
                let filter = state.filters.entry(*family).or_default();
                let held_by = std::mem::take(&mut filter.held_by);
                *filter = KnownFilter { held_by, ..found };
                if *filter == KnownFilter::default() && !rules.has_chains("KUBE-") {
                    state.filters.remove(family);
                    self.remaining.remove(family);
                }
            }
            CleanUpOperation::RemoveNftablesTable { table, family } => {
                if !self.nftables.remove(&(*table, *family)) {
                    return Err(ENOENT);
                }
            }
            CleanUpOperation::DestroySet { set, family, .. } => {
                let key = (*set, *family);
                if !state.sets.contains_key(&key) && !state.unusable.contains_key(&key) {
                    return Err(ENOENT);
                }
                if refers(state, *set, *family) {
                    return Err(IPSET_BUSY);
                }
                state.sets.remove(&key);
                state.unusable.remove(&key);
            }
            _ => return Err(EINVAL),
        }
        Ok(())
    }
}

/// The error number that the removal would be refused with, as a whole.
fn check(saved: &SavedRules, removal: &Removal) -> Result<(), i32> {
    let mut saved = saved.clone();
    let Removal {
        table,
        rules,
        flushed,
        deleted,
    } = removal;
    for (chain, rule) in rules {
        if !saved.has(*table, chain, rule) {
            return Err(EINVAL);
        }
        saved.removed(&Removal {
            rules: vec![(chain.clone(), rule.clone())],
            ..Removal::of(*table)
        });
    }
    saved.removed(&Removal {
        flushed: flushed.clone(),
        ..Removal::of(*table)
    });
    for chain in deleted {
        let left = saved.rules(*table, chain).ok_or(ENOENT)?;
        if !left.is_empty() {
            return Err(ENOTEMPTY);
        }
        let mut others = saved.all_rules().filter(|(of, _, _)| of == table);
        if others.any(|(_, _, rule)| rule.target().is_some_and(|target| target == *chain)) {
            return Err(EMLINK);
        }
    }
    Ok(())
}
