use std::net::IpAddr;

use serde::Deserialize;

use super::manifest::Status;
use super::{Metadata, parse_ip};
use crate::error::InputError;

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawAddress {
    #[serde(rename = "type")]
    address_type: String,
    address: String,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its name; nodes have no namespace.
    pub name: String,
    /// Its addresses: internal ones first, then external ones (`status.addresses`).
    pub addresses: Vec<IpAddr>,
    /// Its zone (label `topology.kubernetes.io/zone`).
    pub zone: Option<String>,
}

const ZONE: &str = "topology.kubernetes.io/zone";

impl Node {
    pub(crate) fn from_manifest(metadata: &Metadata, status: Status) -> Result<Self, InputError> {
        let raw = status.addresses.unwrap_or_default();
        let mut addresses = Vec::new();
        for wanted in ["InternalIP", "ExternalIP"] {
            for (index, raw) in raw
                .iter()
                .enumerate()
                .filter(|(_, raw)| raw.address_type == wanted)
            {
                addresses.push(parse_ip(
                    &format!("status.addresses[{index}].address"),
                    &raw.address,
                )?);
            }
        }
        Ok(Self {
            name: metadata.object_name()?.name.as_ref().to_owned(),
            addresses,
            zone: metadata
                .label(ZONE)
                .filter(|zone| !zone.is_empty())
                .map(str::to_owned),
        })
    }
}
