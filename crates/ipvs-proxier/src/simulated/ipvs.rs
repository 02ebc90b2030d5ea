//! What the IPVS of the simulated kernel refuses, in the order in which the real one checks (Linux 6.1,
//! `ip_vs_genl_set_cmd` and what it calls). What is left out: a real server that comes back within two minutes of its
//! removal finds its old connections again.

use std::net::{IpAddr, SocketAddr};

use ipvs_codec::{
    Destination, Family, ForwardMethod, Netmask, PeName, Service, ServiceKey, Tunnel,
};
use ipvs_model::{Known, Operation};

use super::{EEXIST, EINVAL, ENOENT, ERANGE, ESRCH};

/// The schedulers of Linux 6.1, and the name for none.
const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "none",
];
/// `IP_VS_CONN_F_TUNNEL_TYPE_GUE`.
const GUE: u8 = 1;

/// The error number that the operation would be refused with.
pub(super) fn check(state: &Known, operation: &Operation) -> Result<(), i32> {
    match operation {
        Operation::AddVirtualServer { service } => {
            allow(!state.virtual_servers.contains_key(&service.key), EEXIST)?;
            configuration(service)
        }
        Operation::SetVirtualServer { service } => {
            allow(state.virtual_servers.contains_key(&service.key), ESRCH)?;
            configuration(service)
        }
        Operation::RemoveVirtualServer { virtual_server } => {
            allow(state.virtual_servers.contains_key(virtual_server), ESRCH)
        }
        Operation::AddRealServer {
            virtual_server,
            real_server,
        } => {
            let there = is_there(state, virtual_server, real_server.addr)?;
            destination(virtual_server.family(), real_server)?;
            allow(!there, EEXIST)?;
            allow(is_unicast(real_server.addr.ip()), EINVAL)
        }
        Operation::SetRealServer {
            virtual_server,
            real_server,
        }
        | Operation::DrainRealServer {
            virtual_server,
            real_server,
        } => {
            let there = is_there(state, virtual_server, real_server.addr)?;
            destination(virtual_server.family(), real_server)?;
            allow(there, ENOENT)
        }
        Operation::RemoveRealServer {
            virtual_server,
            address,
        } => allow(is_there(state, virtual_server, *address)?, ENOENT),
        _ => Ok(()),
    }
}

const fn allow(allowed: bool, errno: i32) -> Result<(), i32> {
    if allowed { Ok(()) } else { Err(errno) }
}

fn configuration(service: &Service) -> Result<(), i32> {
    let scheduler = service.scheduler.to_string();
    allow(SCHEDULERS.contains(&scheduler.as_str()), ENOENT)?;
    allow(service.pe.is_none_or(|pe| pe == PeName::SIP), ENOENT)?;
    match (service.key.family(), service.netmask) {
        (Family::Ipv6, Netmask::Ipv6(prefix)) => allow((1..=128).contains(&prefix), EINVAL),
        _ => Ok(()),
    }
}

fn is_there(state: &Known, key: &ServiceKey, addr: SocketAddr) -> Result<bool, i32> {
    let server = state.virtual_servers.get(key).ok_or(ESRCH)?;
    Ok(server.real_server(addr).is_some())
}

fn destination(family: Family, real_server: &Destination) -> Result<(), i32> {
    let mixed = Family::of(real_server.addr.ip()) != family;
    allow(
        !mixed || real_server.forward == ForwardMethod::TUNNEL,
        EINVAL,
    )?;
    allow(real_server.weight <= i32::MAX.cast_unsigned(), ERANGE)?;
    allow(
        real_server.lower_threshold <= real_server.upper_threshold,
        ERANGE,
    )?;
    // Whatever the forwarding method.
    let without_port = matches!(
        real_server.tunnel,
        Tunnel::Other {
            kind: GUE,
            port: 0,
            ..
        }
    );
    allow(!without_port, EINVAL)
}

/// Whether a packet may be sent to the address: `inet_addr_type` and `ipv6_addr_type`. Of 0.0.0.0/8, only 0.0.0.0
/// itself may not since Linux 5.3.
const fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local() && !mapped
        }
    }
}
