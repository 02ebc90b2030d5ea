//! The union of all contributions, with owner counts.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_netfilter::conntrack::Flow;

use crate::claims::{Claim, Claimant, Claims};
use crate::contribution::Contribution;
use crate::filter::{AddressAndPort, FilterEntry, FilterSet};
use crate::input::ObjectName;
use crate::key::Key;
use crate::ownership::{LeftAlone, entries_that_list};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::state::{ByFamily, HealthCheck, Vip, VirtualServer, WithoutLocal};

/// Entries of a plain service: of its virtual server, and of its address.
const MEMBERS: usize = 2;

/// How much of a cluster waits for a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Everything: it is of `default/kubernetes`, by which the API is reached.
    Api,
    /// Nearly everything: names are resolved there.
    Dns,
    /// Its own clients.
    Usual,
}

/// What the kernel should hold. Every change costs the size of the change.
#[derive(Debug, Default)]
pub struct Desired {
    virtual_servers: HashMap<ServiceKey, Claims>,
    members: HashMap<FilterEntry, u32>,
    vips: BTreeMap<IpAddr, (Vip, u32)>,
    members_by_set: HashMap<(FilterSet, Family), usize>,
    refused: BTreeMap<AddressAndPort, u32>,
    without_local: ByFamily<WithoutLocal>,
    udp: HashMap<ServiceKey, Arc<[SocketAddr]>>,
    /// Whether flows of UDP may go where they should not any more.
    flows_changed: ByFamily<bool>,
    problems: Problems,
    health_checks: BTreeMap<ObjectName, HealthCheck>,
    /// Virtual servers that nobody claimed before, of which it is not known whether somebody else's are there.
    new: Vec<ServiceKey>,
    left_alone: LeftAlone,
}

impl Desired {
    /// The virtual server of a key: the winner's. None where one of somebody else is left alone. O(1).
    #[must_use]
    pub fn virtual_server(&self, key: &ServiceKey) -> Option<&Arc<VirtualServer>> {
        self.claimed(key).filter(|_| self.is_made(key))
    }

    /// What a key is claimed for, though it may be left alone.
    pub(crate) fn claimed(&self, key: &ServiceKey) -> Option<&Arc<VirtualServer>> {
        let claims = self.virtual_servers.get(key)?;
        Some(&claims.winner.server)
    }

    /// Not if it is left alone, or if no entry could list it, since that would list one that is left alone: after a restart
    /// nobody would know it to be ours.
    fn is_made(&self, key: &ServiceKey) -> bool {
        self.left_alone.is_empty()
            || (!self.left_alone.has(key)
                && entries_that_list(key).any(|entry| self.has_member(&entry)))
    }

    /// The service that a virtual server is of.
    #[must_use]
    pub fn owner(&self, key: &ServiceKey) -> Option<&ObjectName> {
        let claims = self.virtual_servers.get(key)?;
        Some(&claims.winner.owner.name)
    }

    /// How much waits for a virtual server.
    #[must_use]
    pub(crate) fn urgency(&self, key: &ServiceKey) -> Urgency {
        let dns = matches!(key, ServiceKey::Endpoint { port: 53, .. });
        match self.owner(key) {
            Some(owner) if &*owner.namespace == "default" && &*owner.name == "kubernetes" => {
                Urgency::Api
            }
            _ if dns => Urgency::Dns,
            _ => Urgency::Usual,
        }
    }

    /// Whether a member is wanted.
    #[must_use]
    pub fn has_member(&self, member: &FilterEntry) -> bool {
        self.members.contains_key(member)
            && (self.left_alone.is_empty() || !self.left_alone.has_member(member))
    }

    /// How an address is bound, if it is.
    #[must_use]
    pub fn vip(&self, address: IpAddr) -> Option<Vip> {
        let vip = self.vips.get(&address).map(|(vip, _)| *vip);
        vip.filter(|_| self.left_alone.is_empty() || !self.left_alone.has_vip(address))
    }

    /// How many services have endpoints of a family but none on this node, where their policy asks for one. O(1).
    #[must_use]
    pub const fn without_local(&self, family: Family) -> WithoutLocal {
        *self.without_local.of(family)
    }

