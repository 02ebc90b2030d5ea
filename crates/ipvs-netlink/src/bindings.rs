//! What is bound to a link, and how it is listed.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NlasIterator, Parseable as _};
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::connection::Connection;
use crate::error::{Cause, Error};
use crate::ipvs::malformed;
use crate::rtnetlink::{LinkIndex, TABLE_LOCAL, family_of, ip, open, write};

/// `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Of `RTAX_LOCK`, the bit of `RTAX_MTU`.
const LOCKS_MTU: u32 = 1 << 2;

/// A change of what a link answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// The address on the link, as /32 or /128. `EEXIST` if it is there, `EADDRNOTAVAIL` if it is not.
    Address(IpAddr),
    /// A `local` route to the address by the link. For
    /// IPv6 the link must be up (`ENETDOWN`); IPv4 routes go when it goes down, and with the last IPv4
    /// address of the link. Replaces the one that is there. `ESRCH` if it is to go and is
    /// not there: for IPv4 with this source and MTU, where they are given, for IPv6 with any.
    Route {
        /// The address.
        address: IpAddr,
        /// The source that this machine's own connections take.
        source: Option<IpAddr>,
        /// The MTU (`RTAX_MTU`), which the kernel cuts to 65,520, of what this machine itself sends. Without it a local route has
        /// that of the loopback interface. Where the kernel has locked it (`RTAX_LOCK`), it is read as none.
        mtu: Option<u32>,
    },
    /// An address with the network behind it, as a prefix length. No VIP is bound so: what is read as one is somebody else's.
    Network(IpAddr, u8),
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address}"),
            Self::Network(address, length) => write!(f, "address {address}/{length}"),
            Self::Route {
                address,
                source,
                mtu,
            } => {
                write!(f, "route to {address}")?;
                if let Some(source) = source {
                    write!(f, ", source {source}")?;
                }
                mtu.map_or(Ok(()), |mtu| write!(f, ", MTU {mtu}"))
            }
        }
    }
}

