//! What routes tell of a node: its gateways, and what leads through a link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::Parseable as _;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::Error;
use crate::ipvs::malformed;
use crate::links::Links;
use crate::listing::stable_part;
use crate::rtnetlink::{LinkIndex, family_of, ip, write};

/// `RT_TABLE_UNSPEC`: of a dump, all tables.
const ALL_TABLES: u8 = 0;
/// `RT_TABLE_MAIN`.
const TABLE_MAIN: u8 = 254;

impl Links {
    /// The gateways of the main routing table, each once. Reads that whole table.
    ///
    /// # Errors
    /// [`Cause::Unstable`](crate::Cause::Unstable) when they change too fast to be read; whatever the kernel refuses.
    ///
    /// ```no_run
    /// let gateways = ipvs_netlink::Links::open()?.gateways()?;
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    pub fn gateways(&mut self) -> Result<Vec<IpAddr>, Error> {
        let mut found = self.routes(TABLE_MAIN, None, |message, found| {
            if message.header.table == TABLE_MAIN {
                gateways_of(&message.attributes, found);
            }
        })?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Where routes through a link lead, as address and prefix length, each once: routes of all tables that neither the kernel
    /// made by itself nor [`bindings`](Self::bindings) has. They go when the link goes. A kernel that checks requests strictly
    /// (5.0) leaves out the routes of other links; an older one tells of every route of the node.
    ///
    /// # Errors
    /// [`Cause::Unstable`](crate::Cause::Unstable) when they change too fast to be read; whatever the kernel refuses.
    ///
    /// ```no_run
    /// use ipvs_netlink::Links;
    ///
    /// let mut links = Links::open()?;
    /// if let Some(link) = links.find("kube-ipvs0")? {
    ///     for (address, prefix) in links.routes_through(link.index)? {
    ///         println!("{address}/{prefix}");
    ///     }
    /// }
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    pub fn routes_through(&mut self, link: LinkIndex) -> Result<Vec<(IpAddr, u8)>, Error> {
        let mut found = self.routes(ALL_TABLES, Some(link), |message, found| {
            found.extend(destination_through(link, message));
        })?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// What is taken of the routes of both families.
    fn routes<V: Ord>(
        &mut self,
        table: u8,
        link: Option<LinkIndex>,
        take: impl Fn(&RouteMessage, &mut Vec<V>),
    ) -> Result<Vec<V>, Error> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.table = table;
            let link = link.map(|link| RouteAttribute::Oif(link.0));
            message.attributes.extend(link);
            let request = RouteNetlinkMessage::GetRoute(message);
            let read = |found: &mut Vec<V>| {
                let read = |bytes: &[u8]| {
                    take(&RouteMessage::parse(bytes).map_err(malformed)?, found);
                    Ok(())
                };
                self.connection.dump(|out| write(&request, 0, out), read)
            };
            let read = stable_part(read);
            routes.extend(read.map_err(|cause| Error::new("list routes", cause))?);
        }
        Ok(routes)
    }
}

/// Of one route, or of each of its next hops.
fn gateways_of(attributes: &[RouteAttribute], found: &mut Vec<IpAddr>) {
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(address) => found.extend(ip(address)),
            RouteAttribute::MultiPath(hops) => {
                hops.iter()
                    .for_each(|hop| gateways_of(&hop.attributes, found));
            }
            _ => {}
        }
    }
}

/// Where a route leads, if it is one of [`Links::routes_through`].
fn destination_through(link: LinkIndex, message: &RouteMessage) -> Option<(IpAddr, u8)> {
    let is_through = message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(index) => *index == link.0,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == link.0),
        _ => false,
    });
    let header = &message.header;
    if !is_through || header.protocol == RouteProtocol::Kernel {
        return None;
    }
    let mut attributes = message.attributes.iter();
    let destination = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    // A default route has none.
    let destination = destination.unwrap_or_else(|| match header.address_family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    });
    let length = header.destination_prefix_length;
    let is_binding = header.kind == RouteType::Local && length == family_of(destination).1;
    (!is_binding).then_some((destination, length))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    const LINK: LinkIndex = LinkIndex(7);

    fn route(kind: RouteType, length: u8, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = kind;
        message.header.protocol = RouteProtocol::Static;
        message.header.destination_prefix_length = length;
        message.attributes = attributes;
        message
    }

    fn to(address: [u8; 4]) -> RouteAttribute {
        RouteAttribute::Destination(IpAddr::from(address).into())
    }

    #[test]
    fn routes_through_a_link_are_told_from_bindings_and_from_the_kernels_own() {
        let through = RouteAttribute::Oif(LINK.0);
        let found = |message: &RouteMessage| destination_through(LINK, message);
        let plain = route(
            RouteType::Unicast,
            16,
            vec![to([10, 77, 0, 0]), through.clone()],
        );
        assert_eq!(found(&plain), Some(([10, 77, 0, 0].into(), 16)));
        let host = route(
            RouteType::Unicast,
            32,
            vec![to([10, 77, 0, 1]), through.clone()],
        );
        assert_eq!(found(&host), Some(([10, 77, 0, 1].into(), 32)));
        let default = route(RouteType::Unicast, 0, vec![through.clone()]);
        assert_eq!(found(&default), Some(([0, 0, 0, 0].into(), 0)));
        // A range that this machine answers for is no VIP.
        let local = |length| {
            route(
                RouteType::Local,
                length,
                vec![to([10, 96, 0, 0]), through.clone()],
            )
        };
        assert_eq!(found(&local(24)), Some(([10, 96, 0, 0].into(), 24)));
        assert_eq!(found(&local(32)), None);
        let mut of_kernel = plain;
        of_kernel.header.protocol = RouteProtocol::Kernel;
        assert_eq!(found(&of_kernel), None);
    }

    #[test]
    fn one_of_several_next_hops_counts() {
        let mut hop = RouteNextHop::default();
        hop.interface_index = LINK.0;
        let hops = RouteAttribute::MultiPath(vec![RouteNextHop::default(), hop]);
        let message = route(RouteType::Unicast, 8, vec![to([10, 0, 0, 0]), hops]);
        assert_eq!(
            destination_through(LINK, &message),
            Some(([10, 0, 0, 0].into(), 8))
        );
        let elsewhere = route(
            RouteType::Unicast,
            8,
            vec![to([10, 0, 0, 0]), RouteAttribute::Oif(8)],
        );
        assert_eq!(destination_through(LINK, &elsewhere), None);
    }
}
