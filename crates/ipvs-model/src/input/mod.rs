//! The Kubernetes objects that decide what a node programs, as small validated types.
//!
//! [`Manifest`] is the form in which they are written (YAML or JSON, by any serde format); unknown fields are ignored,
//! impossible values are errors that name field and value.

#[cfg(feature = "k8s")]
mod k8s;
mod manifest;
mod node;
mod service;
mod slice;
mod tuning;

pub use manifest::{Manifest, Metadata, ObjectKind};
pub use node::Node;
pub use service::{Service, ServicePort};
pub use slice::{Endpoint, EndpointSlice, SlicePort};
pub use tuning::Tuning;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipvs_codec::{Protocol, Scheduler};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::InputError;
use crate::escaped::Escaped;

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace; `default` where a manifest names none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name in a namespace.
    ///
    /// ```
    /// use ipvs_model::input::ObjectName;
    /// assert_eq!(ObjectName::new("shop", "web").to_string(), "shop/web");
    /// ```
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// As text: `shop/web`.
impl Serialize for ObjectName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Escaped(&self.namespace), Escaped(&self.name))
    }
}

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
    /// The addresses of this node's links, but for the dummy link, loopback and IPv6 link-local ones.
    NodeAddresses(Vec<IpAddr>),
}

/// Absent and `null` are the same: Go writes a list without room as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An address of a Service or an endpoint. The API server refuses the same for endpoints and external IPs; manifests come
/// without it, and a VIP of 127.0.0.1 would take over what the host says to itself.
fn parse_served_ip(field: impl fmt::Display, text: &str) -> Result<IpAddr, InputError> {
    let ip = parse_ip(&field, text)?;
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local {
        let reason = "nothing is served at unspecified, loopback, link-local, multicast or broadcast addresses";
        return Err(InputError::new(field, text, reason));
    }
    Ok(ip)
}

/// An address of some field as Kubernetes reads it: zeros that lead an IPv4 octet mean nothing, since objects from times
/// when the API server took them are still there, and an IPv6 address that maps an IPv4 one is that one.
///
/// ```
/// use ipvs_model::input::parse_ip;
/// assert_eq!(parse_ip("spec.clusterIP", "010.96.0.01")?.to_string(), "10.96.0.1");
/// # Ok::<(), ipvs_model::InputError>(())
/// ```
///
/// # Errors
/// When it is none.
pub fn parse_ip(field: impl fmt::Display, text: &str) -> Result<IpAddr, InputError> {
    let parsed: Result<IpAddr, _> = text.parse();
    match parsed.or_else(|_| without_leading_zeros(text).parse()) {
        Ok(ip) => Ok(ip.to_canonical()),
        Err(_) => Err(InputError::new(field, text, "not an IP address")),
    }
}

fn without_leading_zeros(text: &str) -> String {
    let octet = |octet: &str| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    text.split('.').map(octet).collect::<Vec<_>>().join(".")
}

fn parse_network(field: impl fmt::Display, text: &str) -> Result<IpNet, InputError> {
    match text.trim().parse() {
        Ok(network) => Ok(network),
        Err(_) => Err(InputError::new(field, text, "not a network as 10.0.0.0/8")),
    }
}

fn parse_port(field: impl fmt::Display, number: i64) -> Result<u16, InputError> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InputError::new(field, number, "a port is 1 to 65535")),
    }
}

fn parse_protocol(field: impl fmt::Display, text: Option<&str>) -> Result<Protocol, InputError> {
    match text {
        None | Some("TCP") => Ok(Protocol::TCP),
        Some("UDP") => Ok(Protocol::UDP),
        Some("SCTP") => Ok(Protocol::SCTP),
        Some(other) => Err(InputError::new(
            field,
            other,
            "a protocol is TCP, UDP or SCTP",
        )),
    }
}
