use std::net::IpAddr;

use ipvs_codec::Family;
use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};
use netlink_packet_route::link::LinkFlags;

use crate::bindings::{address_of, local_address};
use crate::error::Cause;
use crate::ipvs::malformed;
use crate::rtnetlink::LinkIndex;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// `struct ifinfomsg`, `struct ifaddrmsg` and `struct rtmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

const IFLA_IFNAME: u16 = 3;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;
const RTN_LOCAL: u8 = 2;
const RTPROT_KERNEL: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A change of a link, an address or a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent<'a> {
    /// A link was made or changed, or is gone.
    Link {
        /// Which.
        link: LinkIndex,
        /// Its name; empty if it is no text.
        name: &'a str,
        /// Whether it is up.
        is_up: bool,
        /// Whether it is gone.
        is_gone: bool,
    },
    /// An address was added or changed, or is gone. Link-local ones of IPv6 are passed over, as when addresses are listed.
    Address {
        /// Of which link.
        link: LinkIndex,
        /// The address.
        address: IpAddr,
        /// Whether it is gone.
        is_gone: bool,
    },
    /// A route was added or replaced, or is gone.
    Route(RouteEvent),
}

/// What a notification says of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteEvent {
    /// Of which family.
    pub family: Family,
    /// The table: 254 is the main one, 255 that of local routes, 252 one with a number above 255.
    pub table: u8,
    /// The address, where it is a route to a single one.
    pub address: Option<IpAddr>,
    /// By which link.
    pub link: Option<LinkIndex>,
    /// Whether it makes its destination local (`RTN_LOCAL`).
    pub is_local: bool,
    /// Whether the kernel has made it for an address (`RTPROT_KERNEL`).
    pub is_kernels: bool,
    /// Whether it leads by a gateway.
    pub has_gateway: bool,
    /// Whether it is gone.
    pub is_gone: bool,
}

impl<'a> LinkEvent<'a> {
    /// Reads an event from the type of a netlink message and the bytes behind its header; none of another type. O(attributes),
    /// and no memory: thousands may come in a second.
    ///
    /// # Errors
    /// [`Cause::Malformed`] when the bytes are no such message.
    ///
    /// ```
    /// use ipvs_netlink::LinkEvent;
    /// assert!(LinkEvent::parse(20, &[2, 32]).is_err()); // RTM_NEWADDR that is cut off
    /// assert_eq!(LinkEvent::parse(99, &[]).unwrap(), None);
    /// ```
    pub fn parse(kind: u16, bytes: &'a [u8]) -> Result<Option<Self>, Cause> {
        Ok(match kind {
            RTM_NEWLINK | RTM_DELLINK => Some(link(bytes, kind == RTM_DELLINK)?),
            RTM_NEWADDR | RTM_DELADDR => {
                let link = LinkIndex(word(bytes, 4)?);
                let is_gone = kind == RTM_DELADDR;
                bytes.get(..ADDRESS_HEADER).ok_or_else(cut_off)?;
                local_address(bytes)?.map(|address| Self::Address {
                    link,
                    address,
                    is_gone,
                })
            }
            RTM_NEWROUTE | RTM_DELROUTE => route(bytes, kind == RTM_DELROUTE)?.map(Self::Route),
            _ => None,
        })
    }
}

fn link(bytes: &[u8], is_gone: bool) -> Result<LinkEvent<'_>, Cause> {
    let (link, flags) = (LinkIndex(word(bytes, 4)?), word(bytes, 8)?);
    let mut name = "";
    for attribute in NlasIterator::new(bytes.get(LINK_HEADER..).ok_or_else(cut_off)?) {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == IFLA_IFNAME {
            let end = usize::from(attribute.length());
            let value = attribute.into_inner().get(NLA_HEADER_SIZE..end);
            let text = value.unwrap_or_default().split(|byte| *byte == 0).next();
            let text = text.unwrap_or_default();
            name = std::str::from_utf8(text).unwrap_or_default();
            break;
        }
    }
    Ok(LinkEvent::Link {
        link,
        name,
        is_up: flags & LinkFlags::Up.bits() != 0,
        is_gone,
    })
}

