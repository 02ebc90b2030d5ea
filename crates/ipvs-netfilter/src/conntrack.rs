//! Connection tracking over netlink: the flows of a family, and the deletion of one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::MessageError;
use crate::wire::{attrs, body, nest, put};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u8 = 1;
const GET: u8 = 1;
const DELETE: u8 = 2;

/// Attributes of `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.
mod flow {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
}

mod tuple {
    pub(super) const IP: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
}

mod ip {
    pub(super) const IPV4_SOURCE: u16 = 1;
    pub(super) const IPV4_DESTINATION: u16 = 2;
    pub(super) const IPV6_SOURCE: u16 = 3;
    pub(super) const IPV6_DESTINATION: u16 = 4;
}

mod protocol {
    pub(super) const NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where they go, of the same family.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port (network byte order on the wire); none for protocols without.
    pub ports: Option<(u16, u16)>,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            protocol,
            ports,
        } = self;
        write!(f, "protocol {protocol} {source}")?;
        if let Some((port, _)) = ports {
            write!(f, " port {port}")?;
        }
        write!(f, " to {destination}")?;
        if let Some((_, port)) = ports {
            write!(f, " port {port}")?;
        }
        Ok(())
    }
}

/// A tracked flow. With destination translation the reply's source is the server that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The direction of the first packet (`CTA_TUPLE_ORIG`).
    pub original: Tuple,
    /// The other direction (`CTA_TUPLE_REPLY`).
    pub reply: Tuple,
    /// Tracking zone (`CTA_ZONE`); 0 unless rules set one.
    pub zone: u16,
    /// The kernel's number of the entry (`CTA_ID`); another flow with the same addresses has another.
    pub id: Option<u32>,
}

/// A request to connection tracking.
///
/// ```
/// use ipvs_netfilter::conntrack::Request;
///
/// let mut bytes = Vec::new();
/// Request::DumpIpv4.emit(&mut bytes);
/// assert_eq!(bytes, [2, 0, 0, 0]); // AF_INET, version 0, resource 0
/// assert_eq!(Request::DumpIpv4.message_type(), 0x0101);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// All IPv4 flows, a dump; each answered by [`Flow::parse`].
    DumpIpv4,
    /// All IPv6 flows.
    DumpIpv6,
    /// Forget a flow, by both tuples and its number. `ENOENT` if it is gone, or another one has taken its place.
    Delete(&'a Flow),
}

impl Request<'_> {
    /// The netlink message type: subsystem and command.
    #[must_use]
    pub const fn message_type(&self) -> u16 {
        let command = match self {
            Self::DumpIpv4 | Self::DumpIpv6 => GET,
            Self::Delete(_) => DELETE,
        };
        u16::from_be_bytes([SUBSYSTEM, command])
    }

    /// Whether it must travel with `NLM_F_DUMP`.
    #[must_use]
    pub const fn is_dump(&self) -> bool {
        !matches!(self, Self::Delete(_))
    }

    /// Appends netfilter header and attributes. Allocates nothing but the growth of `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let ipv4 = match self {
            Self::DumpIpv4 => true,
            Self::DumpIpv6 => false,
            Self::Delete(flow) => flow.original.source.is_ipv4(),
        };
        out.extend([if ipv4 { 2 } else { 10 }, 0, 0, 0]);
        if let Self::Delete(deleted) = self {
            put_tuple(out, flow::ORIGINAL, &deleted.original);
            put_tuple(out, flow::REPLY, &deleted.reply);
            // A kernel without zones refuses the attribute.
            if deleted.zone != 0 {
                put(out, flow::ZONE, &deleted.zone.to_be_bytes());
            }
            if let Some(id) = deleted.id {
                put(out, flow::ID, &id.to_be_bytes());
            }
        }
    }
}

