use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Config, Known, Operation};
use ipvs_netfilter::conntrack::Flow;

use super::{ByOperation, BySet, Metrics, SetLabel, by, seconds, whole};
use crate::{
    Connections, Control, DataPlane, KernelEvent, Outcome, Part, PlaneError, Progress, Signs,
};

/// A data plane that counts what is done to it.
///
/// ```
/// use std::time::SystemTime;
/// use ipvs_codec::Family;
/// use ipvs_model::Operation;
/// use ipvs_proxier::{DataPlane as _, Measured, Metrics, Simulated};
///
/// let metrics = Metrics::new(&Family::ALL, SystemTime::now());
/// let mut plane = Measured::new(Simulated::default(), metrics.clone());
/// plane.apply(&[Operation::EnsureLink { up: false }]);
/// assert!(metrics.text().contains("ipvs_proxier_operations_total{operation=\"ensure-link\",errno=\"0\"} 1"));
/// ```
#[derive(Debug)]
pub struct Measured<P> {
    plane: P,
    metrics: Metrics,
    /// When the flows of a family were asked for.
    flows: Option<(Family, Instant)>,
}

impl<P> Measured<P> {
    /// Counts into these metrics.
    pub const fn new(plane: P, metrics: Metrics) -> Self {
        Self {
            plane,
            metrics,
            flows: None,
        }
    }

    /// The data plane itself.
    pub const fn inner(&mut self) -> &mut P {
        &mut self.plane
    }

    /// O(operations), with one look at each counter that moves.
    fn count(&self, operations: &[Operation], outcomes: &[Outcome]) {
        let mut by_operation: HashMap<ByOperation, u64> = HashMap::new();
        let mut by_set: HashMap<BySet, i64> = HashMap::new();
        for (operation, outcome) in operations.iter().zip(outcomes) {
            let errno = match outcome {
                Ok(()) => 0,
                Err(error) => error.errno().unwrap_or(-1),
            };
            let label = ByOperation {
                operation: operation.kind(),
                errno,
            };
            let count = by_operation.entry(label).or_default();
            *count = count.saturating_add(1);
            match (operation, outcome) {
                (Operation::WriteRules { family, .. }, Err(_)) => {
                    let failures = &self.metrics.restore_failures;
                    failures.get_or_create(&by(*family)).inc();
                }
                (Operation::AddMember { member }, Ok(())) => {
                    let difference = by_set.entry(BySet::of(member)).or_default();
                    *difference = difference.saturating_add(1);
                }
                (Operation::RemoveMember { member }, Ok(())) => {
                    let difference = by_set.entry(BySet::of(member)).or_default();
                    *difference = difference.saturating_sub(1);
                }
                _ => {}
            }
        }
        for (label, count) in by_operation {
            self.metrics.operations.get_or_create(&label).inc_by(count);
        }
        for (label, difference) in by_set {
            let members = self.metrics.set_members.get_or_create(&label);
            members.inc_by(difference);
        }
    }
}

impl<P: DataPlane> DataPlane for Measured<P> {
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let progress = self.plane.read(part, families, found)?;
        // Of a set that is half read the rest is not known.
        if let (Part::Set(set, family), Progress::Done(())) = (part, progress) {
            let entries = found.sets.get(&(set, family));
            let label = BySet {
                set: SetLabel(set, family),
            };
            let members = self.metrics.set_members.get_or_create(&label);
            members.set(whole(entries.map_or(0, |entries| entries.len())));
        }
        self.metrics.observed_at.set(seconds(SystemTime::now()));
        Ok(progress)
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.plane.node_addresses()
    }

    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError> {
        self.plane.smallest_mtu()
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.plane.gateways()
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let outcomes = self.plane.apply(operations);
        self.count(operations, &outcomes);
        outcomes
    }

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        self.flows = Some((family, Instant::now()));
        self.plane.flows(family)
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        let outcomes = self.plane.forget(flows);
        if let Some((family, start)) = self.flows.take() {
            let by = by(family);
            let deleted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            let counter = self.metrics.flows_deleted.get_or_create(&by);
            counter.inc_by(deleted as u64);
            let duration = self.metrics.flows_duration.get_or_create(&by);
            duration.observe(start.elapsed().as_secs_f64());
        }
        outcomes
    }

    fn connections(
        &mut self,
        virtual_servers: &[ServiceKey],
    ) -> Result<Vec<Connections>, PlaneError> {
        self.plane.connections(virtual_servers)
    }

    fn hurry(&mut self) {
        self.plane.hurry();
    }

    fn listen(&mut self, config: &Config, control: &Control) -> Result<(), PlaneError> {
        self.plane.listen(config, control)
    }

    fn is_listening(&self) -> bool {
        self.plane.is_listening()
    }

    fn kernel_events(&mut self) -> Result<Vec<KernelEvent>, PlaneError> {
        self.plane.kernel_events()
    }

    fn signs(&mut self) -> Result<Signs, PlaneError> {
        self.plane.signs()
    }
}
