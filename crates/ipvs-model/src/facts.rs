use std::net::IpAddr;

use foldhash::{HashMap, HashSet};
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

impl Facts<'_> {
    /// This node's address; the loopback address while none is known.
    pub(crate) fn node_ip(&self, family: Family) -> IpAddr {
        let loopback = match family {
            Family::Ipv4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::Ipv6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        of_family(self.node_ips, family).next().unwrap_or(loopback)
    }

    /// The addresses that node ports are served on.
    pub(crate) fn node_port_addresses(&self, family: Family) -> Vec<IpAddr> {
        let addresses = of_family(self.node_addresses, family);
        let primary = of_family(self.node_ips, family).next();
        match &self.config.node_port_addresses {
            NodePortAddresses::Primary if primary.is_some() => {
                addresses.filter(|ip| Some(*ip) == primary).collect()
            }
            NodePortAddresses::Cidrs(cidrs)
                if cidrs.iter().any(|cidr| Family::of(cidr.addr()) == family) =>
            {
                addresses
                    .filter(|ip| cidrs.iter().any(|cidr| cidr.contains(ip)))
                    .collect()
            }
            _ => addresses.collect(),
        }
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
