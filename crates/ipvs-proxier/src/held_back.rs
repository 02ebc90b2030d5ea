use std::collections::HashSet;
use std::net::IpAddr;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_model::{Known, KubeSet, Member, Operation, Phase};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};

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
    /// Virtual servers that no set lists: they would be filtered, and after a change nobody would know them to be ours.
    unknown: HashSet<ServiceKey>,
    /// Likewise those on these node ports.
    unknown_ports: HashSet<(Family, Protocol, u16)>,
    /// Families of which a virtual server or address that leaves is still there: its members and rules stay with it. By
    /// them it is known to be ours, where others have some too.
    still_there: Vec<Family>,
}

fn key_of(protocol: EntryProtocol, address: IpAddr, port: u16) -> ServiceKey {
    let protocol = Protocol::from_number(protocol.0.into());
    ServiceKey::endpoint(protocol, address, port)
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
                Operation::AddMember { member } => self.note_missing(member),
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

    fn note_missing(&mut self, member: &Member) {
        use KubeSet::{ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer};
        let node_port = match member.set {
            KubeSet::NodePortTcp => Some(Protocol::TCP),
            KubeSet::NodePortUdp => Some(Protocol::UDP),
            _ => None,
        };
        match (member.set, &member.entry, node_port) {
            (KubeSet::IpvsIps, Entry::Ip(address), _) => {
                self.unlisted.insert(*address);
            }
            (_, Entry::Port(port), Some(protocol)) => {
                self.unknown_ports.insert((member.family, protocol, *port));
            }
            (
                ClusterIp | ExternalIp | ExternalIpLocal | LoadBalancer | KubeSet::NodePortSctp,
                Entry::IpPort(address, protocol, port),
                _,
            ) => {
                self.unknown.insert(key_of(*protocol, *address, *port));
            }
            _ => {}
        }
    }

    fn is_unknown(&self, key: &ServiceKey) -> bool {
        let ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } = *key
        else {
            return false;
        };
        let by_port = (Family::of(addr), protocol, port);
        self.unknown.contains(key) || self.unknown_ports.contains(&by_port)
    }

    /// Whether the last set that lists a virtual server would lose it, which has not come to the new one.
    fn lists_unknown(&self, operation: &Operation) -> bool {
        match operation {
            Operation::RemoveMember { member } => match member.entry {
                Entry::IpPort(address, protocol, port) => {
                    self.unknown.contains(&key_of(protocol, address, port))
                }
                _ => false,
            },
            _ => false,
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
            Operation::AddVirtualServer { service } => self.is_unknown(&service.key),
            Operation::AddRealServer { virtual_server, .. } => self.is_unknown(virtual_server),
            _ => match operation.phase() {
                Phase::VirtualServersOut | Phase::VipsOut => in_one_of(&self.stale),
                Phase::MembersOut => {
                    in_one_of(&self.stale)
                        || in_one_of(&self.still_there)
                        || self.lists_unknown(operation)
                }
                Phase::RulesOut => in_one_of(&self.still_there),
                _ => false,
            },
        }
    }
}
