use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::{Family, Protocol, ServiceKey};

use super::FilterSet;

/// An address, a protocol and a port of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressAndPort {
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl AddressAndPort {
    /// The virtual server that may be there.
    #[must_use]
    pub const fn key(self) -> ServiceKey {
        ServiceKey::endpoint(self.protocol, self.address, self.port)
    }
}

/// An entry of one of the filter's [sets](FilterSet): each has what its set asks for.
///
/// As text it is `cluster-ip 10.96.0.10:80/TCP`, `node-port-tcp IPv4:30080`, `vip 10.96.0.10`, or, with whom it is about,
/// `source-range 203.0.113.7:80/TCP from 10.0.0.0/8`.
///
/// ```
/// use ipvs_model::{FilterEntry, FilterSet};
/// let entry: FilterEntry = "node-port-tcp IPv6:30080".parse().unwrap();
/// assert_eq!(entry.set(), FilterSet::NodePortTcp);
/// assert_eq!(entry.to_string(), "node-port-tcp IPv6:30080");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterEntry {
    /// Of [`FilterSet::Hairpin`], with the source.
    Hairpin(AddressAndPort, IpAddr),
    /// Of [`FilterSet::ClusterIp`].
    ClusterIp(AddressAndPort),
    /// Of [`FilterSet::ExternalIp`].
    ExternalIp(AddressAndPort),
    /// Of [`FilterSet::ExternalIpLocal`].
    ExternalIpLocal(AddressAndPort),
    /// Of [`FilterSet::LoadBalancer`].
    LoadBalancer(AddressAndPort),
    /// Of [`FilterSet::Firewalled`].
    Firewalled(AddressAndPort),
    /// Of [`FilterSet::LoadBalancerLocal`].
    LoadBalancerLocal(AddressAndPort),
    /// Of [`FilterSet::SourceAddress`], with the source.
    SourceAddress(AddressAndPort, IpAddr),
    /// Of [`FilterSet::SourceRange`], with the range.
    SourceRange(AddressAndPort, IpNet),
    /// Of [`FilterSet::NodePortTcp`]: that port of every address.
    NodePortTcp(Family, u16),
    /// Of [`FilterSet::NodePortLocalTcp`]: that port of every address.
    NodePortLocalTcp(Family, u16),
    /// Of [`FilterSet::NodePortUdp`]: that port of every address.
    NodePortUdp(Family, u16),
    /// Of [`FilterSet::NodePortLocalUdp`]: that port of every address.
    NodePortLocalUdp(Family, u16),
    /// Of [`FilterSet::NodePortSctp`].
    NodePortSctp(AddressAndPort),
    /// Of [`FilterSet::NodePortLocalSctp`].
    NodePortLocalSctp(AddressAndPort),
    /// Of [`FilterSet::HealthCheckPort`].
    HealthCheckPort(Family, u16),
    /// Of [`FilterSet::Vip`].
    Vip(IpAddr),
}

/// What an entry has beside its set. A set asks for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryParts {
    /// An address and a port of it.
    Served(AddressAndPort),
    /// The same, and a source.
    From(AddressAndPort, IpAddr),
    /// The same, and a range of sources.
    FromNet(AddressAndPort, IpNet),
    /// A port of every address of a family.
    Port(Family, u16),
    /// An address.
    Address(IpAddr),
}

impl FilterEntry {
    /// Its set.
    #[must_use]
    pub const fn set(&self) -> FilterSet {
        match self {
            Self::Hairpin(..) => FilterSet::Hairpin,
            Self::ClusterIp(_) => FilterSet::ClusterIp,
            Self::ExternalIp(_) => FilterSet::ExternalIp,
            Self::ExternalIpLocal(_) => FilterSet::ExternalIpLocal,
            Self::LoadBalancer(_) => FilterSet::LoadBalancer,
            Self::Firewalled(_) => FilterSet::Firewalled,
            Self::LoadBalancerLocal(_) => FilterSet::LoadBalancerLocal,
            Self::SourceAddress(..) => FilterSet::SourceAddress,
            Self::SourceRange(..) => FilterSet::SourceRange,
            Self::NodePortTcp(..) => FilterSet::NodePortTcp,
            Self::NodePortLocalTcp(..) => FilterSet::NodePortLocalTcp,
            Self::NodePortUdp(..) => FilterSet::NodePortUdp,
            Self::NodePortLocalUdp(..) => FilterSet::NodePortLocalUdp,
            Self::NodePortSctp(_) => FilterSet::NodePortSctp,
            Self::NodePortLocalSctp(_) => FilterSet::NodePortLocalSctp,
            Self::HealthCheckPort(..) => FilterSet::HealthCheckPort,
            Self::Vip(_) => FilterSet::Vip,
        }
    }

