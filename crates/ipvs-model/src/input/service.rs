use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::{Family, Protocol};

use super::metadata::Metadata;
use super::name::ObjectName;
use super::parse::{parse_network, parse_port, parse_protocol, parse_served_ip};
use super::raw::{RawServicePort, Spec, Status};
use super::tuning::Tuning;
use crate::config::Config;
use crate::error::InputError;
use crate::escaped::Escaped;

/// Services with this label belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The API server's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// The API server's limit for it: a day.
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// A port of a Service (`spec.ports`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServicePort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the virtual address. The real port stands in the EndpointSlice.
    pub port: u16,
    /// The port on the node's own addresses.
    pub node_port: Option<u16>,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{} ", Escaped(&self.name))?;
        }
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// RFC 3339 time of its creation: the older of two services that claim one address and port gets it.
    pub created: Option<String>,
    /// Virtual addresses (`clusterIPs`, `clusterIP`); none for `None`, for ExternalName and before one is assigned.
    pub cluster_ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Seconds for which a client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub affinity_seconds: Option<u32>,
    /// Addresses from elsewhere that reach this node (`externalIPs`).
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that keep the address (`status.loadBalancer.ingress`, `ipMode` other than Proxy).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses; everyone if empty.
    pub source_ranges: Vec<IpNet>,
    /// External traffic goes to endpoints of the node that it reaches (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// Traffic to cluster IPs goes to endpoints of the client's node (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// The port on which load balancers ask whether the node has endpoints.
    pub health_check_node_port: Option<u16>,
    /// Who is to serve its load balancer addresses (`loadBalancerClass`).
    pub load_balancer_class: Option<Box<str>>,
    /// What its annotations ask for.
    pub tuning: Option<Box<Tuning>>,
    /// Values of fields and annotations that cannot be used.
    pub problems: Vec<InputError>,
    /// Another proxy's, by the label `service.kubernetes.io/service-proxy-name`.
    pub foreign: bool,
}

impl Service {
    /// The virtual address of a family.
    #[must_use]
    pub fn cluster_ip(&self, family: Family) -> Option<IpAddr> {
        self.cluster_ips
            .iter()
            .copied()
            .find(|ip| Family::of(*ip) == family)
    }

    /// Whether a port can be reached from outside the cluster's own networks.
    pub(crate) fn is_externally_accessible(&self, port: &ServicePort, config: &Config) -> bool {
        port.node_port.is_some()
            || !self.load_balancer_ips.is_empty()
            || (config.external_ips && !self.external_ips.is_empty())
    }

    pub(crate) fn from_manifest(
        metadata: &Metadata,
        spec: &Spec,
        status: &Status,
    ) -> Result<Self, InputError> {
        let mut problems = Vec::new();
        let tuning = Tuning::of(metadata, &mut problems);
        let local = tuning.as_ref().is_some_and(|tuning| tuning.local);
        let service_type = spec.service_type.as_deref().unwrap_or("ClusterIP");
        let external_name = service_type == "ExternalName";
        let external_ips = external_ips(spec, &mut problems);
        let mut load_balancer_ips = load_balancer_ips(status, &mut problems);
        let source_ranges = source_ranges(spec, &mut problems);
        if source_ranges.is_none() {
            // Nobody may use them, which is not everybody.
            load_balancer_ips.clear();
        }
        let external_local = is_local(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
        )? || local;
        let external_local = external_local
            && (matches!(service_type, "LoadBalancer" | "NodePort") || !external_ips.is_empty());
        let health_check = spec.health_check_node_port.filter(|port| *port != 0);
        let health_check =
            health_check.filter(|_| service_type == "LoadBalancer" && external_local);
        Ok(Self {
            name: metadata.object_name()?,
            created: metadata.creation_timestamp.clone(),
            cluster_ips: if external_name {
                Vec::new()
            } else {
                cluster_ips(spec, &mut problems)?
            },
            ports: if external_name {
                Vec::new()
            } else {
                ports(spec)?
            },
            affinity_seconds: affinity_seconds(spec)?,
            load_balancer_ips,
            source_ranges: source_ranges.unwrap_or_default(),
            internal_local: is_local(
                "spec.internalTrafficPolicy",
                spec.internal_traffic_policy.as_deref(),
            )? || local,
            health_check_node_port: health_check
                .map(|port| parse_port("spec.healthCheckNodePort", port))
                .transpose()?,
            external_ips,
            external_local,
            load_balancer_class: spec.load_balancer_class.clone(),
            tuning,
            problems,
            foreign: metadata.label(PROXY_NAME).is_some(),
        })
    }
}

fn ports(spec: &Spec) -> Result<Vec<ServicePort>, InputError> {
    let raw = spec.ports.as_deref().unwrap_or_default();
    let parse = |(index, raw): (usize, &RawServicePort)| {
        let node_port = raw.node_port.filter(|port| *port != 0);
        Ok(ServicePort {
            name: raw.name.clone().unwrap_or_default(),
            protocol: parse_protocol(
                format_args!("spec.ports[{index}].protocol"),
                raw.protocol.as_deref(),
            )?,
            port: parse_port(format_args!("spec.ports[{index}].port"), raw.port)?,
            node_port: node_port
                .map(|port| parse_port(format_args!("spec.ports[{index}].nodePort"), port))
                .transpose()?,
        })
    };
    // What may fail asks for more room than it takes.
    let mut ports = raw
        .iter()
        .enumerate()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()?;
    ports.shrink_to_fit();
    Ok(ports)
}

