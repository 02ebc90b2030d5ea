//! Whose an object is that no Service asks for. What is of a family that is not served is never ours.

use std::net::IpAddr;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};

use crate::config::{Config, Foreign};
use crate::known::Known;
use crate::sets::{KubeSet, Member};

/// Whether a virtual server that nobody asks for may be removed.
pub(crate) fn may_remove(key: &ServiceKey, config: &Config, known: &Known) -> bool {
    let ServiceKey::Endpoint {
        protocol,
        addr,
        port,
    } = *key
    else {
        return false;
    };
    let is_excluded = config.exclude_cidrs.iter().any(|net| net.contains(&addr));
    if is_excluded || !config.families.contains(&key.family()) {
        return false;
    }
    config.foreign == Foreign::Remove || is_listed(protocol, addr, port, known)
}

/// Whether an address that nobody asks for may be unbound.
pub(crate) fn may_unbind(address: IpAddr, config: &Config, known: &Known) -> bool {
    config.families.contains(&Family::of(address))
        && (config.foreign == Foreign::Remove
            || holds(known, KubeSet::IpvsIps, address, Entry::Ip(address)))
}

/// Whether our sets list it: as service address and port, or as node port.
fn is_listed(protocol: Protocol, addr: IpAddr, port: u16, known: &Known) -> bool {
    use KubeSet::{
        ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer, NodePortSctp, NodePortTcp,
        NodePortUdp,
    };
    let number = u8::try_from(protocol.number()).unwrap_or(u8::MAX);
    let by_address = Entry::IpPort(addr, EntryProtocol(number), port);
    let node_port = match protocol {
        Protocol::TCP => holds(known, NodePortTcp, addr, Entry::Port(port)),
        Protocol::UDP => holds(known, NodePortUdp, addr, Entry::Port(port)),
        _ => holds(known, NodePortSctp, addr, by_address),
    };
    let mut services = [ClusterIp, ExternalIp, ExternalIpLocal, LoadBalancer].into_iter();
    node_port || services.any(|set| holds(known, set, addr, by_address))
}

fn holds(known: &Known, set: KubeSet, address: IpAddr, entry: Entry) -> bool {
    let family = Family::of(address);
    known.members.contains(&Member { set, family, entry })
}
