use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::{Family, Scheduler};

/// How virtual addresses are made local to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VipBinding {
    /// As /32 and /128 addresses on the dummy link: what kube-proxy does.
    #[default]
    Address,
    /// As `local` routes by the dummy link: no address on any link, and linear cost for many.
    Route,
}

/// Traffic from pods of this node's cluster, which is not masqueraded on its way to a cluster IP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalTraffic {
    /// Pod networks (`--cluster-cidr`); the first of each family counts.
    pub cluster_cidrs: Vec<IpNet>,
}

impl LocalTraffic {
    /// The pod network of a family.
    #[must_use]
    pub fn cidr(&self, family: Family) -> Option<IpNet> {
        self.cluster_cidrs
            .iter()
            .copied()
            .find(|cidr| Family::of(cidr.addr()) == family)
    }
}

/// On which of the node's addresses node ports are served (`--nodeport-addresses`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NodePortAddresses {
    /// On all, but loopback and IPv6 link-local ones.
    #[default]
    All,
    /// On the node's address in each family, as Kubernetes knows it; on all while it is not known.
    Primary,
    /// On those in the networks; in a family without any, on all.
    Cidrs(Vec<IpNet>),
}

/// What one node is told and knows; everything else comes from the cluster's objects.
///
/// ```
/// use ipvs_model::Config;
/// let config = Config { node_name: "node-0".into(), ..Config::default() };
/// assert_eq!(config.masquerade_mark, 0x4000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Endpoints with this node name are local; the Node object of this name is this node's.
    pub node_name: String,
    /// Families that are programmed.
    pub families: Vec<Family>,
    /// Scheduler of every virtual server.
    pub scheduler: Scheduler,
    /// Masquerade all traffic to cluster IPs.
    pub masquerade_all: bool,
    /// The packet mark of traffic to masquerade, `1 << --iptables-masquerade-bit`.
    pub masquerade_mark: u32,
    /// Which traffic is from pods.
    pub local_traffic: LocalTraffic,
    /// On which addresses node ports are served.
    pub node_port_addresses: NodePortAddresses,
    /// How virtual addresses are made local.
    pub vip_binding: VipBinding,
    /// This node's addresses by flag; they win over those of the Node object.
    pub node_ips: Vec<IpAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            families: Family::ALL.to_vec(),
            scheduler: Scheduler::RR,
            masquerade_all: false,
            masquerade_mark: 1 << 14,
            local_traffic: LocalTraffic::default(),
            node_port_addresses: NodePortAddresses::All,
            vip_binding: VipBinding::Address,
            node_ips: Vec::new(),
        }
    }
}