fn route(bytes: &[u8], is_gone: bool) -> Result<Option<RouteEvent>, Cause> {
    let header = bytes.first_chunk::<ROUTE_HEADER>().ok_or_else(cut_off)?;
    let [family, length, _, _, table, protocol, _, kind, ..] = *header;
    let (family, full) = match family {
        AF_INET => (Family::Ipv4, 32),
        AF_INET6 => (Family::Ipv6, 128),
        _ => return Ok(None),
    };
    let mut event = RouteEvent {
        family,
        table,
        address: None,
        link: None,
        is_local: kind == RTN_LOCAL,
        is_kernels: protocol == RTPROT_KERNEL,
        has_gateway: false,
        is_gone,
    };
    for attribute in NlasIterator::new(bytes.get(ROUTE_HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(malformed)?;
        match attribute.kind() {
            RTA_DST if length == full => event.address = address_of(attribute.value()),
            RTA_OIF => event.link = word(attribute.value(), 0).ok().map(LinkIndex),
            RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH | RTA_NH_ID => event.has_gateway = true,
            _ => {}
        }
    }
    Ok(Some(event))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Cause> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.copied().map(u32::from_ne_bytes).ok_or_else(cut_off)
}

fn cut_off() -> Cause {
    malformed("a notification that is cut off")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_core::Emitable as _;
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};
    use netlink_packet_route::route::{
        RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteType,
    };
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

    use super::*;

    fn parsed(message: &RouteNetlinkMessage, check: impl FnOnce(Option<LinkEvent<'_>>)) {
        let mut bytes = vec![0xff; message.buffer_len()];
        message.emit(&mut bytes);
        check(LinkEvent::parse(message.message_type(), &bytes).unwrap());
        // Whatever is cut off is an error or less of an event.
        for end in 0..bytes.len() {
            let _ = LinkEvent::parse(message.message_type(), &bytes[..end]);
        }
    }

    #[test]
    fn a_link_says_its_name_and_whether_it_is_up() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up;
        let name = LinkAttribute::IfName("kube-ipvs0".to_owned());
        message.attributes.extend([LinkAttribute::Mtu(1500), name]);
        let wanted = |is_gone| LinkEvent::Link {
            link: LinkIndex(7),
            name: "kube-ipvs0",
            is_up: true,
            is_gone,
        };
        let new = RouteNetlinkMessage::NewLink(message.clone());
        parsed(&new, |event| assert_eq!(event, Some(wanted(false))));
        let gone = RouteNetlinkMessage::DelLink(message);
        parsed(&gone, |event| assert_eq!(event, Some(wanted(true))));
    }

    #[test]
    fn an_address_is_the_links_own_and_link_local_ones_are_none() {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = 3;
        let (own, peer) = (Ipv4Addr::new(10, 96, 0, 10), Ipv4Addr::new(10, 0, 0, 1));
        message.attributes = vec![
            AddressAttribute::Address(peer.into()),
            AddressAttribute::Local(own.into()),
        ];
        let gone = RouteNetlinkMessage::DelAddress(message.clone());
        let wanted = LinkEvent::Address {
            link: LinkIndex(3),
            address: own.into(),
            is_gone: true,
        };
        parsed(&gone, |event| assert_eq!(event, Some(wanted)));
        message.header.family = AddressFamily::Inet6;
        message.attributes = vec![AddressAttribute::Address("fe80::1".parse().unwrap())];
        let new = RouteNetlinkMessage::NewAddress(message);
        parsed(&new, |event| assert_eq!(event, None));
    }

    #[test]
    fn a_route_says_where_it_leads_and_who_made_it() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 32;
        message.header.table = 255;
        message.header.kind = RouteType::Local;
        message.header.protocol = RouteProtocol::Kernel;
        let address = Ipv4Addr::new(10, 96, 0, 10);
        message.attributes = vec![
            RouteAttribute::Destination(address.into()),
            RouteAttribute::Oif(7),
        ];
        let mut wanted = RouteEvent {
            family: Family::Ipv4,
            table: 255,
            address: Some(address.into()),
            link: Some(LinkIndex(7)),
            is_local: true,
            is_kernels: true,
            has_gateway: false,
            is_gone: false,
        };
        let new = RouteNetlinkMessage::NewRoute(message.clone());
        parsed(&new, |event| {
            assert_eq!(event, Some(LinkEvent::Route(wanted)))
        });
        message.header.destination_prefix_length = 24;
        message.header.protocol = RouteProtocol::Static;
        let hop = RouteNextHop::default();
        message
            .attributes
            .push(RouteAttribute::MultiPath(vec![hop]));
        (wanted.address, wanted.is_kernels) = (None, false);
        (wanted.has_gateway, wanted.is_gone) = (true, true);
        let gone = RouteNetlinkMessage::DelRoute(message);
        parsed(&gone, |event| {
            assert_eq!(event, Some(LinkEvent::Route(wanted)))
        });
        // Of bridges, and of a kind that is not listened to.
        assert_eq!(LinkEvent::parse(RTM_NEWROUTE, &[7; 12]).unwrap(), None);
        assert_eq!(LinkEvent::parse(28, &[]).unwrap(), None);
    }
}
