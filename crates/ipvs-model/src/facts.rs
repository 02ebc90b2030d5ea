use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::{HashMap, HashSet};
use ipnet::IpNet;
use ipvs_codec::{Family, Scheduler};

use crate::config::{Config, NodePortAddresses};
use crate::input::{Endpoint, Service};
use crate::problem::Protected;

/// What a compilation may know of the node and its neighbours.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    /// This node's address in each family, as Kubernetes knows it.
    pub(crate) node_ips: &'a [IpAddr],
    /// The addresses of this node's links, but for the dummy interface.
    pub(crate) node_addresses: &'a [IpAddr],
    /// The MTU of routes to VIPs.
    pub(crate) mtu: Option<u32>,
    /// This node's zone.
    pub(crate) zone: Option<&'a str>,
    pub(crate) neighbours: &'a Neighbours,
}

/// What is known of this node and its neighbours.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// This node's address in each family, as Kubernetes knows it.
    pub(crate) node_ips: Vec<IpAddr>,
    /// The addresses of this node's links, but for the dummy interface.
    pub(crate) node_addresses: Vec<IpAddr>,
    /// The MTU of routes to VIPs.
    pub(crate) mtu: Option<u32>,
    /// This node's zone.
    pub(crate) zone: Option<String>,
    pub(crate) neighbours: Neighbours,
}

impl Surroundings {
    pub(crate) fn facts<'a>(&'a self, config: &'a Config) -> Facts<'a> {
        Facts {
            config,
            node_ips: &self.node_ips,
            node_addresses: &self.node_addresses,
            mtu: self.mtu,
            zone: self.zone.as_deref(),
            neighbours: &self.neighbours,
        }
    }
}

/// What other nodes, the network and the kernel say that only some services care about.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// Weights that Nodes give to their endpoints.
    pub(crate) weights: HashMap<String, u32>,
    /// Addresses of other nodes.
    pub(crate) addresses: HashMap<String, Vec<IpAddr>>,
    pub(crate) gateways: Vec<IpAddr>,
    /// Schedulers that the kernel does not have.
    pub(crate) missing_schedulers: HashSet<Scheduler>,
}

/// Which addresses of a family serve node ports.
enum Chosen<'a> {
    Primary(IpAddr),
    Cidrs(&'a [IpNet]),
}

impl Chosen<'_> {
    fn has(&self, ip: IpAddr) -> bool {
        match self {
            Self::Primary(primary) => *primary == ip,
            Self::Cidrs(cidrs) => cidrs.iter().any(|cidr| cidr.contains(&ip)),
        }
    }
}

impl Facts<'_> {
    /// This node's address; the loopback address while none is known.
    pub(crate) fn node_ip(&self, family: Family) -> IpAddr {
        let loopback = match family {
            Family::Ipv4 => Ipv4Addr::LOCALHOST.into(),
            Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        };
        of_family(self.node_ips, family).next().unwrap_or(loopback)
    }

    /// Which addresses serve node ports; `None` where all of the family do.
    fn chosen(&self, family: Family) -> Option<Chosen<'_>> {
        match &self.config.node_port_addresses {
            NodePortAddresses::All => None,
            NodePortAddresses::Primary => {
                let primary = of_family(self.node_ips, family).next();
                primary.map(Chosen::Primary)
            }
            NodePortAddresses::Cidrs(cidrs) => {
                let mut of_family = cidrs
                    .iter()
                    .filter(|cidr| Family::of(cidr.addr()) == family);
                let are_some = of_family.clone().next().is_some();
                let are_all = of_family.any(|cidr| cidr.prefix_len() == 0);
                (are_some && !are_all).then_some(Chosen::Cidrs(cidrs))
            }
        }
    }

    /// The addresses that node ports are served on.
    pub(crate) fn node_port_addresses(&self, family: Family) -> Vec<IpAddr> {
        let addresses = of_family(self.node_addresses, family);
        match self.chosen(family) {
            Some(chosen) => addresses.filter(|ip| chosen.has(*ip)).collect(),
            None => addresses.collect(),
        }
    }

    /// The addresses that health checks of Services are answered on: the unspecified address for all of the family. Unlike
    /// node ports they are answered on loopback too, where it is named.
    pub(crate) fn health_check_addresses(&self, family: Family) -> Vec<IpAddr> {
        let (unspecified, loopback): (IpAddr, IpAddr) = match family {
            Family::Ipv4 => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
            Family::Ipv6 => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        };
        let Some(chosen) = self.chosen(family) else {
            return vec![unspecified];
        };
        let mut addresses = self.node_port_addresses(family);
        if chosen.has(loopback) {
            addresses.push(loopback);
        }
        addresses
    }

    /// Why an address must not be made local here, if it must not. O(deny list), and O(nodes) where their addresses
    /// are protected.
    pub(crate) fn protected(&self, address: IpAddr) -> Option<Protected> {
        let never = &self.config.never_bind;
        if never.networks.iter().any(|net| net.contains(&address)) {
            Some(Protected::DenyList)
        } else if never.gateways && self.neighbours.gateways.contains(&address) {
            Some(Protected::Gateway)
        } else if never.nodes && self.is_of_a_neighbour(address) {
            Some(Protected::Node)
        } else {
            None
        }
    }

    fn is_of_a_neighbour(&self, address: IpAddr) -> bool {
        let mut others = self.neighbours.addresses.values();
        others.any(|addresses| addresses.contains(&address))
    }

    /// The weight of an endpoint: 1 but for tuned services.
    pub(crate) fn weight(&self, service: &Service, endpoint: &Endpoint) -> u32 {
        let (Some(tuning), Some(node)) = (&service.tuning, &endpoint.node) else {
            return 1;
        };
        let own = tuning.weights.get(&**node).copied();
        let of_node = || self.neighbours.weights.get(&**node).copied();
        own.or_else(|| of_node().filter(|_| tuning.weigh_by_node))
            .unwrap_or(1)
    }
}

pub(crate) fn of_family(ips: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> {
    ips.iter()
        .copied()
        .filter(move |ip| Family::of(*ip) == family)
}
