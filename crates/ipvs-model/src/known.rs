//! The state of the kernel as far as it is known: observed at start, kept equal by outcomes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use ipvs_codec::{Family, ServiceKey};

use crate::desired::Desired;
use crate::filter::{FilterEntry, FilterSet, KnownFilter};
use crate::plan::Operation;
use crate::state::{Vip, VirtualServer, drains};

/// The state of the kernel as far as it is known. Data planes fill it when they observe, and
/// [`applied`](Self::applied) keeps it equal from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether the dummy interface is up, if it is there.
    pub link: Option<bool>,
    /// Virtual servers by key. Those with a firewall mark are never ours and not among them.
    pub virtual_servers: HashMap<ServiceKey, Arc<VirtualServer>>,
    /// The entries of the sets that are there and as they must be.
    pub sets: HashMap<(FilterSet, Family), HashSet<FilterEntry>>,
    /// Sets of our names that are there and cannot be used, and why.
    pub unusable: BTreeMap<(FilterSet, Family), String>,
    /// Virtual addresses on the dummy interface. An address may be bound in both ways, and they are sorted.
    pub vips: BTreeMap<IpAddr, Vec<Vip>>,
    /// The filter of each family.
    pub filters: BTreeMap<Family, KnownFilter>,
}

impl Known {
    /// Whether a set has an entry. O(1).
    #[must_use]
    pub fn has_member(&self, member: &FilterEntry) -> bool {
        let entries = self.sets.get(&(member.set(), member.family()));
        entries.is_some_and(|entries| entries.contains(member))
    }

    /// The entries of all sets.
    pub fn members(&self) -> impl Iterator<Item = FilterEntry> {
        self.sets.values().flatten().copied()
    }

    /// Virtual servers that have draining real servers. O(virtual servers).
    #[must_use]
    pub fn draining(&self, desired: &Desired) -> Vec<ServiceKey> {
        let drains = |key: &&ServiceKey| self.draining_of(key, desired).next().is_some();
        self.virtual_servers
            .keys()
            .filter(drains)
            .copied()
            .collect()
    }

    /// The draining real servers of a virtual server: weight 0 and not desired. O(its real servers).
    pub fn draining_of(
        &self,
        key: &ServiceKey,
        desired: &Desired,
    ) -> impl Iterator<Item = SocketAddr> {
        let known = self
            .virtual_servers
            .get(key)
            .filter(|server| drains(&server.service.key));
        known
            .zip(desired.virtual_server(key))
            .into_iter()
            .flat_map(|(known, wanted)| {
                let leaves = |addr| wanted.real_server(addr).is_none();
                let quiesced = known
                    .real_servers()
                    .iter()
                    .filter(move |rs| rs.weight == 0 && leaves(rs.addr));
                quiesced.map(|rs| rs.addr)
            })
    }

    /// Takes over an operation that succeeded. O(log n) of the object that it concerns.
    pub fn applied(&mut self, operation: &Operation) {
        match operation {
            Operation::EnsureLink { up } => self.link = Some(*up || self.link == Some(true)),
            Operation::CreateSet { set, family, .. } => {
                self.unusable.remove(&(*set, *family));
                self.sets.entry((*set, *family)).or_default();
            }
            Operation::DestroySet { set, family, .. } => {
                self.sets.remove(&(*set, *family));
                self.unusable.remove(&(*set, *family));
            }
            Operation::WriteRules { family, shape, .. }
            | Operation::ReleaseSets { family, shape, .. } => {
                self.filters.entry(*family).or_default().written(shape);
            }
            Operation::AddMember { member } => {
                let key = (member.set(), member.family());
                self.sets.entry(key).or_default().insert(*member);
            }
            Operation::RemoveMember { member } => {
                if let Some(entries) = self.sets.get_mut(&(member.set(), member.family())) {
                    entries.remove(member);
                }
            }
            Operation::AddVirtualServer { service } => {
                let server = VirtualServer::new(*service, Vec::new());
                self.virtual_servers.insert(service.key, Arc::new(server));
            }
            Operation::SetVirtualServer { service } => {
                self.change(&service.key, |server| server.service = *service);
            }
            Operation::AddRealServer {
                virtual_server,
                real_server,
            }
            | Operation::SetRealServer {
                virtual_server,
                real_server,
            }
            | Operation::DrainRealServer {
                virtual_server,
                real_server,
            } => {
                self.change(virtual_server, |server| {
                    server.set_real_server(*real_server)
                });
            }
            Operation::RemoveRealServer {
                virtual_server,
                address,
            } => {
                self.change(virtual_server, |server| server.remove_real_server(*address));
            }
            Operation::RemoveVirtualServer { virtual_server } => {
                self.virtual_servers.remove(virtual_server);
            }
            Operation::BindVip { vip } => self.bind(*vip),
            Operation::UnbindVip { vip } => self.unbind(*vip),
        }
    }

    /// A route replaces the one that is there.
    fn bind(&mut self, vip: Vip) {
        let bound = self.vips.entry(vip.address()).or_default();
        bound.retain(|known| known.is_route() != vip.is_route());
        // Nearly always the only one.
        bound.reserve_exact(1);
        bound.push(vip);
        bound.sort_unstable();
    }

    /// With the last IPv4 address of a link the kernel takes away its IPv4 routes too (`fib_disable_ip`).
    fn unbind(&mut self, vip: Vip) {
        let bound = self.vips.entry(vip.address()).or_default();
        bound.retain(|known| !vip.takes_away(known));
        if bound.is_empty() {
            self.vips.remove(&vip.address());
        }
        if !vip.is_route() && vip.address().is_ipv4() && self.ipv4_addresses() == 0 {
            self.vips.retain(|address, bound| {
                bound.retain(|known| !(address.is_ipv4() && known.is_route()));
                !bound.is_empty()
            });
        }
    }

    /// How many IPv4 addresses the link has. O(VIPs), with one look if the first is one.
    fn ipv4_addresses(&self) -> usize {
        let is_address = |vip: &&Vip| !vip.is_route() && vip.address().is_ipv4();
        self.vips.values().flatten().filter(is_address).count()
    }

    fn change(&mut self, key: &ServiceKey, change: impl FnOnce(&mut VirtualServer)) {
        if let Some(server) = self.virtual_servers.get_mut(key) {
            change(Arc::make_mut(server));
        }
    }

    /// Lets equal virtual servers of both share their memory. O(1) for each key, plus the comparison.
    pub(crate) fn share(&mut self, desired: &Desired, keys: impl Iterator<Item = ServiceKey>) {
        for key in keys {
            let pair = self
                .virtual_servers
                .get_mut(&key)
                .zip(desired.virtual_server(&key));
            if let Some((known, wanted)) = pair
                && !Arc::ptr_eq(known, wanted)
                && known == wanted
            {
                *known = Arc::clone(wanted);
            }
        }
    }
}