    /// Of which family's filter it is.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.parts() {
            EntryParts::Served(served)
            | EntryParts::From(served, _)
            | EntryParts::FromNet(served, _) => Family::of(served.address),
            EntryParts::Port(family, _) => family,
            EntryParts::Address(address) => Family::of(address),
        }
    }

    /// The address and port that it names; none of ports of every address, and of VIPs.
    #[must_use]
    pub const fn served(&self) -> Option<AddressAndPort> {
        match self.parts() {
            EntryParts::Served(served)
            | EntryParts::From(served, _)
            | EntryParts::FromNet(served, _) => Some(served),
            EntryParts::Port(..) | EntryParts::Address(_) => None,
        }
    }

    /// The port of every address that it names, with its protocol. None of ports of health checks, which are of this node.
    #[must_use]
    pub const fn node_port(&self) -> Option<(Protocol, u16)> {
        match *self {
            Self::NodePortTcp(_, port) | Self::NodePortLocalTcp(_, port) => {
                Some((Protocol::TCP, port))
            }
            Self::NodePortUdp(_, port) | Self::NodePortLocalUdp(_, port) => {
                Some((Protocol::UDP, port))
            }
            _ => None,
        }
    }

    /// What it has beside its set.
    #[must_use]
    pub const fn parts(&self) -> EntryParts {
        match *self {
            Self::Hairpin(served, from) | Self::SourceAddress(served, from) => {
                EntryParts::From(served, from)
            }
            Self::SourceRange(served, range) => EntryParts::FromNet(served, range),
            Self::ClusterIp(served)
            | Self::ExternalIp(served)
            | Self::ExternalIpLocal(served)
            | Self::LoadBalancer(served)
            | Self::Firewalled(served)
            | Self::LoadBalancerLocal(served)
            | Self::NodePortSctp(served)
            | Self::NodePortLocalSctp(served) => EntryParts::Served(served),
            Self::NodePortTcp(family, port)
            | Self::NodePortLocalTcp(family, port)
            | Self::NodePortUdp(family, port)
            | Self::NodePortLocalUdp(family, port)
            | Self::HealthCheckPort(family, port) => EntryParts::Port(family, port),
            Self::Vip(address) => EntryParts::Address(address),
        }
    }

    /// The entry of a set with these parts, if that is what the set asks for.
    #[must_use]
    pub const fn of(set: FilterSet, parts: EntryParts) -> Option<Self> {
        Some(match (set, parts) {
            (FilterSet::Hairpin, EntryParts::From(served, from)) => Self::Hairpin(served, from),
            (FilterSet::SourceAddress, EntryParts::From(served, from)) => {
                Self::SourceAddress(served, from)
            }
            (FilterSet::SourceRange, EntryParts::FromNet(served, range)) => {
                Self::SourceRange(served, range)
            }
            (FilterSet::ClusterIp, EntryParts::Served(served)) => Self::ClusterIp(served),
            (FilterSet::ExternalIp, EntryParts::Served(served)) => Self::ExternalIp(served),
            (FilterSet::ExternalIpLocal, EntryParts::Served(served)) => {
                Self::ExternalIpLocal(served)
            }
            (FilterSet::LoadBalancer, EntryParts::Served(served)) => Self::LoadBalancer(served),
            (FilterSet::Firewalled, EntryParts::Served(served)) => Self::Firewalled(served),
            (FilterSet::LoadBalancerLocal, EntryParts::Served(served)) => {
                Self::LoadBalancerLocal(served)
            }
            (FilterSet::NodePortSctp, EntryParts::Served(served)) => Self::NodePortSctp(served),
            (FilterSet::NodePortLocalSctp, EntryParts::Served(served)) => {
                Self::NodePortLocalSctp(served)
            }
            (FilterSet::NodePortTcp, EntryParts::Port(family, port)) => {
                Self::NodePortTcp(family, port)
            }
            (FilterSet::NodePortLocalTcp, EntryParts::Port(family, port)) => {
                Self::NodePortLocalTcp(family, port)
            }
            (FilterSet::NodePortUdp, EntryParts::Port(family, port)) => {
                Self::NodePortUdp(family, port)
            }
            (FilterSet::NodePortLocalUdp, EntryParts::Port(family, port)) => {
                Self::NodePortLocalUdp(family, port)
            }
            (FilterSet::HealthCheckPort, EntryParts::Port(family, port)) => {
                Self::HealthCheckPort(family, port)
            }
            (FilterSet::Vip, EntryParts::Address(address)) => Self::Vip(address),
            _ => return None,
        })
    }
}
