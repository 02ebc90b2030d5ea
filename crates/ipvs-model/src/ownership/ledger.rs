//! The ledger: entries of our sets, which nobody else fills. They come before what they list, and leave after it.

use std::net::IpAddr;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};

use crate::sets::{KubeSet, Member};

/// The entries of our sets that make a virtual server known to be ours: as service address and port, or as node port.
///
/// ```
/// use ipvs_codec::{Protocol, ServiceKey};
/// use ipvs_model::entries_that_list;
/// let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
/// let mut entries = entries_that_list(&key);
/// assert!(entries.any(|member| member.to_string() == "KUBE-CLUSTER-IP 10.96.0.10,tcp:80"));
/// ```
pub fn entries_that_list(key: &ServiceKey) -> impl Iterator<Item = Member> {
    let family = key.family();
    let entries = match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => Some(entries(protocol, addr, port)),
        ServiceKey::Fwmark { .. } => None,
    };
    let entries = entries.into_iter().flatten();
    entries.map(move |(set, entry)| Member { set, family, entry })
}

fn entries(protocol: Protocol, addr: IpAddr, port: u16) -> [(KubeSet, Entry); 5] {
    use KubeSet::{ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer};
    let number = u8::try_from(protocol.number()).unwrap_or(u8::MAX);
    let by_address = Entry::IpPort(addr, EntryProtocol(number), port);
    let node_port = match protocol {
        Protocol::TCP => (KubeSet::NodePortTcp, Entry::Port(port)),
        Protocol::UDP => (KubeSet::NodePortUdp, Entry::Port(port)),
        _ => (KubeSet::NodePortSctp, by_address),
    };
    [
        (ClusterIp, by_address),
        (ExternalIp, by_address),
        (ExternalIpLocal, by_address),
        (LoadBalancer, by_address),
        node_port,
    ]
}

/// Whether the entries of a set make virtual servers known to be ours.
pub(crate) const fn lists_virtual_servers(set: KubeSet) -> bool {
    use KubeSet::{
        ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer, NodePortSctp, NodePortTcp,
        NodePortUdp,
    };
    matches!(
        set,
        ClusterIp
            | ExternalIp
            | ExternalIpLocal
            | LoadBalancer
            | NodePortTcp
            | NodePortUdp
            | NodePortSctp
    )
}

/// The entry of our sets that makes an address known to be ours.
#[must_use]
pub const fn entry_that_names(address: IpAddr) -> Member {
    Member {
        set: KubeSet::IpvsIps,
        family: Family::of(address),
        entry: Entry::Ip(address),
    }
}
