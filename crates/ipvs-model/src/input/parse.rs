//! Values of fields.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use ipvs_codec::Protocol;
use serde::{Deserialize, Deserializer};

use crate::error::InputError;

/// Absent and `null` are the same: Go writes a list without room as `null`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An address of a Service or an endpoint. The API server refuses the same for endpoints and external IPs; manifests come
/// without it, and a VIP of 127.0.0.1 would take over what the host says to itself.
pub(super) fn parse_served_ip(field: impl fmt::Display, text: &str) -> Result<IpAddr, InputError> {
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

pub(super) fn parse_network(field: impl fmt::Display, text: &str) -> Result<IpNet, InputError> {
    match text.trim().parse() {
        Ok(network) => Ok(network),
        Err(_) => Err(InputError::new(field, text, "not a network as 10.0.0.0/8")),
    }
}

pub(super) fn parse_port(field: impl fmt::Display, number: i64) -> Result<u16, InputError> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(InputError::new(field, number, "a port is 1 to 65535")),
    }
}

pub(super) fn parse_protocol(
    field: impl fmt::Display,
    text: Option<&str>,
) -> Result<Protocol, InputError> {
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