    /// Virtual servers. O(1).
    #[must_use]
    pub fn virtual_server_count(&self) -> usize {
        self.virtual_servers.len()
    }

    /// Every virtual address. O(virtual addresses).
    pub(crate) fn vips(&self) -> impl Iterator<Item = Vip> {
        let vips = self.vips.values().map(|(vip, _)| *vip);
        vips.filter(|vip| self.left_alone.is_empty() || !self.left_alone.has_vip(vip.address()))
    }

    /// Whether a set has members.
    #[must_use]
    pub(crate) fn has_members(&self, set: FilterSet, family: Family) -> bool {
        self.members_by_set
            .get(&(set, family))
            .is_some_and(|count| *count > 0)
    }

    /// The load balancer ports that the node itself must not reach. O(those of both families).
    pub(crate) fn refused(&self, family: Family) -> impl Iterator<Item = AddressAndPort> {
        self.refused
            .keys()
            .copied()
            .filter(move |refused| Family::of(refused.address) == family)
    }

    /// Every virtual server.
    pub(crate) fn virtual_servers(
        &self,
    ) -> impl Iterator<Item = (&ServiceKey, &Arc<VirtualServer>)> {
        let claims = self.virtual_servers.iter();
        let servers = claims.map(|(key, claims)| (key, &claims.winner.server));
        servers.filter(|(key, _)| self.is_made(key))
    }

    /// Every member.
    pub(crate) fn members(&self) -> impl Iterator<Item = &FilterEntry> {
        let members = self.members.keys();
        members.filter(|member| self.left_alone.is_empty() || !self.left_alone.has_member(member))
    }

    /// What services ask for and do not get, the losers of contested virtual servers among it. O(problems).
    pub fn problems(&self) -> impl Iterator<Item = (&ObjectName, Problem)> {
        self.problems.all()
    }

    /// What one service asks for and does not get. O(its problems).
    pub fn problems_of(&self, service: &ObjectName) -> impl Iterator<Item = Problem> {
        self.problems.of(service)
    }

    /// Leaves a claimed virtual server alone, which is somebody else's.
    pub(crate) fn leave_alone(&mut self, key: ServiceKey, with_address: bool) {
        self.left_alone.add(key, with_address);
        let claims = self.virtual_servers.get(&key);
        let winner = claims.map(|claims| &claims.winner.owner.name);
        self.problems.replace_foreign(key, winner);
    }

    /// There is no reason any more to leave it alone.
    pub(crate) fn no_longer_alone(&mut self, key: &ServiceKey) {
        self.left_alone.remove(key);
        self.problems.replace_foreign(*key, None);
    }

    pub(crate) const fn left_alone(&self) -> &LeftAlone {
        &self.left_alone
    }

    /// Those that [`take_new`](Self::take_new) gives.
    pub(crate) fn new_claims(&self) -> &[ServiceKey] {
        &self.new
    }

    /// Virtual servers that were claimed since the last call, and that nobody claimed before.
    pub(crate) fn take_new(&mut self) -> Vec<ServiceKey> {
        std::mem::take(&mut self.new)
    }

    /// Who claims a virtual server. O(claimants).
    pub(crate) fn claimants(&self, key: &ServiceKey) -> impl Iterator<Item = &ObjectName> {
        let claims = self.virtual_servers.get(key).into_iter();
        claims.flat_map(|claims| {
            let all = std::iter::once(&claims.winner).chain(&claims.losers);
            all.map(|claim| &claim.owner.name)
        })
    }

    pub(crate) fn take_problem_changes(&mut self) -> Vec<ObjectName> {
        self.problems.take_changed()
    }

    pub(crate) fn take_flow_changes(&mut self) -> impl Iterator<Item = Family> + use<> {
        let changed = std::mem::take(&mut self.flows_changed);
        Family::ALL
            .into_iter()
            .filter(move |family| *changed.of(*family))
    }

