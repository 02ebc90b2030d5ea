//! From what is desired and what is known to plans, and back.

use std::net::SocketAddr;
use std::sync::Arc;

use ipvs_codec::ServiceKey;

use super::Model;
use crate::diff::Diff;
use crate::filter::FilterShape;
use crate::input::ObjectName;
use crate::key::Key;
use crate::known::Known;
use crate::plan::{Operation, Plan, PlanBuilder};

impl Model {
    /// The plan for what changed since the last one. O(change).
    pub fn plan(&mut self, known: &Known) -> Plan {
        if self.is_ahead {
            return self.plan_everything(known);
        }
        self.compile_stale(|_| true);
        self.refresh_shapes();
        let mut touched = std::mem::take(&mut self.touched);
        self.look_for_foreign(&mut touched, known);
        self.diff(known).keys(touched)
    }

    /// What a node without any virtual server needs first: link, sets and rules, and of the virtual servers those that
    /// everything else waits for. The rest is had service by service ([`plan_services`](Self::plan_services)), or at once
    /// ([`plan_everything`](Self::plan_everything)), which must come last. O(services), and O(virtual servers).
    pub fn plan_first(&mut self, known: &Known) -> Plan {
        self.is_ahead = true;
        self.compile_stale(|_| true);
        self.refresh_shapes();
        self.is_ahead = false;
        self.touched.clear();
        self.look_for_all_foreign(known);
        self.diff(known).first()
    }

    /// The names of all services, sorted. O(services log services).
    #[must_use]
    pub fn service_names(&self) -> Vec<ObjectName> {
        let mut names: Vec<ObjectName> = self.services.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The plan for what changed since the last one, and for everything that some services contribute. O(change), and O(of
    /// these services).
    pub fn plan_services(&mut self, names: &[ObjectName], known: &Known) -> Plan {
        self.compile_stale(|_| true);
        self.refresh_shapes();
        let mut keys = std::mem::take(&mut self.touched);
        let tracked = names.iter().filter_map(|name| self.services.get(name));
        for (_, contribution) in tracked.filter_map(|tracked| tracked.contribution.as_ref()) {
            keys.extend(contribution.keys());
        }
        self.look_for_foreign(&mut keys, known);
        self.diff(known).keys(keys)
    }

    /// Compiles services that have all that they need, so that the next plan need not: for the time in which objects are
    /// still coming in. The next plan is for everything. O(change).
    pub fn compile_ahead(&mut self) {
        self.is_ahead = true;
        self.compile_stale(|tracked| tracked.service.is_some() && !tracked.slices.is_empty());
    }

    /// The plan for everything: at start, and after failures that leave open what was done. O(everything).
    pub fn plan_everything(&mut self, known: &Known) -> Plan {
        self.compile_stale(|_| true);
        self.refresh_shapes();
        self.touched.clear();
        self.is_ahead = false;
        self.look_for_all_foreign(known);
        self.diff(known).everything()
    }

    /// The plan for what changed since the last one, for the link, the sets and the rules, and for keys where the kernel was
    /// found to be otherwise than known. O(change), and O(keys log keys).
    pub fn plan_repair(&mut self, differing: Vec<Key>, known: &Known) -> Plan {
        self.compile_stale(|_| true);
        self.refresh_shapes();
        let mut keys = std::mem::take(&mut self.touched);
        keys.extend(differing);
        self.look_for_foreign(&mut keys, known);
        self.diff(known).repair(keys)
    }

    /// The next plan looks at these again: operations on them failed, or were not tried. O(keys).
    pub fn touch(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.touched.extend(keys);
    }

    /// The plan that removes real servers that have drained. O(real servers log real servers).
    #[must_use]
    pub fn plan_drained(&self, drained: &[(ServiceKey, SocketAddr)]) -> Plan {
        let mut plan = PlanBuilder::new(self.config.vip_binding, &self.desired);
        let remove = |(virtual_server, address): &_| Operation::RemoveRealServer {
            virtual_server: *virtual_server,
            address: *address,
        };
        plan.extend(drained.iter().map(remove));
        plan.build()
    }

    /// Takes over an operation of a plan all of which succeeded. A new virtual server shares its memory with what is desired
    /// from the first, so that none is asked for one real server after the other. O(log n) of the object that it concerns.
    pub fn applied(&self, operation: &Operation, known: &mut Known) {
        let key = match operation {
            Operation::AddVirtualServer { service } => service.key,
            Operation::AddRealServer { virtual_server, .. } => *virtual_server,
            _ => return known.applied(operation),
        };
        let wanted = self.desired.virtual_server(&key);
        match (operation, wanted, known.virtual_servers.get(&key)) {
            (Operation::AddVirtualServer { .. }, Some(wanted), _) => {
                known.virtual_servers.insert(key, Arc::clone(wanted));
            }
            // It came with its virtual server.
            (_, Some(wanted), Some(known)) if Arc::ptr_eq(wanted, known) => {}
            _ => known.applied(operation),
        }
    }

    /// Lets `known` share memory with what is desired, for the virtual servers of operations that were applied, a plan for
    /// example. O(operations).
    pub fn share<'a>(&self, applied: impl IntoIterator<Item = &'a Operation>, known: &mut Known) {
        let mut last = None;
        let keys = applied.into_iter().filter_map(added_to);
        known.share(
            &self.desired,
            keys.filter(|key| last.replace(*key) != Some(*key)),
        );
    }

    fn diff<'a>(&'a self, known: &'a Known) -> Diff<'a> {
        Diff {
            config: &self.config,
            pod_cidrs: &self.pod_cidrs,
            shapes: &self.shapes,
            desired: &self.desired,
            known,
        }
    }

    /// Makes the shapes of filters that have changed. O(touched keys).
    fn refresh_shapes(&mut self) {
        for family in &self.config.families {
            let is_touched = self.is_ahead || self.touched.contains(&Key::Rules(*family));
            if self.shapes.contains_key(family) && !is_touched {
                continue;
            }
            let filled = |set| self.desired.has_members(set, *family);
            let refused = self.desired.refused(*family);
            let shape = FilterShape::of(*family, &self.config, &self.pod_cidrs, filled, refused);
            self.shapes.insert(*family, shape);
        }
    }
}

fn added_to(operation: &Operation) -> Option<ServiceKey> {
    match operation {
        Operation::AddVirtualServer { service } | Operation::SetVirtualServer { service } => {
            Some(service.key)
        }
        Operation::AddRealServer { virtual_server, .. }
        | Operation::SetRealServer { virtual_server, .. }
        | Operation::RemoveRealServer { virtual_server, .. } => Some(*virtual_server),
        _ => None,
    }
}
