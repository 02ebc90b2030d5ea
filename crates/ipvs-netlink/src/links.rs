use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NlaBuffer, NlasIterator};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage,
};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::bindings::{Binding, Table, local_address};
use crate::connection::{Answered, Connection};
use crate::error::{Cause, Error, Outcome};
use crate::ipvs::malformed;
use crate::listing::stable_part;
use crate::namespace::NetworkNamespace;
use crate::rtnetlink::{LinkIndex, TABLE_LOCAL, family_of, open, write};

/// `struct ifinfomsg`.
pub(crate) const LINK_HEADER: usize = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// A link as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: LinkIndex,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is of kind `dummy`.
    pub is_dummy: bool,
}

/// Links, addresses and routes of the network namespace of the thread that opened it.
///
/// ```no_run
/// use ipvs_netlink::{Binding, Links};
///
/// let mut links = Links::open()?;
/// let link = links.ensure_dummy("kube-ipvs0")?.index;
/// let outcomes = links.bind(link, &[Binding::Address("10.96.0.10".parse()?)]);
/// assert!(outcomes[0].is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Links {
    pub(crate) connection: Connection,
}

impl Links {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Cause::Io`] when the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Self::open_at(None)
    }

    /// Opens a connection in another network namespace.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Cause::Namespace`] when it cannot be entered (`EPERM` without `CAP_SYS_ADMIN`).
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Self::open_at(Some(namespace))
    }

    fn open_at(namespace: Option<&NetworkNamespace>) -> Result<Self, Error> {
        let connection = open(namespace)?;
        Ok(Self { connection })
    }

    /// The netlink port of its socket: notifications of what it does have this number. It may be another one after an answer
    /// was lost.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.connection.port()
    }

    /// A link; `None` if there is none of the name.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let mut link = None;
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let request = RouteNetlinkMessage::GetLink(message);
        let answer = self.connection.request(
            |out| write(&request, 0, out),
            |message| {
                link = parse(message);
                Ok(())
            },
        );
        match answer {
            Err(cause) if !cause.is_not_found() => {
                Err(Error::new(format!("find link {name}"), cause))
            }
            _ => Ok(link),
        }
    }

    /// A dummy interface, made if it is not there; its state is left as it is.
    ///
    /// # Errors
    /// `EOPNOTSUPP` without the module `dummy`; whatever else the kernel refuses.
    pub fn ensure_dummy(&mut self, name: &str) -> Result<Link, Error> {
        if let Some(link) = self.find(name)? {
            return Ok(link);
        }
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Dummy,
            )]));
        let failed = |cause| Error::new(format!("make dummy interface {name}"), cause);
        self.change(
            &RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(failed)?;
        self.find(name)?
            .ok_or_else(|| failed(Cause::Malformed("the new link is not there".into())))
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// `ENODEV` if the link is gone.
    pub fn set_up(&mut self, link: LinkIndex) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(&RouteNetlinkMessage::NewLink(message), 0)
            .map_err(|cause| Error::new("set link up", cause))
    }

    /// Deletes a link with its addresses and routes.
    ///
    /// # Errors
    /// `ENODEV` if the link is gone.
    pub fn delete(&mut self, link: LinkIndex) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        self.change(&RouteNetlinkMessage::DelLink(message), 0)
            .map_err(|cause| Error::new("delete link", cause))
    }

    fn change(&mut self, message: &RouteNetlinkMessage, flags: u16) -> Result<(), Cause> {
        self.connection
            .request(|out| write(message, flags, out), |_| Ok(()))
    }

    /// The addresses of a link, IPv6 link-local ones left out, and its `local` routes that are not the kernel's own, each once.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when they change too fast to be read; whatever the kernel refuses.
    pub fn bindings(&mut self, link: LinkIndex) -> Result<Vec<Binding>, Error> {
        let mut bindings = Vec::new();
        for table in Table::ALL {
            let request = table.request(Some(link));
            let read = |found: &mut Vec<Binding>| {
                self.connection.dump(
                    |out| write(&request, 0, out),
                    |bytes| table.take(bytes, link, found),
                )
            };
            bindings.extend(stable_part(read).map_err(|cause| table.failed(cause))?);
        }
        Ok(bindings)
    }

    /// The addresses of all links but one, each with its link; loopback and IPv6 link-local ones are left out. A
    /// list during which addresses came or went is read again.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when they change too fast to be read; whatever the kernel refuses.
    pub fn addresses_except(
        &mut self,
        except: Option<LinkIndex>,
    ) -> Result<Vec<(LinkIndex, IpAddr)>, Error> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let table = Table::Addresses(family);
            let request = table.request(None);
            // Others are not parsed: there may be thousands.
            let take = |bytes: &[u8], found: &mut Vec<_>| {
                let header = AddressHeader::parse(bytes).map_err(malformed)?;
                let link = LinkIndex(header.index);
                if Some(link) != except {
                    let address = local_address(bytes)?;
                    let address = address.filter(|address| !address.is_loopback());
                    found.extend(address.map(|address| (link, address)));
                }
                Ok(())
            };
            let read = |found: &mut Vec<_>| {
                let write = |out: &mut Vec<u8>| write(&request, 0, out);
                self.connection.dump(write, |bytes| take(bytes, found))
            };
            found.extend(stable_part(read).map_err(|cause| table.failed(cause))?);
        }
        Ok(found)
    }

    /// Binds addresses to a link: one outcome for each, in order.
    pub fn bind(&mut self, link: LinkIndex, bindings: &[Binding]) -> Vec<Outcome> {
        let outcomes = self.connection.batch(bindings, |binding, out| {
            let (message, flag) = match binding {
                Binding::Address(address) => (
                    RouteNetlinkMessage::NewAddress(address_message(link, *address)),
                    NLM_F_EXCL,
                ),
                Binding::Network(address, length) => (
                    RouteNetlinkMessage::NewAddress(network_message(link, *address, *length)),
                    NLM_F_EXCL,
                ),
                Binding::Route {
                    address,
                    source,
                    mtu,
                } => (
                    RouteNetlinkMessage::NewRoute(route_message(link, *address, *source, *mtu)),
                    NLM_F_REPLACE,
                ),
            };
            write(&message, NLM_F_CREATE | flag, out)
        });
        named("bind", bindings, outcomes)
    }

    /// Takes addresses from a link: one outcome for each, in order.
    pub fn unbind(&mut self, link: LinkIndex, bindings: &[Binding]) -> Vec<Outcome> {
        let outcomes = self.connection.batch(bindings, |binding, out| {
            let message = match binding {
                Binding::Address(address) => {
                    RouteNetlinkMessage::DelAddress(address_message(link, *address))
                }
                Binding::Network(address, length) => {
                    RouteNetlinkMessage::DelAddress(network_message(link, *address, *length))
                }
                Binding::Route {
                    address,
                    source,
                    mtu,
                } => RouteNetlinkMessage::DelRoute(route_message(link, *address, *source, *mtu)),
            };
            write(&message, 0, out)
        });
        named("unbind", bindings, outcomes)
    }
}

