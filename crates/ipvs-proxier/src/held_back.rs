use std::collections::HashSet;
use std::net::IpAddr;

use ipvs_codec::Family;
use ipvs_model::{Known, KubeSet, Operation, Phase};
use ipvs_netfilter::ipset::Entry;

use crate::dataplane::Outcome;

/// What must not be done after rules or members failed. It is planned again in the next sync, which reads everything.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    /// Families whose rules could not be written: as in kube-proxy, nothing of them leaves.
    stale: Vec<Family>,
    /// Those among them that have no filter: every port of the host would answer on a VIP.
    unfiltered: Vec<Family>,
    /// Addresses that the filter does not know, for the same reason.
    unlisted: HashSet<IpAddr>,
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
                Operation::AddMember { member } if member.set == KubeSet::IpvsIps => {
                    if let Entry::Ip(address) = member.entry {
                        self.unlisted.insert(address);
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn covers(&self, operation: &Operation) -> bool {
        let in_one_of = |families: &[Family]| {
            operation
                .family()
                .is_some_and(|family| families.contains(&family))
        };
        match operation {
            Operation::BindVip { vip } => {
                in_one_of(&self.unfiltered) || self.unlisted.contains(&vip.address())
            }
            _ => match operation.phase() {
                Phase::VirtualServersOut | Phase::VipsOut | Phase::MembersOut => {
                    in_one_of(&self.stale)
                }
                _ => false,
            },
        }
    }
}
