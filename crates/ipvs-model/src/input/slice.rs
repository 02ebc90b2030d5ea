use std::net::IpAddr;
use std::sync::Arc;

use ipvs_codec::{Family, Protocol};

use super::metadata::Metadata;
use super::name::ObjectName;
use super::parse::{parse_port, parse_protocol, parse_served_ip};
use super::raw::{RawEndpoint, RawHint, RawSlicePort};
use crate::error::InputError;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A port of an EndpointSlice: the real port behind every service port of the same name and protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlicePort {
    /// The service port's name; empty if it has none.
    pub name: String,
    /// The service port's protocol.
    pub protocol: Protocol,
    /// The real port.
    pub port: u16,
}

/// An endpoint of an EndpointSlice: its first address, as kube-proxy uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// Takes new connections (`conditions.ready`, true if absent).
    pub ready: bool,
    /// Would take connections but for its termination (`conditions.serving`, true if absent).
    pub serving: bool,
    /// Is being stopped (`conditions.terminating`, false if absent).
    pub terminating: bool,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Most have none, which takes the room of a pointer.
    hints: Option<Box<Hints>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Hints {
    zones: Box<[Arc<str>]>,
    nodes: Box<[Arc<str>]>,
}

impl Endpoint {
    /// Zones whose clients it is meant for (`hints.forZones`).
    #[must_use]
    pub fn zone_hints(&self) -> &[Arc<str>] {
        self.hints.as_deref().map_or(&[], |hints| &hints.zones)
    }

    /// Nodes whose clients it is meant for (`hints.forNodes`).
    #[must_use]
    pub fn node_hints(&self) -> &[Arc<str>] {
        self.hints.as_deref().map_or(&[], |hints| &hints.nodes)
    }
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// The Service that it belongs to; none if the label is missing, the slice is headless or of host names, and then
    /// it programs nothing.
    pub service: Option<ObjectName>,
    /// Ports; entries without a number are left out.
    pub ports: Vec<SlicePort>,
    /// Endpoints of the slice's family.
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    pub(crate) fn from_manifest(
        metadata: &Metadata,
        address_type: Option<&str>,
        ports: Vec<RawSlicePort>,
        endpoints: Vec<RawEndpoint>,
    ) -> Result<Self, InputError> {
        let name = metadata.object_name()?;
        let service = metadata
            .label(SERVICE_NAME)
            .filter(|service| !service.is_empty());
        let service = service.map(|service| ObjectName {
            namespace: Arc::clone(&name.namespace),
            name: service.into(),
        });
        let headless = metadata.label(HEADLESS).is_some();
        let family = match address_type {
            Some("IPv4") => Some(Family::Ipv4),
            Some("IPv6") => Some(Family::Ipv6),
            Some("FQDN") => None,
            other => {
                let value = other.unwrap_or("(missing)");
                return Err(InputError::new(
                    "addressType",
                    value,
                    "an address type is IPv4, IPv6 or FQDN",
                ));
            }
        };
        let (Some(family), false) = (family, headless) else {
            return Ok(Self {
                name,
                service: None,
                ports: Vec::new(),
                endpoints: Vec::new(),
            });
        };
        Ok(Self {
            name,
            service,
            ports: slice_ports(ports)?,
            endpoints: slice_endpoints(family, endpoints)?,
        })
    }
}

fn slice_ports(raw: Vec<RawSlicePort>) -> Result<Vec<SlicePort>, InputError> {
    let mut ports = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let Some(number) = raw.port.filter(|number| *number != 0) else {
            continue;
        };
        ports.push(SlicePort {
            name: raw.name.unwrap_or_default(),
            protocol: parse_protocol(
                format_args!("ports[{index}].protocol"),
                raw.protocol.as_deref(),
            )?,
            port: parse_port(format_args!("ports[{index}].port"), number)?,
        });
    }
    Ok(ports)
}

fn slice_endpoints(family: Family, raw: Vec<RawEndpoint>) -> Result<Vec<Endpoint>, InputError> {
    let mut endpoints = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let Some(address) = raw.addresses.first() else {
            continue;
        };
        let field = format_args!("endpoints[{index}].addresses[0]");
        let ip = parse_served_ip(field, address)?;
        if Family::of(ip) != family {
            let reason = "not of the slice's addressType";
            return Err(InputError::new(field, address, reason));
        }
        let conditions = raw.conditions.unwrap_or_default();
        let names = |hints: Vec<RawHint>| hints.into_iter().map(|hint| hint.name).collect();
        let hints = raw.hints.map(|raw| Hints {
            zones: names(raw.for_zones),
            nodes: names(raw.for_nodes),
        });
        endpoints.push(Endpoint {
            ip,
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            node: raw.node_name,
            hints: hints
                .filter(|hints| *hints != Hints::default())
                .map(Box::new),
        });
    }
    Ok(endpoints)
}
