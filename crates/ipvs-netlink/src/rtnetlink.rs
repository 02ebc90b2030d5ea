//! What every request of rtnetlink is made of: the socket, the messages, the addresses in them.

use std::net::IpAddr;

use netlink_packet_core::Emitable as _;
use netlink_packet_route::route::RouteAddress;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::connection::{Connection, Head};
use crate::error::Error;
use crate::namespace::NetworkNamespace;

/// `RT_TABLE_LOCAL`.
pub(crate) const TABLE_LOCAL: u8 = 255;

/// Index of a link in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkIndex(pub u32);

/// A connection in a network namespace, or in that of this thread.
pub(crate) fn open(namespace: Option<&NetworkNamespace>) -> Result<Connection, Error> {
    Connection::open(NETLINK_ROUTE, namespace).map_err(|cause| Error::new("open rtnetlink", cause))
}

pub(crate) fn write(message: &RouteNetlinkMessage, flags: u16, out: &mut Vec<u8>) -> Head {
    let start = out.len();
    out.resize(start.saturating_add(message.buffer_len()), 0);
    message.emit(out.get_mut(start..).unwrap_or_default());
    Head {
        kind: message.message_type(),
        flags,
    }
}

pub(crate) const fn family_of(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

pub(crate) const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
