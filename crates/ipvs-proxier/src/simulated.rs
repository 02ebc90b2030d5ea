//! A kernel in memory that obeys the rules of the real one, error numbers included.

mod clean_up;
mod events;
mod ipvs;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs_codec::{Family, ServiceKey};
use ipvs_filter::NftablesTable;
use ipvs_model::{
    Config, FilterEntry, FilterSet, FilterShape, Known, Operation, Vip, VirtualServer,
};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netfilter::iptables::SavedRules;
use ipvs_netlink::{Cause, KernelError};

use self::events::Events;
use crate::control::Control;
use crate::dataplane::{Connections, DataPlane, Outcome, Part, Progress};
use crate::error::PlaneError;
use crate::kernel_event::{KernelEvent, Signs};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const EADDRNOTAVAIL: i32 = 99;
const ENETDOWN: i32 = 100;
const HASH_FULL: i32 = 4352;
/// What a set answers to an entry that has not what its type asks for.
const IPSET_PROTOCOL: i32 = 4097;
const IPSET_BUSY: i32 = 4100;
/// What a set has room for.
const MOST_ENTRIES: usize = 65_536;
/// Entries that are read at once.
const CHUNK: usize = 8;

/// A kernel in memory: for tests, for dry runs, and for programs that want to know what would happen.
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_model::Operation;
/// use ipvs_proxier::{DataPlane as _, Simulated, observe};
///
/// let mut plane = Simulated::default();
/// let outcomes = plane.apply(&[Operation::EnsureLink { up: false }]);
/// assert!(outcomes[0].is_ok());
/// assert_eq!(observe(&mut plane, &Family::ALL).unwrap().link, Some(false));
/// ```
#[derive(Debug, Default)]
pub struct Simulated {
    state: Known,
    connections: Vec<Connections>,
    node_addresses: Vec<IpAddr>,
    smallest_mtu: Option<u32>,
    gateways: Vec<IpAddr>,
    flows: Vec<Flow>,
    /// Families that have a table of kube-proxy's nftables mode.
    nftables: BTreeSet<(NftablesTable, Family)>,
    /// Whether the link that has the name of the dummy interface is of another kind.
    is_link_other: bool,
    /// The rules that clean-up has found, as far as they are left.
    remaining: BTreeMap<Family, SavedRules>,
    events: Events,
    /// How much of the part that is being read was given already.
    given: usize,
    messages: u64,
    reads: u64,
    processes: u64,
}

impl Simulated {
    /// The state of the simulated kernel.
    #[must_use]
    pub const fn state(&self) -> &Known {
        &self.state
    }

    /// Lets the state be changed behind the proxier's back. Who listens is told as by the real kernel: of the link and what is
    /// bound to it, and of rules.
    pub fn state_mut(&mut self) -> &mut Known {
        self.events.before_others(&self.state);
        &mut self.state
    }

    /// Netlink messages that the same operations would have cost: one each.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// How often the state was read.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// Processes that the same operations would have started.
    #[must_use]
    pub const fn processes(&self) -> u64 {
        self.processes
    }

