use std::collections::HashSet;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_model::{Known, Member, Operation, Phase, entries_that_list, entry_that_names};
use ipvs_netfilter::ipset::Entry;

use crate::dataplane::Outcome;

/// What must not be done after rules or members failed. It is planned again in the next sync.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    /// Families whose rules could not be written: as in kube-proxy, nothing of them leaves.
    stale: Vec<Family>,
    /// Those among them that have no filter: every port of the host would answer on a VIP.
    unfiltered: Vec<Family>,
    /// Entries that are not in their sets. A VIP that the filter does not know is not bound, for the same reason; a virtual
    /// server that no set lists is not made: after a change nobody would know it to be ours.
    missing: HashSet<Member>,
    /// Families of which a virtual server or address that leaves is still there: its members and rules stay with it. By
    /// them it is known to be ours, where others have some too.
    still_there: Vec<Family>,
}

impl HeldBack {
    /// Takes in what became of operations.
    pub(crate) fn note(&mut self, operations: &[Operation], outcomes: &[Outcome], known: &Known) {
        let failed = operations
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.is_err());
        for (operation, _) in failed {
            match operation {
                Operation::WriteRules { family, .. } => {
                    self.stale.push(*family);
                    let rules = known.rules.get(family);
                    if !rules.is_some_and(|rules| rules.has_chains("KUBE-IPVS-FILTER")) {
                        self.unfiltered.push(*family);
                    }
                }
                Operation::AddMember { member } => {
                    self.missing.insert(*member);
                }
                Operation::RemoveVirtualServer { virtual_server } => {
                    self.still_there.push(virtual_server.family());
                }
                Operation::UnbindVip { vip } => {
                    self.still_there.push(Family::of(vip.address()));
                }
                _ => {}
            }
        }
    }

    fn is_unlisted(&self, key: &ServiceKey) -> bool {
        entries_that_list(key).any(|entry| self.missing.contains(&entry))
    }

    /// Whether an entry may be the last that lists a virtual server, because the new one has not come.
    fn lists_unlisted(&self, member: &Member) -> bool {
        let Entry::IpPort(address, protocol, port) = member.entry else {
            return false;
        };
        let protocol = Protocol::from_number(protocol.0.into());
        self.is_unlisted(&ServiceKey::endpoint(protocol, address, port))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stale.is_empty() && self.missing.is_empty() && self.still_there.is_empty()
    }

    pub(crate) fn covers(&self, operation: &Operation) -> bool {
        let in_one_of = |families: &[Family]| {
            operation
                .family()
                .is_some_and(|family| families.contains(&family))
        };
        match operation {
            Operation::BindVip { vip } => {
                in_one_of(&self.unfiltered)
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
