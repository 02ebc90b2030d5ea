use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Known, Operation};
use ipvs_netfilter::conntrack::Flow;

use super::{ByOperation, BySet, Metrics, by, seconds, whole};
use crate::{Connections, DataPlane, Outcome, PlaneError};

/// A data plane that counts what is done to it.
///
/// ```
/// use std::time::SystemTime;
/// use ipvs_codec::Family;
/// use ipvs_model::{Config, Model};
/// use ipvs_proxier::{Measured, Metrics, Proxier, Simulated};
///
/// let metrics = Metrics::new(&Family::ALL, SystemTime::now());
/// let plane = Measured::new(Simulated::default(), metrics.clone());
/// let report = Proxier::new(Model::new(Config::default()), plane).sync()?;
/// assert!(report.failures.is_empty());
/// assert!(metrics.text().contains("ipvs_proxier_operations_total{operation=\"create-set\",errno=\"0\"}"));
/// # Ok::<(), ipvs_proxier::PlaneError>(())
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

    fn count(&self, operation: &Operation, outcome: &Outcome) {
        let errno = match outcome {
            Ok(()) => 0,
            Err(error) => error.errno().unwrap_or(-1),
        };
        let kind = operation.kind();
        let by_operation = ByOperation {
            operation: kind,
            errno,
        };
        self.metrics.operations.get_or_create(&by_operation).inc();
        match (operation, outcome) {
            (Operation::WriteRules { family, .. }, Err(_)) => {
                let failures = &self.metrics.restore_failures;
                failures.get_or_create(&by(*family)).inc();
            }
            (Operation::AddMember { member }, Ok(())) => {
                let set = member.set.name(member.family).to_string();
                self.metrics.set_members.get_or_create(&BySet { set }).inc();
            }
            (Operation::RemoveMember { member }, Ok(())) => {
                let set = member.set.name(member.family).to_string();
                self.metrics.set_members.get_or_create(&BySet { set }).dec();
            }
            _ => {}
        }
    }
}

impl<P: DataPlane> DataPlane for Measured<P> {
    fn observe(&mut self, families: &[Family]) -> Result<Known, PlaneError> {
        let known = self.plane.observe(families)?;
        let mut members: HashMap<_, usize> = known.sets.iter().map(|set| (*set, 0)).collect();
        for member in &known.members {
            let count = members.entry((member.set, member.family)).or_default();
            *count = count.saturating_add(1);
        }
        for ((set, family), count) in members {
            let set = set.name(family).to_string();
            let members = self.metrics.set_members.get_or_create(&BySet { set });
            members.set(whole(count));
        }
        self.metrics.observed_at.set(seconds(SystemTime::now()));
        Ok(known)
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.plane.node_addresses()
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.plane.gateways()
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let outcomes = self.plane.apply(operations);
        for (operation, outcome) in operations.iter().zip(&outcomes) {
            self.count(operation, outcome);
        }
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
}
