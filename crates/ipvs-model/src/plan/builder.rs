//! A plan, and the order of what is in it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipvs_codec::ServiceKey;
use serde::Serialize;

use super::operation::Operation;
use super::phase::Phase;
use crate::config::VipBinding;
use crate::desired::Desired;

/// Ordered operations that bring the kernel from what is known to what is desired. Plain data, which only a model makes:
/// the order is part of it.
///
/// Its text has one line for each operation; its JSON is a list of objects.
///
/// ```
/// use ipvs_model::{Config, Known, Model, Operation};
///
/// let plan = Model::new(Config::default()).plan_everything(&Known::default());
/// assert!(matches!(plan.operations()[0], Operation::EnsureLink { .. }));
/// assert_eq!(plan.iter().count(), plan.len());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Plan {
    operations: Vec<Operation>,
}

impl Plan {
    /// The operations, in the order in which they are to be done.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations, in the order in which they are to be done.
    pub fn iter(&self) -> std::slice::Iter<'_, Operation> {
        self.operations.iter()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }

    /// After this plan, the one that was made for what it left. O(operations of `next`).
    pub fn append(&mut self, next: Self) {
        self.operations.extend(next.operations);
    }

    /// Takes operations out; those that stay keep their order.
    pub(super) fn take_out(
        &mut self,
        from: Range<usize>,
        mut which: impl FnMut(&Operation) -> bool,
    ) -> Vec<Operation> {
        self.operations
            .extract_if(from, |operation| which(operation))
            .collect()
    }
}

impl<'a> IntoIterator for &'a Plan {
    type Item = &'a Operation;
    type IntoIter = std::slice::Iter<'a, Operation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Plan {
    type Item = Operation;
    type IntoIter = std::vec::IntoIter<Operation>;

    fn into_iter(self) -> Self::IntoIter {
        self.operations.into_iter()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

/// Makes plans: operations come in as they are found, and go out in order.
#[derive(Debug)]
pub(crate) struct PlanBuilder<'a> {
    by_route: bool,
    desired: &'a Desired,
    operations: Vec<Operation>,
}

impl<'a> PlanBuilder<'a> {
    pub(crate) const fn new(binding: VipBinding, desired: &'a Desired) -> Self {
        Self {
            by_route: matches!(binding, VipBinding::Route),
            desired,
            operations: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    pub(crate) fn reserve(&mut self, operations: usize) {
        self.operations.reserve(operations);
    }

    /// What came in so far, as it came.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Phases in order; within the servers coming in, the API server and DNS first. What is of one phase stays as it
    /// came. O(operations log operations).
    pub(crate) fn build(mut self) -> Plan {
        self.bind_routes_again();
        let Self {
            by_route,
            desired,
            mut operations,
        } = self;
        // Operations on one virtual server stand together: its owner is looked up once.
        let mut last = (None, 0);
        operations.sort_by_cached_key(|operation| match operation {
            // A link that loses its last IPv4 address loses its routes: addresses leave before routes come.
            Operation::UnbindVip { vip } if by_route && !vip.is_route() => (Phase::VipsIn, 0),
            Operation::BindVip { .. } => (Phase::VipsIn, 1),
            _ if operation.phase() == Phase::ServersIn => {
                let key = serves(operation);
                if last.0 != key {
                    last = (key, key.map_or(0, |key| desired.urgency(&key) as u8));
                }
                (Phase::ServersIn, last.1)
            }
            _ => (operation.phase(), 0),
        });
        Plan { operations }
    }

    /// Where the last IPv4 address is going to leave the link, every IPv4 route must be made again. Only after a change
    /// of the binding, or of the link by others; O(VIPs) then.
    fn bind_routes_again(&mut self) {
        let leaves = |operation: &Operation| match operation {
            Operation::UnbindVip { vip } => !vip.is_route() && vip.address().is_ipv4(),
            _ => false,
        };
        if !self.by_route || !self.operations.iter().any(leaves) {
            return;
        }
        let bound = |operation: &Operation| match operation {
            Operation::BindVip { vip } => Some(vip.address()),
            _ => None,
        };
        let bound_now: BTreeSet<IpAddr> = self.operations.iter().filter_map(bound).collect();
        let again = self
            .desired
            .vips()
            .filter(|vip| vip.address().is_ipv4() && !bound_now.contains(&vip.address()));
        self.operations
            .extend(again.map(|vip| Operation::BindVip { vip }));
    }
}

impl Extend<Operation> for PlanBuilder<'_> {
    fn extend<I: IntoIterator<Item = Operation>>(&mut self, operations: I) {
        self.operations.extend(operations);
    }
}

/// The virtual server that an operation brings in, or brings real servers to.
const fn serves(operation: &Operation) -> Option<ServiceKey> {
    match operation {
        Operation::AddVirtualServer { service } | Operation::SetVirtualServer { service } => {
            Some(service.key)
        }
        Operation::AddRealServer { virtual_server, .. }
        | Operation::SetRealServer { virtual_server, .. } => Some(*virtual_server),
        _ => None,
    }
}