fn external_ips(spec: &Spec, problems: &mut Vec<InputError>) -> Vec<IpAddr> {
    let raw = spec.external_ips.as_deref().unwrap_or_default();
    let given = raw.iter().map(|ip| ip.trim()).enumerate();
    let given = given.filter(|(_, ip)| !ip.is_empty());
    let parse =
        |(index, ip): (usize, &str)| parse_served_ip(format_args!("spec.externalIPs[{index}]"), ip);
    possible(given.map(parse), problems)
}

/// Entries with a host name alone, and those whose load balancer answers for itself (`ipMode: Proxy`), are left out.
fn load_balancer_ips(status: &Status, problems: &mut Vec<InputError>) -> Vec<IpAddr> {
    let load_balancer = status.load_balancer.as_ref();
    let raw = load_balancer
        .and_then(|load_balancer| load_balancer.ingress.as_deref())
        .unwrap_or_default();
    let kept = raw.iter().enumerate().filter_map(|(index, ingress)| {
        let keeps_address = matches!(ingress.ip_mode.as_deref(), None | Some("VIP"));
        let ip = ingress.ip.as_deref()?;
        (!ip.is_empty() && keeps_address).then_some((index, ip))
    });
    let parse = |(index, ip): (usize, &str)| {
        parse_served_ip(format_args!("status.loadBalancer.ingress[{index}].ip"), ip)
    };
    possible(kept.map(parse), problems)
}

/// What can be used; what cannot costs only itself.
fn possible<T>(
    parsed: impl Iterator<Item = Result<T, InputError>>,
    problems: &mut Vec<InputError>,
) -> Vec<T> {
    let mut possible = Vec::new();
    for parsed in parsed {
        match parsed {
            Ok(value) => possible.push(value),
            Err(error) => problems.push(error),
        }
    }
    possible
}

/// None if there are some and none can be used: kube-proxy would let everybody in then.
fn source_ranges(spec: &Spec, problems: &mut Vec<InputError>) -> Option<Vec<IpNet>> {
    let raw = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let parse = |(index, range): (usize, &String)| {
        parse_network(
            format_args!("spec.loadBalancerSourceRanges[{index}]"),
            range,
        )
    };
    let ranges = possible(raw.iter().enumerate().map(parse), problems);
    (raw.is_empty() || !ranges.is_empty()).then_some(ranges)
}

fn is_local(field: &str, policy: Option<&str>) -> Result<bool, InputError> {
    match policy {
        None | Some("" | "Cluster") => Ok(false),
        Some("Local") => Ok(true),
        Some(other) => Err(InputError::new(
            field,
            other,
            "a traffic policy is Cluster or Local",
        )),
    }
}

/// In a family without a cluster IP nothing of the Service is served, so of those that cannot be used one may stand beside
/// another that can.
fn cluster_ips(spec: &Spec, problems: &mut Vec<InputError>) -> Result<Vec<IpAddr>, InputError> {
    let is_address = |text: &&str| !text.is_empty() && *text != "None";
    // Two at most, and there are as many lists as services.
    let mut ips = Vec::with_capacity(spec.cluster_ips.as_ref().map_or(1, Vec::len));
    let mut errors = Vec::new();
    if let Some(text) = spec.cluster_ip.as_deref().filter(is_address) {
        match parse_served_ip("spec.clusterIP", text) {
            Ok(ip) => ips.push(ip),
            Err(error) => errors.push(error),
        }
    }
    for (index, text) in spec.cluster_ips.iter().flatten().enumerate() {
        if !is_address(&text.as_str()) {
            continue;
        }
        match parse_served_ip(format_args!("spec.clusterIPs[{index}]"), text) {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) => ips.push(ip),
            // The first one is `clusterIP` once more.
            Err(error) if errors.iter().any(|known| known.value == error.value) => {}
            Err(error) => errors.push(error),
        }
    }
    if let (true, Some(error)) = (ips.is_empty(), errors.first()) {
        return Err(error.clone());
    }
    problems.append(&mut errors);
    Ok(ips)
}

fn affinity_seconds(spec: &Spec) -> Result<Option<u32>, InputError> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return Ok(None),
        Some("ClientIP") => {}
        Some(other) => {
            return Err(InputError::new(
                "spec.sessionAffinity",
                other,
                "session affinity is None or ClientIP",
            ));
        }
    }
    let client_ip = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = client_ip.and_then(|client_ip| client_ip.timeout_seconds) else {
        return Ok(Some(DEFAULT_AFFINITY_SECONDS));
    };
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=MAX_AFFINITY_SECONDS) => Ok(Some(seconds)),
        _ => {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            Err(InputError::new(field, seconds, "1 to 86400 seconds"))
        }
    }
}