    /// Gives the simulated node addresses.
    pub fn set_node_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.node_addresses = addresses;
        self.events.node_changed();
    }

    /// Gives the links of the simulated node an MTU.
    pub fn set_smallest_mtu(&mut self, mtu: Option<u32>) {
        self.smallest_mtu = mtu;
        self.events.node_changed();
    }

    /// The tracked flows, to be looked at and changed.
    pub const fn tracked_flows(&mut self) -> &mut Vec<Flow> {
        &mut self.flows
    }

    /// Gives the simulated node gateways.
    pub fn set_gateways(&mut self, gateways: Vec<IpAddr>) {
        self.gateways = gateways;
        self.events.node_changed();
    }

    /// Gives a real server connections.
    pub fn set_connections(&mut self, connections: Connections) {
        self.connections.retain(|known| {
            (known.virtual_server, known.real_server)
                != (connections.virtual_server, connections.real_server)
        });
        self.connections.push(connections);
    }

    /// After a chunk of a part that has so many entries in all. As with Linux, what changes before the next one may be passed
    /// over, or come twice.
    const fn go_on(&mut self, all: usize) -> Progress {
        self.given = self.given.saturating_add(CHUNK);
        if self.given < all {
            return Progress::More;
        }
        self.given = 0;
        Progress::Done(())
    }

    fn try_one(&self, operation: &Operation) -> Result<(), i32> {
        let allow = |allowed: bool, errno: i32| if allowed { Ok(()) } else { Err(errno) };
        let state = &self.state;
        match operation {
            Operation::AddMember { member } => self.can_add(member)?,
            Operation::RemoveMember { member } => allow(
                state.sets.contains_key(&(member.set(), member.family())),
                ENOENT,
            )?,
            Operation::BindVip { vip } => {
                let up = state.link.ok_or(ENODEV)?;
                let bound = state
                    .vips
                    .get(&vip.address())
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                match vip {
                    Vip::Address { .. } => allow(!bound.contains(vip), EEXIST)?,
                    // The kernel takes IPv4 routes by a link that is down.
                    Vip::Route { address, .. } => allow(up || address.is_ipv4(), ENETDOWN)?,
                }
            }
            Operation::UnbindVip { vip } => {
                state.link.ok_or(ENODEV)?;
                let bound = state.vips.get(&vip.address());
                let mut bound = bound.into_iter().flatten();
                let errno = if vip.is_route() { ESRCH } else { EADDRNOTAVAIL };
                allow(bound.any(|bound| vip.takes_away(bound)), errno)?;
            }
            Operation::CreateSet { set, family, .. } => {
                allow(!state.unusable.contains_key(&(*set, *family)), EEXIST)?;
            }
            Operation::DestroySet { set, family, .. } => {
                let key = (*set, *family);
                let is_there = state.sets.contains_key(&key) || state.unusable.contains_key(&key);
                allow(is_there, ENOENT)?;
                allow(!refers(state, *set, *family), IPSET_BUSY)?;
            }
            Operation::WriteRules { family, shape, .. }
            | Operation::ReleaseSets { family, shape, .. } => {
                let is_there = |set: FilterSet| {
                    let key = (set, *family);
                    state.sets.contains_key(&key) || state.unusable.contains_key(&key)
                };
                let mut missing = FilterSet::ALL.into_iter().filter(|set| !is_there(*set));
                let is_lacking = missing.any(|set| shape.asks_for(set));
                allow(!is_lacking, ENOENT)?;
            }
            operation => ipvs::check(state, operation)?,
        }
        Ok(())
    }

    fn can_add(&self, member: &FilterEntry) -> Result<(), i32> {
        let key = (member.set(), member.family());
        if self.state.unusable.contains_key(&key) {
            return Err(IPSET_PROTOCOL);
        }
        let entries = self.state.sets.get(&key).ok_or(ENOENT)?;
        // Since Linux 5.6 the real limit is kept by regions of the hash table, and is hit a little earlier or later.
        if entries.len() >= MOST_ENTRIES && !entries.contains(member) {
            Err(HASH_FULL)
        } else {
            Ok(())
        }
    }
}

