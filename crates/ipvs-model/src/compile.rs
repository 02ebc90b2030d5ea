//! One service, its slices and the node's facts → what it contributes to the kernel's state. Nothing else is looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipvs_codec::{Destination, Family, Protocol, Scheduler, ServiceFlags, ServiceKey};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};

use crate::config::{Config, VipBinding};
use crate::input::{Endpoint, EndpointSlice, Service, ServicePort};
use crate::sets::{KubeSet, Member};
use crate::state::{Vip, VirtualServer};

/// What one service contributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contribution {
    pub(crate) virtual_servers: Vec<Arc<VirtualServer>>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) members: Vec<Member>,
}

/// What a compilation may know of the node.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    /// This node's address in each family.
    pub(crate) node_ips: &'a [IpAddr],
}

/// O(ports × endpoints) of this service.
pub(crate) fn compile<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    facts: &Facts<'_>,
) -> Contribution {
    let mut contribution = Contribution::default();
    if service.foreign {
        return contribution;
    }
    for family in &facts.config.families {
        let Some(cluster_ip) = service.cluster_ip(*family) else {
            continue;
        };
        for port in &service.ports {
            let endpoints = endpoints(port, *family, slices.clone());
            contribution.add_port(service, port, cluster_ip, &endpoints, facts);
        }
        if !service.ports.is_empty() {
            contribution.add_vip(cluster_ip, facts);
        }
    }
    contribution.members.sort_unstable();
    contribution.members.dedup();
    contribution
}

impl Contribution {
    fn add_port(
        &mut self,
        service: &Service,
        port: &ServicePort,
        cluster_ip: IpAddr,
        endpoints: &BTreeMap<SocketAddr, &Endpoint>,
        facts: &Facts<'_>,
    ) {
        let family = Family::of(cluster_ip);
        let protocol = entry_protocol(port.protocol);
        let mut add = |set, entry| self.members.push(Member { set, family, entry });
        add(
            KubeSet::ClusterIp,
            Entry::IpPort(cluster_ip, protocol, port.port),
        );
        for (addr, endpoint) in endpoints {
            // Ready or not: a pod that is not ready may still talk to itself through its service.
            if endpoint.node.as_deref() == Some(facts.config.node_name.as_str()) {
                add(
                    KubeSet::LoopBack,
                    Entry::IpPortIp(addr.ip(), protocol, addr.port(), addr.ip()),
                );
            }
        }
        let key = ServiceKey::endpoint(port.protocol, cluster_ip, port.port);
        let real_servers = select(endpoints).map(Destination::new).collect();
        self.virtual_servers.push(Arc::new(VirtualServer::new(
            virtual_service(service, key, facts),
            real_servers,
        )));
    }

    fn add_vip(&mut self, address: IpAddr, facts: &Facts<'_>) {
        let family = Family::of(address);
        self.vips.push(match facts.config.vip_binding {
            VipBinding::Address => Vip::Address { address },
            VipBinding::Route => {
                let source = facts
                    .node_ips
                    .iter()
                    .copied()
                    .find(|ip| Family::of(*ip) == family);
                Vip::Route { address, source }
            }
        });
        self.members.push(Member {
            set: KubeSet::IpvsIps,
            family,
            entry: Entry::Ip(address),
        });
    }
}

fn virtual_service(service: &Service, key: ServiceKey, facts: &Facts<'_>) -> ipvs_codec::Service {
    let scheduler = facts.config.scheduler;
    let mut virtual_service = ipvs_codec::Service::new(key, scheduler);
    if let Some(seconds) = service.affinity_seconds {
        virtual_service.flags |= ServiceFlags::PERSISTENT;
        virtual_service.timeout = seconds;
    }
    if scheduler == Scheduler::MH {
        // kube-proxy sets mh-port: without it, clients behind one address would all get one endpoint.
        virtual_service.flags |= ServiceFlags::SCHED_2;
    }
    virtual_service
}

fn entry_protocol(protocol: Protocol) -> EntryProtocol {
    // Input parsing lets only TCP, UDP and SCTP through.
    EntryProtocol(u8::try_from(protocol.0).unwrap_or(u8::MAX))
}

/// The endpoints of a service port by address. An address may stand in several slices: the later one wins, but a
/// terminating one never replaces another.
fn endpoints<'a>(
    port: &ServicePort,
    family: Family,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> BTreeMap<SocketAddr, &'a Endpoint> {
    let mut found: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
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
                if !endpoint.terminating || !found.contains_key(&addr) {
                    found.insert(addr, endpoint);
                }
            }
        }
    }
    found
}

/// Ready endpoints; if there are none, those that terminate and still serve.
fn select<'a>(
    endpoints: &'a BTreeMap<SocketAddr, &Endpoint>,
) -> impl Iterator<Item = SocketAddr> + 'a {
    let any_ready = endpoints.values().any(|endpoint| endpoint.ready);
    let takes = move |endpoint: &Endpoint| match any_ready {
        true => endpoint.ready,
        false => endpoint.serving && endpoint.terminating,
    };
    endpoints
        .iter()
        .filter(move |(_, endpoint)| takes(endpoint))
        .map(|(addr, _)| *addr)
}
