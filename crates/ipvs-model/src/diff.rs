//! Desired and Known → Plan, for the keys that are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipvs_codec::{Destination, Family, ServiceKey};

use crate::config::{Config, VipBinding};
use crate::desired::{Desired, Urgency};
use crate::filter::{FilterEntry, FilterSet, FilterSets, FilterShape, KnownFilter};
use crate::key::Key;
use crate::known::Known;
use crate::ownership::{Ownership, entries_that_list, entry_that_names};
use crate::plan::{Operation, Plan, PlanBuilder, Unusable};
use crate::state::{Vip, VirtualServer, drains};

/// Compares `desired` with `known`.
pub(crate) struct Diff<'a> {
    pub(crate) config: &'a Config,
    pub(crate) pod_cidrs: &'a [IpNet],
    /// The filter that each family should have.
    pub(crate) shapes: &'a BTreeMap<Family, FilterShape>,
    pub(crate) desired: &'a Desired,
    pub(crate) known: &'a Known,
}

impl Diff<'_> {
    /// The plan for some keys. O(keys log keys), and the real servers of the virtual servers among them.
    pub(crate) fn keys(&self, mut keys: Vec<Key>) -> Plan {
        keys.sort_unstable();
        keys.dedup();
        let mut plan = self.builder();
        self.compare(&keys, &mut plan);
        plan.build()
    }

    const fn ownership(&self) -> Ownership<'_> {
        Ownership::of(self.config, self.known)
    }

    const fn builder(&self) -> PlanBuilder<'_> {
        PlanBuilder::new(self.config.vip_binding, self.desired)
    }

    fn compare(&self, keys: &[Key], plan: &mut PlanBuilder<'_>) {
        self.compare_objects(keys, plan);
        for family in &self.config.families {
            if keys.contains(&Key::Rules(*family)) || self.needs_unusable(*family, plan) {
                self.rules(*family, plan);
            }
        }
    }

    fn compare_objects(&self, keys: &[Key], plan: &mut PlanBuilder<'_>) {
        for key in keys {
            match key {
                Key::Rules(_) => {}
                Key::Member(member) => self.member(member, plan),
                Key::VirtualServer(key) => self.virtual_server(key, plan),
                Key::Vip(address) => self.vip(*address, plan),
            }
        }
    }

    /// Whether an entry comes into a set that cannot be used as it is. O(operations), and O(1) where there is none.
    fn needs_unusable(&self, family: Family, plan: &PlanBuilder<'_>) -> bool {
        let unusable = &self.known.unusable;
        let comes = |operation: &Operation| match operation {
            Operation::AddMember { member } => {
                member.family() == family && unusable.contains_key(&(member.set(), family))
            }
            _ => false,
        };
        !unusable.is_empty() && plan.operations().iter().any(comes)
    }

    /// The plan for some keys, and for the link, the sets and the rules. O(keys log keys), and the real servers of the
    /// virtual servers among them.
    pub(crate) fn repair(&self, mut keys: Vec<Key>) -> Plan {
        keys.sort_unstable();
        keys.dedup();
        self.skeleton_and(&keys)
    }

    /// The plan for everything, the link and the sets included. O(everything), and no memory for what is equal.
    pub(crate) fn everything(&self) -> Plan {
        self.skeleton_and(&self.different())
    }

    /// The plan for what everything else waits for, on a node that has no virtual servers: nothing leaves. O(virtual
    /// servers).
    pub(crate) fn first(&self) -> Plan {
        let virtual_servers = self.desired.virtual_servers().map(|(key, _)| key);
        let urgent = virtual_servers.filter(|key| self.desired.urgency(key) != Urgency::Usual);
        let mut keys = BTreeSet::new();
        for key in urgent {
            keys.insert(Key::VirtualServer(*key));
            keys.extend(entries_that_list(key).map(Key::Member));
            if let ServiceKey::Endpoint { addr, .. } = *key {
                keys.extend([Key::Member(entry_that_names(addr)), Key::Vip(addr)]);
            }
        }
        self.skeleton_and(&keys.into_iter().collect::<Vec<Key>>())
    }

    /// The plan for the link, the sets, the rules and some keys.
    fn skeleton_and(&self, keys: &[Key]) -> Plan {
        let mut plan = self.builder();
        // Routes need the link up; addresses do not, and kube-proxy leaves it down.
        let up = self.config.vip_binding == VipBinding::Route;
        if self.known.link.is_none_or(|is_up| up && !is_up) {
            plan.push(Operation::EnsureLink { up });
        }
        for family in &self.config.families {
            let missing = FilterSet::ALL
                .into_iter()
                .filter(|set| !self.known.sets.contains_key(&(*set, *family)))
                // They come with the rules.
                .filter(|set| !self.known.unusable.contains_key(&(*set, *family)));
            plan.extend(missing.map(|set| Operation::CreateSet {
                set,
                family: *family,
            }));
        }
        // At start there are many: the room for them is taken once.
        plan.reserve(keys.iter().map(|key| self.most_operations(key)).sum());
        self.compare_objects(keys, &mut plan);
        for family in &self.config.families {
            self.rules(*family, &mut plan);
        }
        plan.build()
    }

    fn most_operations(&self, key: &Key) -> usize {
        let Key::VirtualServer(key) = key else {
            return 1;
        };
        let wanted = self.desired.virtual_server(key);
        wanted.map_or(1, |wanted| wanted.real_servers().len().saturating_add(1))
    }

    /// The keys, sorted, whose sides are not equal.
    fn different(&self) -> Vec<Key> {
        let (desired, known) = (self.desired, self.known);
        let ownership = self.ownership();
        let mut keys = Vec::new();
        let changed = desired.virtual_servers().filter(|(key, wanted)| {
            let found = known.virtual_servers.get(key);
            !found.is_some_and(|found| Arc::ptr_eq(found, wanted) || found == *wanted)
        });
        keys.extend(changed.map(|(key, _)| Key::VirtualServer(*key)));
        let left = known.virtual_servers.keys();
        let left =
            left.filter(|key| desired.virtual_server(key).is_none() && ownership.may_remove(key));
        keys.extend(left.copied().map(Key::VirtualServer));
        let missing = desired.members().filter(|member| !known.has_member(member));
        keys.extend(missing.copied().map(Key::Member));
        let left = known.members().filter(|member| !desired.has_member(member));
        keys.extend(left.map(Key::Member));
        let unbound = desired.vips().filter(|vip| {
            let bound = known.vips.get(&vip.address());
            bound.is_none_or(|bound| **bound != [*vip])
        });
        keys.extend(unbound.map(|vip| Key::Vip(vip.address())));
        let left = known
            .vips
            .keys()
            .filter(|address| desired.vip(**address).is_none() && ownership.may_unbind(**address));
        keys.extend(left.copied().map(Key::Vip));
        keys.sort_unstable();
        keys
    }

    /// Where this node begins: schedulers go through real servers in the order in which they came.
    fn staggered<'b>(
        &self,
        key: &ServiceKey,
        real_servers: &'b [Destination],
    ) -> (&'b [Destination], &'b [Destination]) {
        if !self.config.stagger || real_servers.is_empty() {
            return (&[], real_servers);
        }
        // The same in each run, so that a plan can be told in advance.
        let mut hasher = DefaultHasher::new();
        (&self.config.node_name, key).hash(&mut hasher);
        let count = u64::try_from(real_servers.len()).unwrap_or(u64::MAX);
        let first = usize::try_from(hasher.finish().checked_rem(count).unwrap_or(0)).unwrap_or(0);
        real_servers.split_at(first)
    }

    /// Rules come before and leave after what they are for: where a set is going to be empty, its rules stay until
    /// then. O(operations).
    fn rules(&self, family: Family, plan: &mut PlanBuilder<'_>) {
        let Some(wanted) = self.shapes.get(&family) else {
            return;
        };
        let nothing = KnownFilter::default();
        let found = self.known.filters.get(&family).unwrap_or(&nothing);
        let unusable = self.unusable(family);
        if unusable.is_empty() && found.shape.as_ref() == Some(wanted) {
            return;
        }
        let leaving: Vec<FilterSet> = plan
            .operations()
            .iter()
            .filter_map(|operation| match operation {
                Operation::RemoveMember { member } if member.family() == family => {
                    Some(member.set())
                }
                _ => None,
            })
            .collect();
        let filled = |set| self.desired.has_members(set, family) || leaving.contains(&set);
        let refused = self.desired.refused(family);
        let refused = refused.chain(found.refused.iter().copied());
        let first = FilterShape::of(family, self.config, self.pod_cidrs, filled, refused);
        let is_there = self.heal(family, &unusable, &first, found, plan);
        let mut write = |shape: &FilterShape, last| {
            plan.push(Operation::WriteRules {
                family,
                shape: Box::new(shape.clone()),
                last,
            });
        };
        if !is_there {
            write(&first, false);
        }
        if first != *wanted {
            write(wanted, true);
        }
    }

    /// The sets of a family that are there and cannot be used, and why.
    fn unusable(&self, family: Family) -> Vec<(FilterSet, &str)> {
        let unusable = self.known.unusable.iter();
        let of_family = unusable.filter(|((_, of), _)| *of == family);
        of_family
            .map(|((set, _), difference)| (*set, difference.as_str()))
            .collect()
    }

    /// Takes our rules off the sets that cannot be used, and makes these anew; returns whether the rules that are there then
    /// are as wanted. Where the guard asks for one, VIPs that are bound are not guarded between the two writes of the rules:
    /// there is no set of another type to swap it with.
    fn heal(
        &self,
        family: Family,
        unusable: &[(FilterSet, &str)],
        wanted: &FilterShape,
        found: &KnownFilter,
        plan: &mut PlanBuilder<'_>,
    ) -> bool {
        if unusable.is_empty() {
            return found.shape.as_ref() == Some(wanted);
        }
        // Those that are not there are made later, and until then rules that ask for them are refused.
        let is_there = |set: &FilterSet| self.known.sets.contains_key(&(*set, family));
        let others = FilterSet::ALL.into_iter().filter(|set| !is_there(set));
        let not_yet: FilterSets = others.collect();
        let without = wanted.clone().without_sets(not_yet);
        let is_wanted = without == *wanted;
        // Where a set stays as it is, all the others have their rules.
        if found.shape.as_ref() != Some(&without) {
            plan.push(Operation::ReleaseSets {
                family,
                shape: Box::new(without),
            });
        }
        for (set, difference) in unusable {
            let unusable = Unusable {
                difference: (*difference).to_owned(),
                held_by: found.held_by.get(set).cloned(),
            };
            plan.push(Operation::DestroySet {
                set: *set,
                family,
                because: Box::new(unusable),
            });
            plan.push(Operation::CreateSet { set: *set, family });
        }
        is_wanted
    }

    fn member(&self, member: &FilterEntry, plan: &mut PlanBuilder<'_>) {
        match (
            self.desired.has_member(member),
            self.known.has_member(member),
        ) {
            (true, false) => plan.push(Operation::AddMember { member: *member }),
            (false, true) => plan.push(Operation::RemoveMember { member: *member }),
            _ => {}
        }
    }

    fn vip(&self, address: IpAddr, plan: &mut PlanBuilder<'_>) {
        let wanted = self.desired.vip(address);
        let bound = self
            .known
            .vips
            .get(&address)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let binds = wanted.filter(|vip| !bound.contains(vip));
        if let Some(vip) = binds {
            plan.push(Operation::BindVip { vip });
        }
        let leaves = wanted.is_some() || self.ownership().may_unbind(address);
        // A route takes the place of the one that is there, without a gap. To unbind that would take away the new one.
        let is_replaced = |vip: &Vip| binds.is_some_and(|new| new.is_route() && vip.is_route());
        let stays = |vip: &Vip| Some(*vip) == wanted || is_replaced(vip);
        let leaving = bound.iter().filter(|vip| leaves && !stays(vip));
        plan.extend(leaving.map(|vip| Operation::UnbindVip { vip: *vip }));
    }

    fn virtual_server(&self, key: &ServiceKey, plan: &mut PlanBuilder<'_>) {
        let known = self.known.virtual_servers.get(key);
        match (self.desired.virtual_server(key), known) {
            (Some(wanted), Some(known)) if Arc::ptr_eq(wanted, known) => {}
            (Some(wanted), Some(known)) => {
                if !wanted.service.same_config(&known.service) {
                    plan.push(Operation::SetVirtualServer {
                        service: wanted.service,
                    });
                }
                real_servers(wanted, known, plan);
            }
            (Some(wanted), None) => {
                plan.push(Operation::AddVirtualServer {
                    service: wanted.service,
                });
                let add = |rs: &_| Operation::AddRealServer {
                    virtual_server: *key,
                    real_server: *rs,
                };
                let (late, early) = self.staggered(key, wanted.real_servers());
                plan.extend(early.iter().chain(late).map(add));
            }
            (None, Some(_)) if self.ownership().may_remove(key) => {
                plan.push(Operation::RemoveVirtualServer {
                    virtual_server: *key,
                });
            }
            (None, _) => {}
        }
    }
}

fn real_servers(wanted: &VirtualServer, known: &VirtualServer, plan: &mut PlanBuilder<'_>) {
    let virtual_server = wanted.service.key;
    for real_server in wanted.real_servers() {
        match known.real_server(real_server.addr) {
            Some(there) if there == real_server => {}
            // One that was drained comes back: its connections live on.
            Some(_) => plan.push(Operation::SetRealServer {
                virtual_server,
                real_server: *real_server,
            }),
            None => plan.push(Operation::AddRealServer {
                virtual_server,
                real_server: *real_server,
            }),
        }
    }
    for leaving in known
        .real_servers()
        .iter()
        .filter(|rs| wanted.real_server(rs.addr).is_none())
    {
        if !drains(&virtual_server) {
            plan.push(Operation::RemoveRealServer {
                virtual_server,
                address: leaving.addr,
            });
        } else if leaving.weight > 0 {
            let real_server = Destination {
                weight: 0,
                ..*leaving
            };
            plan.push(Operation::DrainRealServer {
                virtual_server,
                real_server,
            });
        }
    }
}
