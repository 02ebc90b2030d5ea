//! What must not be done without what failed.

use foldhash::HashSet;
use ipvs_codec::{Family, Protocol, ServiceKey};

use super::operation::Operation;
use super::phase::Phase;
use crate::filter::{FilterEntry, FilterSet};
use crate::known::Known;
use crate::ownership::{entries_that_list, entry_that_names};

/// What must not be done after rules or entries failed: plans are [carried out](crate::Execution) with it. Those of one
/// start share it, since a later one stands on what an earlier one brought in. What it holds back is planned again.
#[derive(Debug, Default)]
pub struct HeldBack {
    /// Families whose rules could not be written: as in kube-proxy, nothing of them leaves.
    stale: Vec<Family>,
    /// Those among them that have no filter: every port of the host would answer on a VIP.
    unfiltered: Vec<Family>,
    /// Entries that are not in their sets. A VIP that the filter does not know is not bound, for the same reason; a
    /// virtual server that no set lists is not made: after a change nobody would know it to be ours.
    missing: HashSet<FilterEntry>,
    /// Protocols and ports of those that list a virtual server.
    missing_ports: HashSet<(Protocol, u16)>,
    /// Families of which a virtual server or address that leaves is still there: its entries and rules stay with it. By
    /// them it is known to be ours, where others have some too.
    still_there: Vec<Family>,
    /// Sets that could not be replaced by ones that can be used. The rules of their families stay without them, as they were
    /// written for that: with them they would only have to be written again the next time.
    unhealed: Vec<(FilterSet, Family)>,
    /// The dummy interface is not there: nothing is bound.
    unlinked: bool,
}

impl HeldBack {
    /// Takes in an operation that failed, or of which nothing was heard. `known` is from before its plan.
    pub(super) fn failed(&mut self, operation: &Operation, known: &Known) {
        match operation {
            Operation::WriteRules { family, .. } | Operation::ReleaseSets { family, .. } => {
                self.stale.push(*family);
                let filter = known.filters.get(family);
                if !filter.is_some_and(|filter| filter.is_guarded) {
                    self.unfiltered.push(*family);
                }
            }
            Operation::DestroySet { set, family, .. } => self.unhealed.push((*set, *family)),
            Operation::EnsureLink { .. } => self.unlinked |= known.link.is_none(),
            Operation::AddMember { member } => self.lacks(member),
            Operation::RemoveVirtualServer { virtual_server } => {
                self.still_there.push(virtual_server.family());
            }
            Operation::UnbindVip { vip } => {
                self.still_there.push(Family::of(vip.address()));
            }
            _ => {}
        }
    }

    /// Takes in an operation that was held back: others stand on it.
    pub(super) fn held(&mut self, operation: &Operation) {
        if let Operation::AddMember { member } = operation {
            self.lacks(member);
        }
    }

    fn lacks(&mut self, member: &FilterEntry) {
        let listed = member.served().filter(|_| is_by_address(member));
        self.missing_ports
            .extend(listed.map(|served| (served.protocol, served.port)));
        self.missing.insert(*member);
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stale.is_empty()
            && self.missing.is_empty()
            && self.still_there.is_empty()
            && self.unhealed.is_empty()
            && !self.unlinked
    }

    fn is_unhealed(&self, family: Family) -> bool {
        self.unhealed.iter().any(|(_, of)| *of == family)
    }

    fn is_unlisted(&self, key: &ServiceKey) -> bool {
        entries_that_list(key).any(|entry| self.missing.contains(&entry))
    }

    /// Whether an entry may be the last that lists a virtual server, because the new one has not come.
    fn lists_unlisted(&self, member: &FilterEntry) -> bool {
        match (member.served(), member.node_port()) {
            (Some(served), _) if is_by_address(member) => self.is_unlisted(&served.key()),
            // It lists that port of every address.
            (None, Some(port)) if member.set().lists_virtual_servers() => {
                self.missing_ports.contains(&port)
            }
            _ => false,
        }
    }

    /// Whether an operation has to wait. O(1).
    pub(super) fn covers(&self, operation: &Operation) -> bool {
        let in_one_of = |families: &[Family]| {
            operation
                .family()
                .is_some_and(|family| families.contains(&family))
        };
        match operation {
            // In a start they come with each of its plans.
            Operation::CreateSet { set, family, .. }
            | Operation::DestroySet { set, family, .. } => self.unhealed.contains(&(*set, *family)),
            Operation::AddMember { member } => {
                self.unhealed.contains(&(member.set(), member.family()))
            }
            Operation::WriteRules { family, .. } if self.is_unhealed(*family) => true,
            Operation::BindVip { vip } => {
                self.unlinked
                    || in_one_of(&self.unfiltered)
                    || self.missing.contains(&entry_that_names(vip.address()))
            }
            Operation::AddVirtualServer { service } => self.is_unlisted(&service.key),
            Operation::AddRealServer { virtual_server, .. } => self.is_unlisted(virtual_server),
            Operation::RemoveMember { member } => {
                in_one_of(&self.stale)
                    || in_one_of(&self.still_there)
                    || self.lists_unlisted(member)
            }
            _ => match operation.phase() {
                Phase::VirtualServersOut | Phase::VipsOut => in_one_of(&self.stale),
                Phase::RulesOut => in_one_of(&self.still_there),
                _ => false,
            },
        }
    }
}

/// Whether it names an address and port, and nobody beside.
const fn is_by_address(member: &FilterEntry) -> bool {
    !matches!(
        member,
        FilterEntry::Hairpin(..) | FilterEntry::SourceAddress(..) | FilterEntry::SourceRange(..)
    )
}
