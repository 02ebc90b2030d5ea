//! One service, its slices and the node's facts → what it contributes to the kernel's state. Nothing else is looked at.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipvs_codec::{Family, Protocol, Scheduler, ServiceFlags, ServiceKey};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};

use crate::config::{Config, NodePortAddresses, VipBinding};
use crate::endpoints::{Endpoints, Selection};
use crate::input::{EndpointSlice, Service, ServicePort};
use crate::rules::OutFilter;
use crate::sets::{KubeSet, Member};
use crate::state::{Vip, VirtualServer, WithoutLocal};

/// What one service contributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contribution {
    pub(crate) virtual_servers: Vec<Arc<VirtualServer>>,
    pub(crate) vips: Vec<Vip>,
    pub(crate) members: Vec<Member>,
    pub(crate) out_filters: Vec<OutFilter>,
    pub(crate) without_local: WithoutLocal,
}

/// What a compilation may know of the node.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    /// This node's address in each family, as Kubernetes knows it.
    pub(crate) node_ips: &'a [IpAddr],
    /// The addresses of this node's links, but for the dummy link.
    pub(crate) node_addresses: &'a [IpAddr],
    /// This node's zone.
    pub(crate) zone: Option<&'a str>,
}

/// O(ports × (endpoints + addresses)) of this service.
pub(crate) fn compile<'a>(
    service: &'a Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    facts: &'a Facts<'a>,
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
            let endpoints = Endpoints::of(port, *family, slices.clone(), facts);
            let mut compiler = Compiler {
                service,
                port,
                family: *family,
                facts,
                into: &mut contribution,
            };
            compiler.hairpin(&endpoints);
            let selection = endpoints.select(service, port);
            compiler.cluster_ip(cluster_ip, &selection);
            compiler.external_ips(&selection);
            compiler.load_balancer_ips(&selection);
            compiler.node_port(&selection);
            compiler.health_check();
            compiler.count_without_local(&selection);
        }
    }
    contribution.tidy();
    contribution
}

impl Contribution {
    /// Several ports of a service have addresses in common, which count once.
    fn tidy(&mut self) {
        self.members.sort_unstable();
        self.members.dedup();
        self.vips.sort_unstable();
        self.vips.dedup();
        self.out_filters.sort_unstable();
        self.out_filters.dedup();
        // They stay for as long as the service does.
        self.virtual_servers.shrink_to_fit();
        self.vips.shrink_to_fit();
        self.members.shrink_to_fit();
        self.out_filters.shrink_to_fit();
    }
}

/// One service port in one family.
struct Compiler<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    facts: &'a Facts<'a>,
    into: &'a mut Contribution,
}

