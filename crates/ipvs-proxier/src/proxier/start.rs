//! The start: everything is made of what was found.

use ipvs_model::input::ObjectName;
use ipvs_model::{HeldBack, Known};

use super::{Proxier, Report};
use crate::dataplane::{DataPlane, Progress};

/// Up to this many services are there at once anyway.
const MANY: usize = 100;
/// Services that a start brings in at once: long enough for the kernel not to wait for us, short enough for a change not to
/// wait for it.
const HANDFUL: usize = 250;

/// A start that is going on: a node that has nothing is given what its services need in handfuls, so that neither a change
/// nor memory has to wait for all of them.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Those that have not had their turn, the next one last.
    services: Vec<ObjectName>,
    /// What failed holds back what would be wrong without, in all handfuls.
    pub(super) held: HeldBack,
    /// Whether it is unknown what a failure left behind.
    pub(super) is_unsure: bool,
}

impl<P: DataPlane> Proxier<P> {
    /// Begins to make of what was found what should be there: a node that has nothing gets first what everything else waits
    /// for, then handfuls of services, and every node at last what is left.
    pub(super) fn begin(&mut self, known: Known) -> (Progress, Report) {
        let start = self.start.insert(Start::default());
        let is_new = known.virtual_servers.is_empty() && self.model.service_count() > MANY;
        if !is_new {
            return self.bring_in_some(known);
        }
        let plan = self.model.plan_first(&known);
        start.services = self.model.service_names();
        start.services.reverse();
        (Progress::More, self.apply(plan, known))
    }

    /// Goes on with a start.
    pub(super) fn bring_in_some(&mut self, known: Known) -> (Progress, Report) {
        let start = self.start.get_or_insert_default();
        let left = start.services.len().saturating_sub(HANDFUL);
        let some = start.services.split_off(left);
        if !some.is_empty() {
            let plan = self.model.plan_services(&some, &known);
            return (Progress::More, self.apply(plan, known));
        }
        let plan = self.model.plan_everything(&known);
        for key in known.draining(self.model.desired()) {
            self.draining.entry(key).or_default();
        }
        let report = self.apply(plan, known);
        let Start { is_unsure, .. } = self.start.take().unwrap_or_default();
        if let Some(known) = self.take_known() {
            self.settle(known, is_unsure);
        }
        (Progress::Done(()), self.look_back(report))
    }
}
