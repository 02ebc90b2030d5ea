use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use ipvs_codec::{Family, Scheduler};
use serde::{Serialize, Serializer};

/// How virtual addresses are made local to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VipBinding {
    /// As /32 and /128 addresses on the dummy interface: what kube-proxy does.
    #[default]
    Address,
    /// As `local` routes by the dummy interface: no address on any link, and linear cost for many. They have the
    /// [smallest MTU](crate::input::Change::SmallestMtu) of the node's links, so that the node itself cuts IPv4 datagrams that
    /// are too large for them. Otherwise it would take a VIP for local, where 65,536 bytes go in one piece, and IPVS would refuse
    /// them.
    Route,
}

/// How traffic from this node's pods, which is not masqueraded on its way to a cluster IP, is told from other traffic
/// (`--detect-local-mode`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalTraffic {
    /// It comes from these pod networks (`--cluster-cidr`); the first of each family counts. In a family without any,
    /// only what comes from a VIP is masqueraded: the node itself.
    ClusterCidrs(Vec<IpNet>),
    /// It comes from the pod networks of the Node object (`spec.podCIDRs`).
    NodeCidrs,
    /// It comes in by this bridge (`--pod-bridge-interface`).
    Bridge(InterfaceName),
    /// It comes in by interfaces whose names begin so (`--pod-interface-name-prefix`).
    InterfacePrefix(InterfaceName),
}

impl Default for LocalTraffic {
    fn default() -> Self {
        Self::ClusterCidrs(Vec::new())
    }
}

/// The name of a network interface, or the beginning of one: at most 15 letters, digits, and marks but for `/`, `:`,
/// `+` and quotes: back ends of the filter take `+` at the end for anything, and quotes apart.
///
/// ```
/// use ipvs_model::InterfaceName;
/// assert!("cbr0".parse::<InterfaceName>().is_ok());
/// assert!("eth0 -j ACCEPT".parse::<InterfaceName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(Box<str>);

impl Serialize for InterfaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A text is no interface name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no interface name: 1 to 15 letters, digits or marks but for / : + and quotes")]
pub struct NoInterfaceName(String);

impl InterfaceName {
    /// `IFNAMSIZ` without its NUL.
    const MOST: usize = 15;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = NoInterfaceName;

    fn from_str(text: &str) -> Result<Self, NoInterfaceName> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !br#"/:+"'\"#.contains(&byte);
        if (1..=Self::MOST).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(NoInterfaceName(text.to_owned()))
        }
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

/// Addresses that are never made local to this node, whoever asks: neither bound nor served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeverBind {
    /// A deny list.
    pub networks: Vec<IpNet>,
    /// The addresses of other Nodes: traffic to them would end here.
    pub nodes: bool,
    /// This node's gateways ([`Change::Gateways`](crate::input::Change::Gateways)).
    pub gateways: bool,
}

/// Load balancers whose addresses are never programmed: those that answer for themselves and must be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SkippedLoadBalancers {
    /// By address.
    pub networks: Vec<IpNet>,
    /// By `spec.loadBalancerClass`.
    pub classes: Vec<String>,
}

/// What becomes of virtual servers, and of addresses on the dummy interface, that are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Foreign {
    /// They go, whoever made them, as in kube-proxy. One that a Service does ask for is taken over
    /// ([`Model::take_taken_over`](crate::Model::take_taken_over)).
    #[default]
    Remove,
    /// They stay, unless they are ours: those that our sets list, which nobody else fills. For nodes that are shared with
    /// keepalived, kube-vip or others. Also one that a Service does ask for stays as it is
    /// ([`Problem::Foreign`](crate::Problem::Foreign)), unless it is already as the Service asks for it.
    Keep,
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
    /// The packet mark of traffic to masquerade: one bit.
    pub masquerade_mark: u32,
    /// Which traffic is from pods.
    pub local_traffic: LocalTraffic,
    /// On which addresses node ports are served.
    pub node_port_addresses: NodePortAddresses,
    /// How virtual addresses are made local.
    pub vip_binding: VipBinding,
    /// What becomes of what no Service asks for.
    pub foreign: Foreign,
    /// Virtual servers with an address in these networks are never removed (`--ipvs-exclude-cidrs`). Addresses are not
    /// protected, nor what Services ask for, as in kube-proxy.
    pub exclude_cidrs: Vec<IpNet>,
    /// Whether services are reached by their `externalIPs` (gate `AllowServiceExternalIPs`).
    pub external_ips: bool,
    /// Whether ports of traffic that is masqueraded can be taken at random.
    pub random_fully: bool,
    /// Addresses that are never made local.
    pub never_bind: NeverBind,
    /// Load balancers that are not programmed.
    pub skipped_load_balancers: SkippedLoadBalancers,
    /// Whether each node begins with another real server, so that nodes which start together do not send their first
    /// connections to the same one.
    pub stagger: bool,
    /// How long the connections of draining real servers live on, where the Service says nothing; as in kube-proxy for
    /// ever if `None`.
    pub drain_deadline: Option<Duration>,
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
            foreign: Foreign::Remove,
            exclude_cidrs: Vec::new(),
            external_ips: true,
            random_fully: true,
            never_bind: NeverBind::default(),
            skipped_load_balancers: SkippedLoadBalancers::default(),
            stagger: false,
            drain_deadline: None,
            node_ips: Vec::new(),
        }
    }
}
