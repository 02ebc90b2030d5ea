//! The filter of a node: what makes sets, entries and rules in the kernel, and reads them back.

use std::fmt::Debug;

use ipvs_codec::Family;
use ipvs_filter::FilterKind;
use ipvs_model::{FilterSet, FilterShape, Known, Operation};
use ipvs_netlink::IpSets;

use crate::control::Control;
use crate::dataplane::{Outcome, Progress};
use crate::error::PlaneError;

/// The filter of a node, whatever it is made with.
pub(super) trait Filter: Debug + Send {
    fn kind(&self) -> FilterKind;

    /// The families that can be programmed.
    fn families(&self) -> &[Family];

    /// Whether ports of masqueraded connections can be taken at random.
    fn random_fully(&self) -> bool;

    /// Whether it is iptables-legacy, of whose rules the kernel tells nothing.
    fn is_legacy(&self) -> bool {
        false
    }

    /// The netlink port of the socket that changes it, where that is one.
    fn port(&self) -> Option<u32> {
        None
    }

    /// The ipsets, where it has some.
    fn ipsets(&mut self) -> Option<&mut IpSets> {
        None
    }

    /// What is read next is urgent.
    fn hurry(&mut self) {}

    /// What was read halfway of sets is forgotten.
    fn restart_sets(&mut self) {}

    /// Rules that were read halfway are forgotten.
    fn restart_rules(&mut self) {}

    fn create_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError>;

    fn destroy_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError>;

    fn write(&mut self, shape: &FilterShape, control: &Control) -> Result<(), PlaneError>;

    /// Adds and removes entries: one outcome for each, in order.
    fn apply(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>);

    fn read_set(
        &mut self,
        set: FilterSet,
        family: Family,
        known: &mut Known,
    ) -> Result<Progress, PlaneError>;

    fn read_rules(
        &mut self,
        family: Family,
        known: &mut Known,
        control: &Control,
    ) -> Result<Progress, PlaneError>;
}