impl DataPlane for Simulated {
    fn read(
        &mut self,
        part: Part<'_>,
        _families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let state = &self.state;
        let bare = |(key, server): (&ServiceKey, &Arc<VirtualServer>)| {
            let server = VirtualServer::new(server.service, Vec::new());
            (*key, Arc::new(server))
        };
        match part {
            Part::Start => {
                self.reads = self.reads.saturating_add(1);
                self.given = 0;
            }
            // They are read at once.
            Part::StartRules => {}
            Part::Link => {
                found.link = state.link;
                let some = state.vips.iter().skip(self.given).take(CHUNK);
                let some = some.map(|(address, bound)| (*address, bound.clone()));
                found.vips.extend(some);
                return Ok(self.go_on(state.vips.len()));
            }
            Part::List => found
                .virtual_servers
                .extend(state.virtual_servers.iter().map(bare)),
            Part::VirtualServers(keys) => {
                let servers = keys
                    .iter()
                    .filter_map(|key| state.virtual_servers.get_key_value(key));
                found.virtual_servers.extend(servers.map(bare));
            }
            Part::RealServers(keys) => {
                for key in keys {
                    let Some(place) = found.virtual_servers.get_mut(key) else {
                        continue;
                    };
                    // The kernel does not tell one that is not there from one without real servers.
                    let server = state.virtual_servers.get(key);
                    let real_servers = server.map_or(&[][..], |server| server.real_servers());
                    *place = Arc::new(VirtualServer::new(place.service, real_servers.to_vec()));
                }
            }
            Part::Set(set, family) => {
                if let Some(difference) = state.unusable.get(&(set, family)) {
                    found.unusable.insert((set, family), difference.clone());
                }
                let Some(entries) = state.sets.get(&(set, family)) else {
                    return Ok(self.go_on(0));
                };
                let some = entries.iter().skip(self.given).take(CHUNK);
                found.sets.entry((set, family)).or_default().extend(some);
                return Ok(self.go_on(entries.len()));
            }
            Part::Rules(family) => {
                let filter = state.filters.get_key_value(&family);
                let filter = filter.map(|(family, filter)| (*family, filter.clone()));
                found.filters.extend(filter);
            }
        }
        Ok(Progress::Done(()))
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        Ok(self.node_addresses.clone())
    }

    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError> {
        Ok(self.smallest_mtu)
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        Ok(self.gateways.clone())
    }

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        self.reads = self.reads.saturating_add(1);
        let of_family = |flow: &&Flow| Family::of(flow.original.destination) == family;
        Ok(self.flows.iter().filter(of_family).copied().collect())
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        let before = self.flows.clone();
        self.flows.retain(|flow| !flows.contains(flow));
        let outcome = |flow| {
            if before.contains(flow) {
                Ok(())
            } else {
                Err(refused(ENOENT))
            }
        };
        flows.iter().map(outcome).collect()
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        self.events.after_others(&self.state);
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            match operation {
                Operation::WriteRules { .. } | Operation::ReleaseSets { .. } => {
                    self.processes = self.processes.saturating_add(1)
                }
                _ => self.messages = self.messages.saturating_add(1),
            }
            let outcome = self.try_one(operation);
            if outcome.is_ok() {
                self.state.applied(operation);
            }
            results.push(outcome.map_err(refused));
        }
        results
    }

    fn connections(
        &mut self,
        virtual_servers: &[ServiceKey],
    ) -> Result<Vec<Connections>, PlaneError> {
        self.reads = self.reads.saturating_add(1);
        let mut found = Vec::new();
        for key in virtual_servers {
            let Some(server) = self.state.virtual_servers.get(key) else {
                continue;
            };
            for real_server in server.real_servers() {
                let count = self
                    .connections
                    .iter()
                    .find(|known| {
                        (known.virtual_server, known.real_server) == (*key, real_server.addr)
                    })
                    .map_or(0, |known| known.count);
                found.push(Connections {
                    virtual_server: *key,
                    real_server: real_server.addr,
                    count,
                });
            }
        }
        Ok(found)
    }

    fn listen(&mut self, _config: &Config, _control: &Control) -> Result<(), PlaneError> {
        self.events.listen();
        Ok(())
    }

    fn is_listening(&self) -> bool {
        self.events.is_listening()
    }

    fn kernel_events(&mut self) -> Result<Vec<KernelEvent>, PlaneError> {
        self.events.after_others(&self.state);
        Ok(self.events.take())
    }

    fn signs(&mut self) -> Result<Signs, PlaneError> {
        Ok(self.events.signs(&self.state))
    }
}

/// Whether a rule refers to a set, one of ours or of others.
fn refers(state: &Known, set: FilterSet, family: Family) -> bool {
    let filter = state.filters.get(&family);
    filter.is_some_and(|filter| {
        let asks = |shape: &FilterShape| shape.asks_for(set);
        filter.held_by.contains_key(&set) || filter.shape.as_ref().is_some_and(asks)
    })
}

fn refused(errno: i32) -> Box<PlaneError> {
    Box::new(Cause::from(KernelError::new(errno)).into())
}
