//! The ledger: entries of our sets, which nobody else fills. They come before what they list, and leave after it.

use std::net::IpAddr;

use ipvs_codec::{Family, Protocol, ServiceKey};

use crate::filter::{AddressAndPort, FilterEntry};

/// The entries of our sets that make a virtual server known to be ours: as service address and port, or as node port.
///
/// ```
/// use ipvs_codec::{Protocol, ServiceKey};
/// use ipvs_model::entries_that_list;
/// let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
/// let mut entries = entries_that_list(&key);
/// assert!(entries.any(|entry| entry.to_string() == "cluster-ip 10.96.0.10:80/TCP"));
/// ```
pub fn entries_that_list(key: &ServiceKey) -> impl Iterator<Item = FilterEntry> {
    let entries = match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => Some(entries(AddressAndPort {
            address: addr,
            protocol,
            port,
        })),
        ServiceKey::Fwmark { .. } => None,
    };
    entries.into_iter().flatten()
}

const fn entries(served: AddressAndPort) -> [FilterEntry; 5] {
    let (family, port) = (Family::of(served.address), served.port);
    let node_port = match served.protocol {
        Protocol::TCP => FilterEntry::NodePortTcp(family, port),
        Protocol::UDP => FilterEntry::NodePortUdp(family, port),
        _ => FilterEntry::NodePortSctp(served),
    };
    [
        FilterEntry::ClusterIp(served),
        FilterEntry::ExternalIp(served),
        FilterEntry::ExternalIpLocal(served),
        FilterEntry::LoadBalancer(served),
        node_port,
    ]
}

/// The entry of our sets that makes an address known to be ours.
#[must_use]
pub const fn entry_that_names(address: IpAddr) -> FilterEntry {
    FilterEntry::Vip(address)
}
