use std::net::IpAddr;

use ipnet::IpNet;

use super::metadata::Metadata;
use super::parse::{parse_ip, parse_network};
use super::raw::{Spec, Status};
use super::tuning::node_weight;
use crate::error::InputError;

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its name; nodes have no namespace.
    pub name: String,
    /// Its addresses: internal ones first, then external ones (`status.addresses`).
    pub addresses: Vec<IpAddr>,
    /// The networks of its pods (`spec.podCIDRs`, `spec.podCIDR`).
    pub pod_cidrs: Vec<IpNet>,
    /// Whether load balancers should send it traffic: not while it is being deleted, nor with the taint
    /// `ToBeDeletedByClusterAutoscaler`.
    pub eligible: bool,
    /// The weight that it gives to its endpoints (`ipvs-proxier/weight`, annotation or label), for Services that ask
    /// for it.
    pub weight: Option<u32>,
    /// Its zone (label `topology.kubernetes.io/zone`).
    pub zone: Option<String>,
}

const ZONE: &str = "topology.kubernetes.io/zone";

impl Node {
    pub(crate) fn from_manifest(
        metadata: &Metadata,
        spec: &Spec,
        status: Status,
    ) -> Result<Self, InputError> {
        let raw = status.addresses.unwrap_or_default();
        let mut addresses = Vec::new();
        for wanted in ["InternalIP", "ExternalIP"] {
            for (index, raw) in raw
                .iter()
                .enumerate()
                .filter(|(_, raw)| raw.address_type == wanted)
            {
                addresses.push(parse_ip(
                    format_args!("status.addresses[{index}].address"),
                    &raw.address,
                )?);
            }
        }
        Ok(Self {
            name: metadata.object_name()?.name.as_ref().to_owned(),
            addresses,
            pod_cidrs: pod_cidrs(spec)?,
            eligible: metadata.deletion_timestamp.is_none() && !is_tainted(spec),
            weight: node_weight(metadata),
            zone: metadata
                .label(ZONE)
                .filter(|zone| !zone.is_empty())
                .map(str::to_owned),
        })
    }
}

fn is_tainted(spec: &Spec) -> bool {
    let mut taints = spec.taints.iter().flatten();
    taints.any(|taint| taint.key == "ToBeDeletedByClusterAutoscaler")
}

fn pod_cidrs(spec: &Spec) -> Result<Vec<IpNet>, InputError> {
    let single = spec
        .pod_cidr
        .iter()
        .map(|cidr| ("spec.podCIDR".to_owned(), cidr));
    let many = spec.pod_cidrs.iter().flatten().enumerate();
    let many = many.map(|(index, cidr)| (format!("spec.podCIDRs[{index}]"), cidr));
    let mut cidrs = Vec::new();
    for (field, text) in single.chain(many).filter(|(_, text)| !text.is_empty()) {
        let cidr = parse_network(field, text)?;
        if !cidrs.contains(&cidr) {
            cidrs.push(cidr);
        }
    }
    Ok(cidrs)
}