impl Compiler<'_> {
    fn member(&mut self, set: KubeSet, entry: Entry) {
        self.into.members.push(Member {
            set,
            family: self.family,
            entry,
        });
    }

    fn ip_port(&self, ip: IpAddr, port: u16) -> Entry {
        Entry::IpPort(ip, entry_protocol(self.port.protocol), port)
    }

    fn in_family(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family
    }

    /// Ready or not: a pod that is not ready may still talk to itself through its service.
    fn hairpin(&mut self, endpoints: &Endpoints<'_>) {
        let protocol = entry_protocol(self.port.protocol);
        for addr in endpoints.local() {
            self.member(
                KubeSet::LoopBack,
                Entry::IpPortIp(addr.ip(), protocol, addr.port(), addr.ip()),
            );
        }
    }

    fn cluster_ip(&mut self, ip: IpAddr, selection: &Selection) {
        self.member(KubeSet::ClusterIp, self.ip_port(ip, self.port.port));
        self.virtual_server(ip, self.port.port, selection, self.service.internal_local);
        self.bind(ip);
    }

    fn external_ips(&mut self, selection: &Selection) {
        let local = self.service.external_local;
        let set = if local {
            KubeSet::ExternalIpLocal
        } else {
            KubeSet::ExternalIp
        };
        let service = self.service;
        if !self.facts.config.external_ips {
            return;
        }
        for ip in of_family(&service.external_ips, self.family) {
            self.member(set, self.ip_port(ip, self.port.port));
            self.virtual_server(ip, self.port.port, selection, local);
            self.bind_unless_ours(ip);
        }
    }

    fn load_balancer_ips(&mut self, selection: &Selection) {
        let local = self.service.external_local;
        let service = self.service;
        for ip in of_family(&service.load_balancer_ips, self.family) {
            self.member(KubeSet::LoadBalancer, self.ip_port(ip, self.port.port));
            if local {
                self.member(KubeSet::LoadBalancerLocal, self.ip_port(ip, self.port.port));
            }
            self.firewall(ip);
            self.virtual_server(ip, self.port.port, selection, local);
            self.bind_unless_ours(ip);
        }
    }

    /// Source ranges of a load balancer address. A range of everything among them is none at all.
    fn firewall(&mut self, ip: IpAddr) {
        let ranges: Vec<IpNet> = self
            .service
            .source_ranges
            .iter()
            .copied()
            .filter(|range| self.in_family(range.addr()))
            .collect();
        if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
            return;
        }
        let protocol = entry_protocol(self.port.protocol);
        self.member(KubeSet::LoadBalancerFw, self.ip_port(ip, self.port.port));
        for range in &ranges {
            let entry = Entry::IpPortNet(ip, protocol, self.port.port, range.trunc());
            self.member(KubeSet::LoadBalancerSourceCidr, entry);
        }
        let node_ip = self.facts.node_ip(self.family);
        if ranges.iter().any(|range| range.contains(&node_ip)) {
            self.member(
                KubeSet::LoadBalancerSourceIp,
                Entry::IpPortIp(ip, protocol, self.port.port, ip),
            );
        } else {
            self.into.out_filters.push(OutFilter {
                ip,
                protocol,
                port: self.port.port,
            });
        }
    }

    fn node_port(&mut self, selection: &Selection) {
        let Some(node_port) = self.port.node_port else {
            return;
        };
        let addresses = self.facts.node_port_addresses(self.family);
        if addresses.is_empty() {
            return;
        }
        let local = self.service.external_local;
        let (set, local_set) = match self.port.protocol {
            Protocol::TCP => (KubeSet::NodePortTcp, KubeSet::NodePortLocalTcp),
            Protocol::UDP => (KubeSet::NodePortUdp, KubeSet::NodePortLocalUdp),
            _ => (KubeSet::NodePortSctp, KubeSet::NodePortLocalSctp),
        };
        for ip in addresses {
            // A bitmap cannot tell protocols apart, so SCTP has sets of its own.
            let entry = if set == KubeSet::NodePortSctp {
                self.ip_port(ip, node_port)
            } else {
                Entry::Port(node_port)
            };
            self.member(set, entry);
            if local {
                self.member(local_set, entry);
            }
            self.virtual_server(ip, node_port, selection, local);
        }
    }

    fn health_check(&mut self) {
        if let Some(port) = self.service.health_check_node_port {
            self.member(KubeSet::HealthCheckNodePort, Entry::Port(port));
        }
    }

    fn count_without_local(&mut self, selection: &Selection) {
        let lacks = selection.lacks_local();
        let external = self.service.external_local
            && self
                .service
                .is_externally_accessible(self.port, self.facts.config);
        let counts = &mut self.into.without_local;
        counts.internal += u64::from(lacks && self.service.internal_local);
        counts.external += u64::from(lacks && external);
    }

    fn virtual_server(&mut self, ip: IpAddr, port: u16, selection: &Selection, only_local: bool) {
        let scheduler = self.facts.config.scheduler;
        let key = ServiceKey::endpoint(self.port.protocol, ip, port);
        let mut virtual_service = ipvs_codec::Service::new(key, scheduler);
        if let Some(seconds) = self.service.affinity_seconds {
            virtual_service.flags |= ServiceFlags::PERSISTENT;
            virtual_service.timeout = seconds;
        }
        if scheduler == Scheduler::MH {
            // kube-proxy sets mh-port: without it, clients behind one address would all get one endpoint.
            virtual_service.flags |= ServiceFlags::SCHED_2;
        }
        let real_servers = selection.real_servers(only_local).to_vec();
        self.into
            .virtual_servers
            .push(Arc::new(VirtualServer::new(virtual_service, real_servers)));
    }

    /// An address that the node has anyway is served, but not bound a second time.
    fn bind_unless_ours(&mut self, address: IpAddr) {
        if !self.facts.node_addresses.contains(&address) {
            self.bind(address);
        }
    }

    fn bind(&mut self, address: IpAddr) {
        self.into.vips.push(match self.facts.config.vip_binding {
            VipBinding::Address => Vip::Address { address },
            VipBinding::Route => {
                let source = self
                    .facts
                    .node_ips
                    .iter()
                    .copied()
                    .find(|ip| self.in_family(*ip));
                Vip::Route { address, source }
            }
        });
        self.member(KubeSet::IpvsIps, Entry::Ip(address));
    }
}

impl Facts<'_> {
    /// This node's address; the loopback address while none is known.
    fn node_ip(&self, family: Family) -> IpAddr {
        let loopback = match family {
            Family::Ipv4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::Ipv6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        self.node_ips
            .iter()
            .copied()
            .find(|ip| Family::of(*ip) == family)
            .unwrap_or(loopback)
    }

    /// The addresses that node ports are served on.
    fn node_port_addresses(&self, family: Family) -> Vec<IpAddr> {
        let of_family = self
            .node_addresses
            .iter()
            .copied()
            .filter(|ip| Family::of(*ip) == family);
        let primary = self
            .node_ips
            .iter()
            .copied()
            .find(|ip| Family::of(*ip) == family);
        match &self.config.node_port_addresses {
            NodePortAddresses::Primary if primary.is_some() => {
                of_family.filter(|ip| Some(*ip) == primary).collect()
            }
            NodePortAddresses::Cidrs(cidrs)
                if cidrs.iter().any(|cidr| Family::of(cidr.addr()) == family) =>
            {
                of_family
                    .filter(|ip| cidrs.iter().any(|cidr| cidr.contains(ip)))
                    .collect()
            }
            _ => of_family.collect(),
        }
    }
}

fn of_family(ips: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> {
    ips.iter()
        .copied()
        .filter(move |ip| Family::of(*ip) == family)
}

fn entry_protocol(protocol: Protocol) -> EntryProtocol {
    // Input parsing lets only TCP, UDP and SCTP through.
    EntryProtocol(u8::try_from(protocol.number()).unwrap_or(u8::MAX))
}