/// Where the kernel keeps what is bound to a link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    Addresses(AddressFamily),
    Routes(AddressFamily),
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [
        Self::Addresses(AddressFamily::Inet),
        Self::Routes(AddressFamily::Inet),
        Self::Addresses(AddressFamily::Inet6),
        Self::Routes(AddressFamily::Inet6),
    ];

    pub(crate) fn request(self, link: Option<LinkIndex>) -> RouteNetlinkMessage {
        match self {
            Self::Addresses(family) => {
                let mut message = AddressMessage::default();
                message.header.family = family;
                // Kernels that check strictly (5.0) leave out the other links.
                message.header.index = link.map_or(0, |link| link.0);
                RouteNetlinkMessage::GetAddress(message)
            }
            Self::Routes(family) => {
                let mut message = RouteMessage::default();
                message.header.address_family = family;
                message.header.table = TABLE_LOCAL;
                let link = link.map(|link| RouteAttribute::Oif(link.0));
                message.attributes.extend(link);
                RouteNetlinkMessage::GetRoute(message)
            }
        }
    }

    pub(crate) fn take(
        self,
        bytes: &[u8],
        link: LinkIndex,
        found: &mut Vec<Binding>,
    ) -> Result<(), Cause> {
        match self {
            Self::Addresses(_) => {
                let header = AddressHeader::parse(bytes).map_err(malformed)?;
                if header.index == link.0 {
                    found.extend(local_address(bytes)?.map(|address| {
                        if header.prefix_len == family_of(address).1 {
                            Binding::Address(address)
                        } else {
                            Binding::Network(address, header.prefix_len)
                        }
                    }));
                }
            }
            Self::Routes(_) => {
                let header = RouteHeader::parse(bytes).map_err(malformed)?;
                // Each address has one of the kernel's own.
                if header.kind == RouteType::Local && header.protocol != RouteProtocol::Kernel {
                    let message = RouteMessage::parse(bytes).map_err(malformed)?;
                    found.extend(local_route(&message, link));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn failed(self, cause: Cause) -> Error {
        let operation = match self {
            Self::Addresses(_) => "list addresses",
            Self::Routes(_) => "list local routes",
        };
        Error::new(operation, cause)
    }
}

/// Reads what is bound to a link as [`Links::bindings`](crate::Links::bindings) does, in small steps on a socket of its own, so that others are
/// bound meanwhile. What comes or goes while it reads may be among them or not.
///
/// ```no_run
/// use ipvs_netlink::{BindingReader, Links};
///
/// let link = Links::open()?.find("kube-ipvs0")?.expect("a dummy interface");
/// let (mut reader, mut bindings) = (BindingReader::open()?, Vec::new());
/// while !reader.next_chunk(link.index, &mut bindings)? {}
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug)]
pub struct BindingReader {
    connection: Connection,
    /// The table that is being read, and those behind it.
    left: &'static [Table],
    begun: bool,
}

impl BindingReader {
    /// Opens a socket in this thread's network namespace.
    ///
    /// # Errors
    /// As [`Links::open`](crate::Links::open).
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            connection: open(None)?,
            left: &Table::ALL,
            begun: false,
        })
    }

    /// Reads the next chunk of the bindings of a link; whether it was the last. The next call starts over then.
    ///
    /// # Errors
    /// Whatever the kernel refuses. The next call starts over.
    pub fn next_chunk(&mut self, link: LinkIndex, found: &mut Vec<Binding>) -> Result<bool, Error> {
        let Some((table, behind)) = self.left.split_first() else {
            self.left = &Table::ALL;
            return Ok(true);
        };
        let left = std::mem::replace(&mut self.left, &Table::ALL);
        if !std::mem::take(&mut self.begun) {
            let request = table.request(Some(link));
            let begun = self.connection.begin_dump(|out| write(&request, 0, out));
            begun.map_err(|cause| table.failed(cause))?;
        }
        let read = |bytes: &[u8]| table.take(bytes, link, found);
        let done = self.connection.next_chunk(read);
        let done = done.map_err(|cause| table.failed(cause))?;
        (self.left, self.begun) = if done { (behind, false) } else { (left, true) };
        Ok(false)
    }

    /// Starts over, wherever it is.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn restart(&mut self) -> Result<(), Error> {
        let table = std::mem::replace(&mut self.left, &Table::ALL).first();
        match (table, std::mem::take(&mut self.begun)) {
            (Some(table), true) => self
                .connection
                .end_dump()
                .map_err(|cause| table.failed(cause)),
            _ => Ok(()),
        }
    }
}

/// Only what is asked for of an address message: a node may have thousands of them.
pub(crate) fn local_address(message: &[u8]) -> Result<Option<IpAddr>, Cause> {
    let attributes = message.get(ADDRESS_HEADER..).unwrap_or_default();
    let (mut local, mut other) = (None, None);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(malformed)?;
        match attribute.kind() {
            IFA_LOCAL => local = address_of(attribute.value()),
            IFA_ADDRESS => other = address_of(attribute.value()),
            _ => {}
        }
    }
    let link_local =
        |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(local.or(other).filter(|address| !link_local(address)))
}

pub(crate) fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn local_route(message: &RouteMessage, link: LinkIndex) -> Option<Binding> {
    let header = &message.header;
    let (mut destination, mut source, mut mtu, mut by_link) = (None, None, None, false);
    for attr in &message.attributes {
        match attr {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Oif(index) => by_link = *index == link.0,
            RouteAttribute::Metrics(metrics) => mtu = unlocked_mtu(metrics),
            _ => {}
        }
    }
    let address = destination
        .filter(|address| by_link && header.destination_prefix_length == family_of(*address).1)?;
    Some(Binding::Route {
        address,
        source,
        mtu,
    })
}

fn unlocked_mtu(metrics: &[RouteMetric]) -> Option<u32> {
    let is_locked = |metric: &RouteMetric| match metric {
        RouteMetric::Lock(metrics) => metrics & LOCKS_MTU != 0,
        _ => false,
    };
    let mtu = metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.filter(|_| !metrics.iter().any(is_locked))
}
