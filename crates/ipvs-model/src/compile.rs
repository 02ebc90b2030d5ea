//! One service, its slices and the node's facts → what it contributes to the kernel's state. Nothing else is looked at.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use ipvs_codec::{
    Destination, Family, ForwardMethod, Protocol, Scheduler, ServiceFlags, ServiceKey,
};

use crate::config::VipBinding;
use crate::contribution::Contribution;
use crate::endpoints::{Endpoints, Selection};
use crate::explain::{Because, Trace};
use crate::facts::{Facts, of_family};
use crate::filter::{AddressAndPort, FilterEntry};
use crate::input::{EndpointSlice, Service, ServicePort};
use crate::key::Key;
use crate::problem::Problem;
use crate::state::{HealthCheck, Vip, VirtualServer};

/// O(ports × (endpoints + addresses)) of this service.
pub(crate) fn compile<'a>(
    service: &'a Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    facts: &'a Facts<'a>,
    mut traces: Option<&mut Vec<Trace>>,
) -> Contribution {
    let mut contribution = Contribution::default();
    if service.foreign {
        return contribution;
    }
    let errors = service.problems.iter().cloned();
    contribution.problems = errors.map(|error| Problem::Input { error }).collect();
    let mut local_ready = BTreeSet::new();
    for family in &facts.config.families {
        let Some(cluster_ip) = service.cluster_ip(*family) else {
            continue;
        };
        for (index, port) in service.ports.iter().enumerate() {
            let endpoints = Endpoints::of(port, *family, slices.clone(), facts);
            local_ready.extend(endpoints.local_ready());
            let serving = (port.protocol == Protocol::UDP).then(|| endpoints.serving());
            let mut compiler = Compiler {
                serving,
                service,
                index,
                port,
                family: *family,
                facts,
                because: Because::Hairpin,
                into: &mut contribution,
                traces: traces.as_deref_mut(),
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
    let health_check = |port| HealthCheck {
        port,
        local_endpoints: u32::try_from(local_ready.len()).unwrap_or(u32::MAX),
    };
    contribution.health_check = service.health_check_node_port.map(health_check);
    contribution.tidy();
    contribution
}

/// One service port in one family.
struct Compiler<'a> {
    service: &'a Service,
    index: usize,
    port: &'a ServicePort,
    family: Family,
    facts: &'a Facts<'a>,
    /// What is being compiled.
    because: Because,
    /// Of UDP.
    serving: Option<Arc<[SocketAddr]>>,
    into: &'a mut Contribution,
    traces: Option<&'a mut Vec<Trace>>,
}

impl Compiler<'_> {
    fn member(&mut self, member: FilterEntry) {
        self.into.members.push(member);
        self.trace(Key::Member(member));
    }

    fn trace(&mut self, key: Key) {
        let (port, because) = (self.index, self.because);
        if let Some(traces) = &mut self.traces {
            traces.push(Trace { key, port, because });
        }
    }

    /// Whether an address may be made local here; reported if not.
    fn may_bind(&mut self, address: IpAddr) -> bool {
        let protected = self.facts.protected(address);
        if let Some(because) = protected {
            let problem = Problem::NeverBound { address, because };
            self.into.problems.push(problem);
        }
        protected.is_none()
    }

    /// How packets to external and load balancer addresses are forwarded.
    fn forward(&self) -> ForwardMethod {
        let tuning = self.service.tuning.as_ref();
        tuning
            .and_then(|tuning| tuning.forward)
            .unwrap_or(ForwardMethod::MASQUERADE)
    }

    /// Whether the client's address is kept on the way in: answers that go past this node need it.
    fn keeps_client(&self) -> bool {
        self.service.external_local || self.forward() != ForwardMethod::MASQUERADE
    }

    const fn served(&self, address: IpAddr, port: u16) -> AddressAndPort {
        AddressAndPort {
            address,
            protocol: self.port.protocol,
            port,
        }
    }

    fn in_family(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family
    }

    /// Ready or not: a pod that is not ready may still talk to itself through its service.
    fn hairpin(&mut self, endpoints: &Endpoints<'_>) {
        for addr in endpoints.local() {
            let endpoint = self.served(addr.ip(), addr.port());
            self.member(FilterEntry::Hairpin(endpoint, addr.ip()));
        }
    }

    fn cluster_ip(&mut self, ip: IpAddr, selection: &Selection) {
        self.because = Because::ClusterIp;
        if !self.may_bind(ip) {
            return;
        }
        self.member(FilterEntry::ClusterIp(self.served(ip, self.port.port)));
        self.virtual_server(ip, self.port.port, selection, self.service.internal_local);
        self.bind(ip);
    }

    fn external_ips(&mut self, selection: &Selection) {
        self.because = Because::ExternalIp;
        let local = self.service.external_local;
        let entry = if self.keeps_client() {
            FilterEntry::ExternalIpLocal
        } else {
            FilterEntry::ExternalIp
        };
        let service = self.service;
        if !self.facts.config.external_ips {
            return;
        }
        for ip in of_family(&service.external_ips, self.family) {
            if !self.may_bind(ip) {
                continue;
            }
            self.member(entry(self.served(ip, self.port.port)));
            self.virtual_server(ip, self.port.port, selection, local);
            self.bind_unless_ours(ip);
        }
    }

    fn load_balancer_ips(&mut self, selection: &Selection) {
        self.because = Because::LoadBalancerIp;
        let local = self.service.external_local;
        let service = self.service;
        for ip in of_family(&service.load_balancer_ips, self.family) {
            if self.is_skipped(ip) || !self.may_bind(ip) {
                continue;
            }
            let served = self.served(ip, self.port.port);
            self.member(FilterEntry::LoadBalancer(served));
            if self.keeps_client() {
                self.member(FilterEntry::LoadBalancerLocal(served));
            }
            self.firewall(ip);
            self.virtual_server(ip, self.port.port, selection, local);
            self.bind_unless_ours(ip);
        }
    }

    /// Whether the node is told to leave a load balancer alone.
    fn is_skipped(&self, ip: IpAddr) -> bool {
        let skipped = &self.facts.config.skipped_load_balancers;
        let class = self.service.load_balancer_class.as_deref();
        let tuning = self.service.tuning.as_ref();
        tuning.is_some_and(|tuning| tuning.skip_load_balancer)
            || skipped.networks.iter().any(|net| net.contains(&ip))
            || class.is_some_and(|class| skipped.classes.iter().any(|skipped| skipped == class))
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
        let served = self.served(ip, self.port.port);
        self.member(FilterEntry::Firewalled(served));
        for range in &ranges {
            self.member(FilterEntry::SourceRange(served, range.trunc()));
        }
        let node_ip = self.facts.node_ip(self.family);
        if ranges.iter().any(|range| range.contains(&node_ip)) {
            self.member(FilterEntry::SourceAddress(served, ip));
        } else {
            self.into.refused.push(served);
        }
    }

    fn node_port(&mut self, selection: &Selection) {
        let Some(node_port) = self.port.node_port else {
            return;
        };
        self.because = Because::NodePort;
        let addresses = self.facts.node_port_addresses(self.family);
        if addresses.is_empty() {
            return;
        }
        let local = self.service.external_local;
        let family = self.family;
        for ip in addresses {
            let served = self.served(ip, node_port);
            let (entry, of_local) = match self.port.protocol {
                Protocol::TCP => (
                    FilterEntry::NodePortTcp(family, node_port),
                    FilterEntry::NodePortLocalTcp(family, node_port),
                ),
                Protocol::UDP => (
                    FilterEntry::NodePortUdp(family, node_port),
                    FilterEntry::NodePortLocalUdp(family, node_port),
                ),
                _ => (
                    FilterEntry::NodePortSctp(served),
                    FilterEntry::NodePortLocalSctp(served),
                ),
            };
            self.member(entry);
            if local {
                self.member(of_local);
            }
            self.virtual_server(ip, node_port, selection, local);
        }
    }

    fn health_check(&mut self) {
        self.because = Because::HealthCheck;
        if let Some(port) = self.service.health_check_node_port {
            self.member(FilterEntry::HealthCheckPort(self.family, port));
        }
    }

    fn count_without_local(&mut self, selection: &Selection) {
        let lacks = selection.lacks_local();
        let external = self.service.external_local
            && self
                .service
                .is_externally_accessible(self.port, self.facts.config);
        let of_family = &mut self.into.without_local.of_mut(self.family);
        of_family.internal |= lacks && self.service.internal_local;
        of_family.external |= lacks && external;
    }

    fn virtual_server(&mut self, ip: IpAddr, port: u16, selection: &Selection, only_local: bool) {
        let key = ServiceKey::endpoint(self.port.protocol, ip, port);
        let mut virtual_service = ipvs_codec::Service::new(key, Scheduler::RR);
        if let Some(seconds) = self.service.affinity_seconds {
            virtual_service.flags |= ServiceFlags::PERSISTENT;
            virtual_service.timeout = seconds;
        }
        self.schedule(&mut virtual_service);
        let mut real_servers = selection.real_servers(only_local).to_vec();
        if matches!(self.because, Because::ExternalIp | Because::LoadBalancerIp) {
            self.forward_by_method(&key, &mut real_servers);
        }
        self.into
            .virtual_servers
            .push(Arc::new(VirtualServer::new(virtual_service, real_servers)));
        self.trace(Key::VirtualServer(key));
        if let Some(serving) = &self.serving {
            self.into.udp.push((key, Arc::clone(serving)));
        }
    }

    fn schedule(&mut self, virtual_service: &mut ipvs_codec::Service) {
        let mut scheduler = self.facts.config.scheduler;
        let mut flags = None;
        if let Some(tuning) = &self.service.tuning {
            match tuning.scheduler {
                Some(missing) if self.facts.neighbours.missing_schedulers.contains(&missing) => {
                    let problem = Problem::NoScheduler { scheduler: missing };
                    self.into.problems.push(problem);
                }
                tuned => {
                    scheduler = tuned.unwrap_or(scheduler);
                    flags = tuning.scheduler_flags;
                }
            }
            if tuning.one_packet && self.port.protocol == Protocol::UDP {
                virtual_service.flags |= ServiceFlags::ONE_PACKET;
            }
        }
        virtual_service.scheduler = scheduler;
        virtual_service.flags |= match flags {
            Some(flags) => flags,
            // kube-proxy sets mh-port: without it, clients behind one address would all get one endpoint.
            None if scheduler == Scheduler::MH => ServiceFlags::SCHED_2,
            None => ServiceFlags::empty(),
        };
    }

    /// Only masquerading changes ports.
    fn forward_by_method(&mut self, key: &ServiceKey, real_servers: &mut [Destination]) {
        let method = self.forward();
        if method == ForwardMethod::MASQUERADE {
            return;
        }
        if real_servers
            .iter()
            .any(|rs| rs.addr.port() != self.port.port)
        {
            let problem = Problem::PortsDiffer { key: *key, method };
            self.into.problems.push(problem);
            return;
        }
        real_servers.iter_mut().for_each(|rs| rs.forward = method);
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
                let source = of_family(self.facts.node_ips, self.family).next();
                Vip::Route {
                    address,
                    source,
                    mtu: self.facts.mtu,
                }
            }
        });
        self.trace(Key::Vip(address));
        self.member(FilterEntry::Vip(address));
    }
}
