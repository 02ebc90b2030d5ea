//! Which endpoints of a service port take its traffic on this node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipvs_codec::{Destination, Family};

use crate::explain::{Candidate, Verdict};
use crate::facts::Facts;
use crate::input::{Endpoint, EndpointSlice, Service, ServicePort};

/// The endpoints of a service port, by address.
pub(crate) struct Endpoints<'a> {
    all: BTreeMap<SocketAddr, &'a Endpoint>,
    facts: &'a Facts<'a>,
}

/// What real servers a virtual server has, by the traffic policy that applies to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    cluster: Vec<Destination>,
    local: Vec<Destination>,
    /// There is an endpoint somewhere that takes connections.
    has_any: bool,
}

impl Selection {
    /// With policy Local, the endpoints of this node. Where it has none, those of the cluster, as in kube-proxy: clients on
    /// the node itself are served then. A service that is reached by its cluster IP alone has no cluster endpoints with
    /// policy Local, and so none at all.
    pub(crate) fn real_servers(&self, only_local: bool) -> &[Destination] {
        if only_local && !self.local.is_empty() {
            &self.local
        } else {
            &self.cluster
        }
    }

    /// Whether a policy Local finds none here though there are some elsewhere.
    pub(crate) const fn lacks_local(&self) -> bool {
        self.local.is_empty() && self.has_any
    }
}

impl<'a> Endpoints<'a> {
    /// An address may stand in several slices: the later one wins, but a terminating one never replaces another.
    pub(crate) fn of(
        port: &ServicePort,
        family: Family,
        slices: impl Iterator<Item = &'a EndpointSlice>,
        facts: &'a Facts<'a>,
    ) -> Self {
        let mut all: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
        for slice in slices {
            let real_ports = slice
                .ports
                .iter()
                .filter(|real| real.name == port.name && real.protocol == port.protocol);
            for real_port in real_ports {
                for endpoint in slice
                    .endpoints
                    .iter()
                    .filter(|endpoint| Family::of(endpoint.ip) == family)
                {
                    let addr = SocketAddr::new(endpoint.ip, real_port.port);
                    if !endpoint.terminating || !all.contains_key(&addr) {
                        all.insert(addr, endpoint);
                    }
                }
            }
        }
        Self { all, facts }
    }

    /// The endpoints of this node, ready or not.
    pub(crate) fn local(&self) -> impl Iterator<Item = SocketAddr> {
        self.all
            .iter()
            .filter(|(_, endpoint)| self.is_local(endpoint))
            .map(|(addr, _)| *addr)
    }

    /// The addresses of this node's ready endpoints.
    pub(crate) fn local_ready(&self) -> impl Iterator<Item = IpAddr> {
        let endpoints = self.all.iter();
        let ready = endpoints.filter(|(_, endpoint)| endpoint.ready && self.is_local(endpoint));
        ready.map(|(addr, _)| addr.ip())
    }

