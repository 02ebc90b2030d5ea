use std::net::IpAddr;

use ipvs_codec::{Family, Protocol};
use serde::Deserialize;

use super::{Metadata, ObjectName, parse_ip, parse_port, parse_protocol};
use crate::error::InputError;

/// Services with this label belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The API server's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// The API server's limit for it: a day.
const MAX_AFFINITY_SECONDS: u32 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    #[serde(rename = "type")]
    service_type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ports: Option<Vec<RawServicePort>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<RawAffinityConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct RawServicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct RawAffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<RawClientIp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawClientIp {
    timeout_seconds: Option<i64>,
}

/// `status` of a Service or a Node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceStatus {
    pub(crate) addresses: Option<Vec<super::node::RawAddress>>,
}

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

    pub(crate) fn from_manifest(
        metadata: &Metadata,
        spec: ServiceSpec,
    ) -> Result<Self, InputError> {
        let external_name = spec.service_type.as_deref() == Some("ExternalName");
        let cluster_ips = if external_name {
            Vec::new()
        } else {
            cluster_ips(&spec)?
        };
        let ports = spec
            .ports
            .as_deref()
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(index, raw)| {
                Ok(ServicePort {
                    name: raw.name.clone().unwrap_or_default(),
                    protocol: parse_protocol(
                        format!("spec.ports[{index}].protocol"),
                        raw.protocol.as_deref(),
                    )?,
                    port: parse_port(format!("spec.ports[{index}].port"), raw.port)?,
                })
            });
        Ok(Self {
            name: metadata.object_name()?,
            created: metadata.creation_timestamp.clone(),
            cluster_ips,
            ports: if external_name {
                Vec::new()
            } else {
                ports.collect::<Result<_, _>>()?
            },
            affinity_seconds: affinity_seconds(&spec)?,
            foreign: metadata.label(PROXY_NAME).is_some(),
        })
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Result<Vec<IpAddr>, InputError> {
    let single = spec
        .cluster_ip
        .as_deref()
        .map(|ip| ("spec.clusterIP".to_owned(), ip));
    let many = spec.cluster_ips.as_deref().unwrap_or_default();
    let many = many
        .iter()
        .enumerate()
        .map(|(index, ip)| (format!("spec.clusterIPs[{index}]"), ip.as_str()));
    let mut ips = Vec::new();
    for (field, text) in single.into_iter().chain(many) {
        if text.is_empty() || text == "None" {
            continue;
        }
        let ip = parse_ip(&field, text)?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

fn affinity_seconds(spec: &ServiceSpec) -> Result<Option<u32>, InputError> {
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