    /// Notes where `new` lets flows go elsewhere than `old` did. Without endpoints they stay where they are. O(both).
    fn note_flows(&mut self, old: Option<&Contribution>, new: &Contribution) {
        let old = old.map(|old| old.udp.as_slice()).unwrap_or_default();
        for (key, serving) in &new.udp {
            let known = old.binary_search_by_key(key, |(key, _)| *key);
            let is_known = known.is_ok_and(|at| old.get(at).is_some_and(|(_, old)| old == serving));
            if !is_known && !serving.is_empty() {
                *self.flows_changed.of_mut(key.family()) = true;
            }
        }
    }

    /// Whether a tracked flow of UDP goes to an endpoint that serves its virtual server no more, or has no endpoint: such
    /// a flow would be sent there for as long as packets come. O(log endpoints).
    #[must_use]
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let (Some((_, port)), Some((replies_from, _))) = (flow.original.ports, flow.reply.ports)
        else {
            return false;
        };
        if u16::from(flow.original.protocol) != Protocol::UDP.number() {
            return false;
        }
        let key = ServiceKey::endpoint(Protocol::UDP, flow.original.destination, port);
        let server = SocketAddr::new(flow.reply.source, replies_from);
        if self.left_alone.has(&key) {
            return false;
        }
        let serving = self.udp.get(&key);
        // Without any endpoint there is nobody to send it to instead.
        serving
            .is_some_and(|serving| !serving.is_empty() && serving.binary_search(&server).is_err())
    }

    /// The Services with a health check port, and what is told there.
    #[must_use]
    pub const fn health_checks(&self) -> &BTreeMap<ObjectName, HealthCheck> {
        &self.health_checks
    }

    /// How long the connections of draining real servers live on; for ever if `None`. O(1).
    #[must_use]
    pub fn drain_deadline(&self, key: &ServiceKey) -> Option<Duration> {
        let claims = self.virtual_servers.get(key)?;
        claims.winner.owner.drain_deadline
    }

    /// Makes room for so many plain services in all: tables that grow bit by bit are copied again and again.
    pub(crate) fn reserve(&mut self, services: usize) {
        let servers = self.virtual_servers.len();
        self.virtual_servers
            .reserve(services.saturating_sub(servers));
        let (members, known) = (services.saturating_mul(MEMBERS), self.members.len());
        self.members.reserve(members.saturating_sub(known));
    }

    /// Replaces what `owner` contributes; `touched` learns the keys that may have changed. O(both contributions).
    pub(crate) fn replace(
        &mut self,
        old: Option<(&Arc<Claimant>, &Contribution)>,
        new: Option<(&Arc<Claimant>, &Contribution)>,
        touched: &mut Vec<Key>,
    ) {
        if let Some((owner, _)) = old.filter(|(_, old)| old.health_check.is_some()) {
            self.health_checks.remove(&owner.name);
        }
        if let Some((owner, check)) = new.and_then(|(owner, new)| Some((owner, new.health_check?)))
        {
            self.health_checks.insert(owner.name.clone(), check);
        }
        if let Some((owner, _)) = new.or(old) {
            let problems = new.map(|(_, new)| new.problems.as_slice());
            self.problems
                .replace_own(&owner.name, problems.unwrap_or_default());
        }
        // In first, out second: what is in both never falls to zero.
        if let Some((owner, contribution)) = new {
            self.note_flows(old.map(|(_, old)| old), contribution);
            self.add(owner, contribution, touched);
        }
        if let Some((owner, contribution)) = old {
            self.subtract(owner, contribution, touched);
        }
        for (_, contribution) in old.into_iter().chain(new) {
            for server in &contribution.virtual_servers {
                self.look_for_contest(server.service.key);
            }
        }
    }

    /// Who has it and who does not, as of now. O(1), where several claim it O(claimants).
    fn look_for_contest(&mut self, key: ServiceKey) {
        let claims = self.virtual_servers.get(&key);
        if self.left_alone.has(&key) {
            let winner = claims.map(|claims| &claims.winner.owner.name);
            self.problems.replace_foreign(key, winner);
        }
        let losers = claims.map(|claims| claims.losers.as_slice());
        let losers = losers.unwrap_or_default();
        if losers.is_empty() && !self.problems.is_contested(&key) {
            return;
        }
        let winner = claims.map(|claims| &claims.winner.owner.name);
        let losers = losers.iter().map(|loser| &loser.owner.name);
        self.problems.replace_claimants(key, winner, losers);
    }

    fn add(&mut self, owner: &Arc<Claimant>, contribution: &Contribution, touched: &mut Vec<Key>) {
        for family in Family::ALL {
            let counts = self.without_local.of_mut(family);
            let more = contribution.without_local.of(family);
            counts.internal = counts.internal.saturating_add(more.internal.into());
            counts.external = counts.external.saturating_add(more.external.into());
        }
        for server in &contribution.virtual_servers {
            let claim = Claim {
                owner: Arc::clone(owner),
                server: Arc::clone(server),
            };
            match self.virtual_servers.entry(server.service.key) {
                Entry::Occupied(mut claims) => {
                    claims.get_mut().add(claim);
                }
                Entry::Vacant(place) => {
                    self.new.push(server.service.key);
                    place.insert(Claims {
                        winner: claim,
                        losers: Vec::new(),
                    });
                }
            }
            touched.push(Key::VirtualServer(server.service.key));
        }
        self.udp.extend(contribution.udp.iter().cloned());
        for vip in &contribution.vips {
            let (bound, count) = self.vips.entry(vip.address()).or_insert((*vip, 0));
            *count = count.saturating_add(1);
            if *count == 1 || *bound != *vip {
                *bound = *vip;
                touched.push(Key::Vip(vip.address()));
            }
        }
        for member in &contribution.members {
            let count = self.members.entry(*member).or_insert(0);
            *count = count.saturating_add(1);
            if *count == 1 {
                touched.push(Key::Member(*member));
                self.resize(member, |size| size.saturating_add(1), touched);
            }
        }
        for refused in &contribution.refused {
            let count = self.refused.entry(*refused).or_insert(0);
            *count = count.saturating_add(1);
            if *count == 1 {
                touched.push(Key::Rules(Family::of(refused.address)));
            }
        }
    }

    fn subtract(
        &mut self,
        owner: &Arc<Claimant>,
        contribution: &Contribution,
        touched: &mut Vec<Key>,
    ) {
        for family in Family::ALL {
            let counts = self.without_local.of_mut(family);
            let fewer = contribution.without_local.of(family);
            counts.internal = counts.internal.saturating_sub(fewer.internal.into());
            counts.external = counts.external.saturating_sub(fewer.external.into());
        }
        for server in &contribution.virtual_servers {
            let key = server.service.key;
            let claims = self.virtual_servers.remove(&key);
            if let Some(left) = claims.and_then(|claims| claims.without(owner)) {
                self.virtual_servers.insert(key, left);
            }
            touched.push(Key::VirtualServer(key));
        }
        for (key, serving) in &contribution.udp {
            let known = self.udp.get(key);
            if known.is_some_and(|known| Arc::ptr_eq(known, serving)) {
                self.udp.remove(key);
            }
        }
        for vip in &contribution.vips {
            if let Some((_, count)) = self.vips.get_mut(&vip.address()) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.vips.remove(&vip.address());
                    touched.push(Key::Vip(vip.address()));
                }
            }
        }
        for member in &contribution.members {
            if let Some(count) = self.members.get_mut(member) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.members.remove(member);
                    touched.push(Key::Member(*member));
                    self.resize(member, |size| size.saturating_sub(1), touched);
                }
            }
        }
        for refused in &contribution.refused {
            if let Some(count) = self.refused.get_mut(refused) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.refused.remove(refused);
                    touched.push(Key::Rules(Family::of(refused.address)));
                }
            }
        }
    }

    /// The rules of a set are there only while it has members.
    fn resize(
        &mut self,
        member: &FilterEntry,
        change: impl Fn(usize) -> usize,
        touched: &mut Vec<Key>,
    ) {
        let size = self
            .members_by_set
            .entry((member.set(), member.family()))
            .or_insert(0);
        let was_empty = *size == 0;
        *size = change(*size);
        if was_empty != (*size == 0) && member.set().shapes_filter() {
            touched.push(Key::Rules(member.family()));
        }
    }
}
