use std::net::IpAddr;

use ipvs_codec::Scheduler;

use super::name::ObjectName;
use super::node::Node;
use super::service::Service;
use super::slice::EndpointSlice;

/// One change of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A Service is there, or has changed.
    Service(Service),
    /// A Service is gone.
    ServiceGone(ObjectName),
    /// An EndpointSlice is there, or has changed.
    EndpointSlice(EndpointSlice),
    /// An EndpointSlice is gone.
    EndpointSliceGone(ObjectName),
    /// A Node is there, or has changed.
    Node(Node),
    /// A Node is gone.
    NodeGone(String),
    /// The addresses of this node's gateways.
    Gateways(Vec<IpAddr>),
    /// The kernel has no such scheduler: services that ask for it get the node's.
    NoScheduler(Scheduler),
    /// The addresses of this node's links, but for the dummy interface, loopback and IPv6 link-local ones.
    NodeAddresses(Vec<IpAddr>),
    /// The smallest MTU of this node's links that lead to others; none if it is not known. Routes to VIPs have it, but no more than
    /// the kernel takes: 65,520.
    SmallestMtu(Option<u32>),
}
