use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::HashSet;
use ipvs_codec::{Family, ServiceKey};

use crate::filter::{AddressAndPort, FilterEntry};
use crate::key::Key;
use crate::problem::Problem;
use crate::state::{ByFamily, HealthCheck, LacksLocal, Vip, VirtualServer};

/// What one service contributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contribution {
    pub(crate) virtual_servers: Vec<Arc<VirtualServer>>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) members: Vec<FilterEntry>,
    pub(crate) refused: Vec<AddressAndPort>,
    pub(crate) without_local: ByFamily<LacksLocal>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) health_check: Option<HealthCheck>,
    /// For each virtual server of UDP the endpoints that its flows may go to; sorted by virtual server.
    pub(crate) udp: Vec<(ServiceKey, Arc<[SocketAddr]>)>,
}

impl Contribution {
    /// The parts of the state that it concerns.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let servers = self.virtual_servers.iter();
        let servers = servers.map(|server| Key::VirtualServer(server.service.key));
        let vips = self.vips.iter().map(|vip| Key::Vip(vip.address()));
        let members = self.members.iter().copied().map(Key::Member);
        let refused = self.refused.iter();
        let rules = refused.map(|refused| Key::Rules(Family::of(refused.address)));
        servers.chain(vips).chain(members).chain(rules)
    }

    /// Several ports of a service have addresses in common, which count once. So does what it asks for twice, as a load
    /// balancer's address that is also an external one, or a node port of a node address that is also an external one: what
    /// was asked for last counts, as in kube-proxy.
    pub(crate) fn tidy(&mut self) {
        self.members.sort_unstable();
        self.members.dedup();
        self.vips.sort_unstable();
        self.vips.dedup();
        self.refused.sort_unstable();
        self.refused.dedup();
        let mut seen = HashSet::default();
        self.problems.retain(|problem| seen.insert(problem.clone()));
        last_of_each(&mut self.virtual_servers, |server| server.service.key);
        last_of_each(&mut self.udp, |(key, _)| *key);
        // They stay for as long as the service does.
        self.virtual_servers.shrink_to_fit();
        self.vips.shrink_to_fit();
        self.members.shrink_to_fit();
        self.refused.shrink_to_fit();
        self.udp.shrink_to_fit();
    }
}

/// Of several with one key the last one stays. O(n log n).
fn last_of_each<T>(all: &mut Vec<T>, key: impl Fn(&T) -> ServiceKey) {
    all.reverse();
    all.sort_by_key(&key);
    all.dedup_by_key(|one| key(one));
}
