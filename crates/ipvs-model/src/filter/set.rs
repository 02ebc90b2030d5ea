use std::fmt;

use serde::{Serialize, Serializer};

/// What an entry of the filter is for. The order is the one in which kube-proxy makes its sets.
///
/// ```
/// use ipvs_model::FilterSet;
/// assert_eq!(FilterSet::ClusterIp.to_string(), "cluster-ip");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterSet {
    /// Endpoints of this node that connect to themselves: masqueraded.
    Hairpin,
    /// Cluster IPs and ports: masqueraded but for pods of this node.
    ClusterIp,
    /// External IPs and ports with policy Cluster: masqueraded.
    ExternalIp,
    /// External IPs and ports whose servers see the client.
    ExternalIpLocal,
    /// Load balancer IPs and ports: masqueraded.
    LoadBalancer,
    /// Those of them that are reached from their source ranges alone.
    Firewalled,
    /// Those of them whose servers see the client.
    LoadBalancerLocal,
    /// Those of them that this node may reach itself, with the VIP as its source.
    SourceAddress,
    /// Those of them with one source range.
    SourceRange,
    /// TCP node ports: masqueraded.
    NodePortTcp,
    /// Those of them whose servers see the client.
    NodePortLocalTcp,
    /// UDP node ports: masqueraded.
    NodePortUdp,
    /// Those of them whose servers see the client.
    NodePortLocalUdp,
    /// SCTP node addresses and ports: masqueraded.
    NodePortSctp,
    /// Those of them whose servers see the client.
    NodePortLocalSctp,
    /// Ports of health checks: let through.
    HealthCheckPort,
    /// Addresses that are bound: what is in no other set is refused.
    Vip,
}

impl FilterSet {
    /// Every set.
    pub const ALL: [Self; 17] = [
        Self::Hairpin,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::LoadBalancer,
        Self::Firewalled,
        Self::LoadBalancerLocal,
        Self::SourceAddress,
        Self::SourceRange,
        Self::NodePortTcp,
        Self::NodePortLocalTcp,
        Self::NodePortUdp,
        Self::NodePortLocalUdp,
        Self::NodePortSctp,
        Self::NodePortLocalSctp,
        Self::HealthCheckPort,
        Self::Vip,
    ];

    /// Its name in plans, explanations and questions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hairpin => "hairpin",
            Self::ClusterIp => "cluster-ip",
            Self::ExternalIp => "external-ip",
            Self::ExternalIpLocal => "external-ip-local",
            Self::LoadBalancer => "load-balancer",
            Self::Firewalled => "firewalled",
            Self::LoadBalancerLocal => "load-balancer-local",
            Self::SourceAddress => "source-address",
            Self::SourceRange => "source-range",
            Self::NodePortTcp => "node-port-tcp",
            Self::NodePortLocalTcp => "node-port-local-tcp",
            Self::NodePortUdp => "node-port-udp",
            Self::NodePortLocalUdp => "node-port-local-udp",
            Self::NodePortSctp => "node-port-sctp",
            Self::NodePortLocalSctp => "node-port-local-sctp",
            Self::HealthCheckPort => "health-check-port",
            Self::Vip => "vip",
        }
    }

    /// Whether the filter has another shape while it has entries.
    #[must_use]
    pub const fn shapes_filter(self) -> bool {
        !matches!(self, Self::Vip | Self::HealthCheckPort)
    }

    /// Whether what keeps the ports of this host from answering on VIPs asks for it, with entries and without.
    #[must_use]
    pub const fn is_guard(self) -> bool {
        matches!(
            self,
            Self::ClusterIp
                | Self::ExternalIp
                | Self::ExternalIpLocal
                | Self::LoadBalancer
                | Self::HealthCheckPort
                | Self::Vip
        )
    }

    /// Whether its entries make virtual servers known to be ours.
    #[must_use]
    pub const fn lists_virtual_servers(self) -> bool {
        matches!(
            self,
            Self::ClusterIp
                | Self::ExternalIp
                | Self::ExternalIpLocal
                | Self::LoadBalancer
                | Self::NodePortTcp
                | Self::NodePortUdp
                | Self::NodePortSctp
        )
    }
}

impl fmt::Display for FilterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FilterSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