    /// Those that would take connections, wherever they are and whatever the policy: what a flow goes to stays so.
    pub(crate) fn serving(&self) -> Arc<[SocketAddr]> {
        let serving = self.all.iter().filter(|(_, endpoint)| endpoint.serving);
        serving.map(|(addr, _)| *addr).collect()
    }

    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_deref() == Some(self.facts.config.node_name.as_str())
    }

    /// The endpoints for each policy that the service has.
    pub(crate) fn select(&self, service: &Service, port: &ServicePort) -> Selection {
        let accessible = service.is_externally_accessible(port, self.facts.config);
        let uses_cluster = !service.internal_local || accessible;
        let uses_local = service.internal_local || (service.external_local && accessible);
        let mut selection = Selection {
            has_any: self.all.values().any(|endpoint| takes(endpoint)),
            ..Selection::default()
        };
        if uses_cluster {
            let topology = self.topology();
            selection.cluster =
                self.ready_or_terminating(service, |endpoint| self.matches(topology, endpoint));
        }
        if uses_local {
            selection.local =
                self.ready_or_terminating(service, |endpoint| self.is_local(endpoint));
        }
        selection
    }

    /// Every endpoint, and whether it is a real server under a policy.
    pub(crate) fn candidates(
        &self,
        service: &Service,
        port: &ServicePort,
        only_local: bool,
        slices: &[EndpointSlice],
    ) -> Vec<Candidate> {
        let selection = self.select(service, port);
        let by_local = only_local && !selection.local.is_empty();
        let chosen = selection.real_servers(only_local);
        let candidate = |(addr, endpoint): (&SocketAddr, &&Endpoint)| {
            let stands_in = |slice: &&EndpointSlice| {
                let mut endpoints = slice.endpoints.iter();
                endpoints.any(|other| std::ptr::eq(other, *endpoint))
            };
            let chosen = chosen.iter().find(|chosen| chosen.addr == *addr);
            let because = match chosen {
                Some(_) if endpoint.ready => Verdict::Ready,
                Some(_) => Verdict::LastResort,
                None if !takes(endpoint) => Verdict::NotReady,
                None if by_local && !self.is_local(endpoint) => Verdict::OnAnotherNode,
                None if !endpoint.ready => Verdict::Terminating,
                None => Verdict::HintedElsewhere,
            };
            Some(Candidate {
                address: *addr,
                slice: slices.iter().find(stands_in)?.name.clone(),
                node: endpoint.node.as_deref().map(str::to_owned),
                weight: chosen.map(|chosen| chosen.weight),
                because,
            })
        };
        self.all.iter().filter_map(candidate).collect()
    }

    /// The ready endpoints that `takes` accepts; if there are none, the accepted ones that terminate and still serve.
    fn ready_or_terminating(
        &self,
        service: &Service,
        takes: impl Fn(&Endpoint) -> bool,
    ) -> Vec<Destination> {
        let pick = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<Destination> {
            let picked = self
                .all
                .iter()
                .filter(|(_, endpoint)| wanted(endpoint) && takes(endpoint));
            let real_server = |(addr, endpoint): (&SocketAddr, &&Endpoint)| Destination {
                weight: self.facts.weight(service, endpoint),
                ..Destination::new(*addr)
            };
            picked.map(real_server).collect()
        };
        let ready = pick(&|endpoint| endpoint.ready);
        if ready.is_empty() {
            pick(&|endpoint| endpoint.serving && endpoint.terminating)
        } else {
            ready
        }
    }

    /// Hints count only if every ready endpoint has them and one names this node or zone: without any, none does.
    fn topology(&self) -> Topology {
        let ready: Vec<_> = self
            .all
            .values()
            .filter(|endpoint| endpoint.ready)
            .collect();
        let all_and_one = |has: &dyn Fn(&Endpoint) -> bool, names: &dyn Fn(&Endpoint) -> bool| {
            ready.iter().all(|endpoint| has(endpoint))
                && ready.iter().any(|endpoint| names(endpoint))
        };
        if all_and_one(&|endpoint| !endpoint.node_hints().is_empty(), &|endpoint| {
            self.hinted_for_node(endpoint)
        }) {
            Topology::SameNode
        } else if all_and_one(&|endpoint| !endpoint.zone_hints().is_empty(), &|endpoint| {
            self.hinted_for_zone(endpoint)
        }) {
            Topology::SameZone
        } else {
            Topology::Anywhere
        }
    }

    fn hinted_for_node(&self, endpoint: &Endpoint) -> bool {
        endpoint
            .node_hints()
            .iter()
            .any(|node| **node == *self.facts.config.node_name)
    }

    fn hinted_for_zone(&self, endpoint: &Endpoint) -> bool {
        self.facts
            .zone
            .is_some_and(|zone| endpoint.zone_hints().iter().any(|hint| **hint == *zone))
    }

    fn matches(&self, topology: Topology, endpoint: &Endpoint) -> bool {
        match topology {
            Topology::Anywhere => true,
            // Hints restrict ready endpoints only: terminating ones are the last resort, wherever they are.
            _ if !endpoint.ready => true,
            Topology::SameNode => self.hinted_for_node(endpoint),
            Topology::SameZone => self.hinted_for_zone(endpoint),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Topology {
    Anywhere,
    SameNode,
    SameZone,
}

/// Takes connections now, or as a last resort.
const fn takes(endpoint: &Endpoint) -> bool {
    endpoint.ready || (endpoint.serving && endpoint.terminating)
}