fn put_tuple(out: &mut Vec<u8>, kind: u16, tuple: &Tuple) {
    nest(out, kind, |out| {
        nest(out, tuple::IP, |out| {
            put_ip(out, [ip::IPV4_SOURCE, ip::IPV6_SOURCE], tuple.source);
            put_ip(
                out,
                [ip::IPV4_DESTINATION, ip::IPV6_DESTINATION],
                tuple.destination,
            );
        });
        nest(out, tuple::PROTOCOL, |out| {
            put(out, protocol::NUMBER, &[tuple.protocol]);
            if let Some((source, destination)) = tuple.ports {
                put(out, protocol::SOURCE_PORT, &source.to_be_bytes());
                put(out, protocol::DESTINATION_PORT, &destination.to_be_bytes());
            }
        });
    });
}

fn put_ip(out: &mut Vec<u8>, [ipv4, ipv6]: [u16; 2], address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(out, ipv4, &address.octets()),
        IpAddr::V6(address) => put(out, ipv6, &address.octets()),
    }
}

impl Flow {
    /// Reads a flow from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let (mut original, mut reply, mut zone, mut id) = (None, None, 0, None);
        for attr in attrs(body(bytes)?) {
            let (kind, value) = attr?;
            match kind {
                flow::ORIGINAL => original = Some(Tuple::parse(value)?),
                flow::REPLY => reply = Some(Tuple::parse(value)?),
                flow::ZONE => zone = number(value).map_or(0, u16::from_be_bytes),
                flow::ID => id = number(value).map(u32::from_be_bytes),
                _ => {}
            }
        }
        Ok(Self {
            original: original.ok_or(MessageError::Missing("CTA_TUPLE_ORIG"))?,
            reply: reply.ok_or(MessageError::Missing("CTA_TUPLE_REPLY"))?,
            zone,
            id,
        })
    }
}

fn number<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.first_chunk().copied()
}

impl Tuple {
    fn parse(nest: &[u8]) -> Result<Self, MessageError> {
        let (mut source, mut destination, mut protocol) = (None, None, None);
        let (mut source_port, mut destination_port) = (None, None);
        for attr in attrs(nest) {
            match attr? {
                (tuple::IP, nest) => {
                    for attr in attrs(nest) {
                        let (kind, value) = attr?;
                        match kind {
                            ip::IPV4_SOURCE | ip::IPV6_SOURCE => source = address(value),
                            ip::IPV4_DESTINATION | ip::IPV6_DESTINATION => {
                                destination = address(value)
                            }
                            _ => {}
                        }
                    }
                }
                (tuple::PROTOCOL, nest) => {
                    for attr in attrs(nest) {
                        let (kind, value) = attr?;
                        match kind {
                            protocol::NUMBER => protocol = value.first().copied(),
                            protocol::SOURCE_PORT => source_port = number(value),
                            protocol::DESTINATION_PORT => destination_port = number(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let port = u16::from_be_bytes;
        Ok(Self {
            source: source.ok_or(MessageError::Missing("source address"))?,
            destination: destination.ok_or(MessageError::Missing("destination address"))?,
            protocol: protocol.ok_or(MessageError::Missing("CTA_PROTO_NUM"))?,
            ports: source_port.map(port).zip(destination_port.map(port)),
        })
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => number::<4>(value).map(|octets| Ipv4Addr::from(octets).into()),
        16 => number::<16>(value).map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple() -> impl Strategy<Value = Tuple> {
        let addresses = prop_oneof![
            any::<[[u8; 4]; 2]>().prop_map(|pair| pair.map(IpAddr::from)),
            any::<[[u8; 16]; 2]>().prop_map(|pair| pair.map(IpAddr::from)),
        ];
        (addresses, any::<u8>(), any::<Option<(u16, u16)>>()).prop_map(
            |([source, destination], protocol, ports)| Tuple {
                source,
                destination,
                protocol,
                ports,
            },
        )
    }

    proptest! {
        #[test]
        fn a_flow_survives_the_wire(
            [original, reply] in [tuple(), tuple()],
            (zone, id) in any::<(u16, Option<u32>)>(),
        ) {
            let flow = Flow { original, reply, zone, id };
            let mut bytes = Vec::new();
            Request::Delete(&flow).emit(&mut bytes);
            prop_assert_eq!(Flow::parse(&bytes), Ok(flow));
            for end in 0..bytes.len() {
                let _ = Flow::parse(&bytes[..end]);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Flow::parse(&bytes);
        }
    }
}