fn named(verb: &str, bindings: &[Binding], outcomes: Vec<Answered>) -> Vec<Outcome> {
    let outcomes = outcomes.into_iter().zip(bindings);
    outcomes
        .map(|(outcome, binding)| {
            outcome.map_err(|cause| Error::new(format!("{verb} {binding}"), cause))
        })
        .collect()
}

fn address_message(link: LinkIndex, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = family_of(address);
    message.header.index = link.0;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    if address.is_ipv6() {
        // No neighbour can have it: the link is a dummy. Duplicate detection would only delay it.
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

fn network_message(link: LinkIndex, address: IpAddr, length: u8) -> AddressMessage {
    let mut message = address_message(link, address);
    message.header.prefix_len = length;
    message
}

fn route_message(
    link: LinkIndex,
    address: IpAddr,
    source: Option<IpAddr>,
    mtu: Option<u32>,
) -> RouteMessage {
    let mut message = RouteMessage::default();
    (
        message.header.address_family,
        message.header.destination_prefix_length,
    ) = family_of(address);
    message.header.table = TABLE_LOCAL;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    message.attributes.push(RouteAttribute::Oif(link.0));
    let source = source.map(|source| RouteAttribute::PrefSource(source.into()));
    let mtu = mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    message.attributes.extend(source.into_iter().chain(mtu));
    message
}

/// `struct ifinfomsg`: index and flags are its second and third word. Of the attributes, which grow, only the kind is read.
pub(crate) fn parse(message: &[u8]) -> Option<Link> {
    let index = word(message, 4)?;
    let flags = flags(message)?;
    let attributes = NlasIterator::new(message.get(LINK_HEADER..).unwrap_or_default());
    let is_dummy = attributes.flatten().any(|attribute| {
        let is_kind = |inner: &NlaBuffer<&[u8]>| inner.kind() == IFLA_INFO_KIND;
        let mut inner = NlasIterator::new(attribute.value()).flatten();
        attribute.kind() == IFLA_LINKINFO
            && inner
                .find(is_kind)
                .is_some_and(|kind| kind.value().split(|byte| *byte == 0).next() == Some(b"dummy"))
    });
    Some(Link {
        index: LinkIndex(index),
        up: flags.contains(LinkFlags::Up),
        is_dummy,
    })
}

pub(crate) fn flags(message: &[u8]) -> Option<LinkFlags> {
    word(message, 8).map(LinkFlags::from_bits_retain)
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..)?.first_chunk().copied();
    bytes.map(u32::from_ne_bytes)
}
