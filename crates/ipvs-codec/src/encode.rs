//! The requests about services and destinations, in the order of libipvs.
//!
//! This is the hot path of a proxy: the heads of the attributes are the same in every message, so they are copied as a
//! whole, and the values are set where they belong.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use crate::types::{Destination, Family, Protocol, Service, ServiceFlags, ServiceKey};
use crate::wire::kinds::{
    DEST_ADDR, DEST_ADDR_FAMILY, DEST_FWD_METHOD, DEST_L_THRESH, DEST_NEST, DEST_PORT,
    DEST_TUN_FLAGS, DEST_TUN_PORT, DEST_TUN_TYPE, DEST_U_THRESH, DEST_WEIGHT, SERVICE_NEST,
    SVC_ADDR, SVC_AF, SVC_FLAGS, SVC_FWMARK, SVC_NETMASK, SVC_PE_NAME, SVC_PORT, SVC_PROTOCOL,
    SVC_SCHED_NAME, SVC_TIMEOUT,
};
use crate::wire::{IpvsCmd, Name};

/// Header, and the nest of a service with protocol, address and port.
const ENDPOINT: [u8; 52] = template(
    4,
    &[
        (SERVICE_NEST, 44, true),
        (SVC_AF, 2, false),
        (SVC_PROTOCOL, 2, false),
        (SVC_ADDR, 16, false),
        (SVC_PORT, 2, false),
    ],
);
/// Header, and the nest of a service with a mark.
const MARK: [u8; 24] = template(
    4,
    &[
        (SERVICE_NEST, 16, true),
        (SVC_AF, 2, false),
        (SVC_FWMARK, 4, false),
    ],
);
/// What stands in the nest of a service behind its names.
const CONFIGURATION: [u8; 28] = template(
    0,
    &[
        (SVC_FLAGS, 8, false),
        (SVC_TIMEOUT, 4, false),
        (SVC_NETMASK, 4, false),
    ],
);
/// The whole of a service with an address and a scheduler of at most three letters, as nearly all have: everything
/// stands in a fixed place.
const SERVICE: [u8; ENDPOINT.len() + 8 + CONFIGURATION.len()] = template(
    4,
    &[
        (SERVICE_NEST, 80, true),
        (SVC_AF, 2, false),
        (SVC_PROTOCOL, 2, false),
        (SVC_ADDR, 16, false),
        (SVC_PORT, 2, false),
        (SVC_SCHED_NAME, 4, false),
        (SVC_FLAGS, 8, false),
        (SVC_TIMEOUT, 4, false),
        (SVC_NETMASK, 4, false),
    ],
);
/// The longest name with its head.
const NAME: usize = 24;
/// The nest that names a destination.
const ADDRESS: [u8; 40] = template(
    0,
    &[
        (DEST_NEST, 36, true),
        (DEST_ADDR_FAMILY, 2, false),
        (DEST_ADDR, 16, false),
        (DEST_PORT, 2, false),
    ],
);
/// The nest of a destination.
const DESTINATION: [u8; 96] = template(
    0,
    &[
        (DEST_NEST, 92, true),
        (DEST_ADDR_FAMILY, 2, false),
        (DEST_ADDR, 16, false),
        (DEST_PORT, 2, false),
        (DEST_FWD_METHOD, 4, false),
        (DEST_WEIGHT, 4, false),
        (DEST_TUN_TYPE, 1, false),
        (DEST_TUN_PORT, 2, false),
        (DEST_TUN_FLAGS, 2, false),
        (DEST_U_THRESH, 4, false),
        (DEST_L_THRESH, 4, false),
    ],
);

/// The heads of attributes with values of these sizes from `at` on, all values zero. What follows a nest stands in it.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler, for the constants above"
)]
const fn template<const N: usize>(mut at: usize, mut attrs: &[(u16, usize, bool)]) -> [u8; N] {
    let mut bytes = [0; N];
    while let [(kind, size, is_nest), rest @ ..] = attrs {
        [bytes[at], bytes[at + 1]] = ((*size + 4) as u16).to_ne_bytes();
        [bytes[at + 2], bytes[at + 3]] = kind.to_ne_bytes();
        at += 4 + if *is_nest {
            0
        } else {
            size.next_multiple_of(4)
        };
        attrs = rest;
    }
    assert!(at == N, "a template is as long as its attributes");
    bytes
}

/// Appends a template; the values in it can be set.
#[inline(always)]
fn append<'a, const N: usize>(out: &'a mut Vec<u8>, template: &[u8; N]) -> Values<'a, N> {
    let start = out.len();
    out.extend_from_slice(template);
    Values::from(start, out)
}

/// The values of a template that was just appended.
struct Values<'a, const N: usize> {
    bytes: Option<&'a mut [u8; N]>,
}

impl<'a, const N: usize> Values<'a, N> {
    #[inline(always)]
    fn from(start: usize, bytes: &'a mut [u8]) -> Self {
        let bytes = bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
        Self { bytes }
    }
}

impl<const N: usize> Values<'_, N> {
    #[inline(always)]
    fn set<const SIZE: usize>(&mut self, at: usize, value: [u8; SIZE]) {
        if let Some(place) = self.part(at).bytes {
            *place = value;
        }
    }

    /// `union nf_inet_addr`: 16 bytes, an IPv4 address in the first four.
    #[inline(always)]
    fn set_address(&mut self, at: usize, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.set(at, v4.octets()),
            IpAddr::V6(v6) => self.set(at, v6.octets()),
        }
    }

    /// What [`ENDPOINT`] leaves open.
    #[inline(always)]
    fn set_endpoint(&mut self, command: IpvsCmd, protocol: Protocol, addr: IpAddr, port: u16) {
        self.set(0, [command.0, 1]);
        self.set(12, Family::of(addr).number().to_ne_bytes());
        self.set(20, protocol.number().to_ne_bytes());
        self.set_address(28, addr);
        self.set(48, port.to_be_bytes());
    }

    /// What [`MARK`] leaves open.
    #[inline(always)]
    fn set_mark(&mut self, command: IpvsCmd, family: Family, mark: NonZeroU32) {
        self.set(0, [command.0, 1]);
        self.set(12, family.number().to_ne_bytes());
        self.set(20, mark.get().to_ne_bytes());
    }

    /// A NUL-terminated string with its head; tells where the next attribute stands.
    #[inline(always)]
    fn set_name<const MAX: usize>(&mut self, at: usize, kind: u16, name: &Name<MAX>) -> usize {
        let (padded, length) = name.padded();
        let size = length.wrapping_add(5);
        let mut place: Values<'_, 20> = self.part(at);
        place.set(0, head(size, kind));
        place.set(4, padded);
        at.wrapping_add(size.wrapping_add(3) & !3)
    }

    /// What [`ADDRESS`] leaves open.
    #[inline(always)]
    fn set_socket_address(&mut self, addr: SocketAddr) {
        self.set(8, Family::of(addr.ip()).number().to_ne_bytes());
        self.set_address(16, addr.ip());
        self.set(36, addr.port().to_be_bytes());
    }

    /// The values from a place on.
    #[inline(always)]
    fn part<const SIZE: usize>(&mut self, at: usize) -> Values<'_, SIZE> {
        let place = self.bytes.as_mut().and_then(|bytes| bytes.get_mut(at..));
        Values {
            bytes: place.and_then(<[u8]>::first_chunk_mut),
        }
    }
}

impl Values<'_, { CONFIGURATION.len() }> {
    /// What [`CONFIGURATION`] leaves open.
    #[inline(always)]
    fn set_configuration(&mut self, service: &Service, mask: ServiceFlags) {
        let [a, b, c, d] = service.flags.bits().to_ne_bytes();
        let [e, f, g, h] = mask.bits().to_ne_bytes();
        self.set(4, [a, b, c, d, e, f, g, h]);
        self.set(16, service.timeout.to_ne_bytes());
        self.set(24, service.netmask.to_wire().to_ne_bytes());
    }
}

impl Values<'_, { DESTINATION.len() }> {
    /// What [`DESTINATION`] leaves open.
    #[inline(always)]
    fn set_destination(&mut self, destination: &Destination) {
        let (kind, port, flags) = destination.tunnel.to_wire();
        self.set_socket_address(destination.addr);
        self.set(44, destination.forward.number().to_ne_bytes());
        self.set(52, destination.weight.to_ne_bytes());
        self.set(60, [kind]);
        self.set(68, port.to_be_bytes());
        self.set(76, flags.to_ne_bytes());
        self.set(84, destination.upper_threshold.to_ne_bytes());
        self.set(92, destination.lower_threshold.to_ne_bytes());
    }
}

/// A message that names a service.
#[inline(always)]
pub(crate) fn about_service(command: IpvsCmd, key: &ServiceKey, out: &mut Vec<u8>) {
    match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => append(out, &ENDPOINT).set_endpoint(command, protocol, addr, port),
        ServiceKey::Fwmark { family, mark } => append(out, &MARK).set_mark(command, family, mark),
    }
}

/// A message that makes or changes a service.
#[inline(always)]
pub(crate) fn service(command: IpvsCmd, service: &Service, mask: ServiceFlags, out: &mut Vec<u8>) {
    let (
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        },
        Some((scheduler, length)),
        None,
    ) = (service.key, service.scheduler.0.short(), &service.pe)
    else {
        return rarer_service(command, service, mask, out);
    };
    let mut values = append(out, &SERVICE);
    values.set_endpoint(command, protocol, addr, port);
    values.set(52, head(length.wrapping_add(5), SVC_SCHED_NAME));
    values.set(56, scheduler);
    values.part(60).set_configuration(service, mask);
}

/// One with a mark, a long name or a persistence engine.
fn rarer_service(command: IpvsCmd, service: &Service, mask: ServiceFlags, out: &mut Vec<u8>) {
    let start = out.len();
    about_service(command, &service.key, out);
    let key_end = out.len();
    let mut values = append(out, &[0; 2 * NAME]);
    let mut length = values.set_name(0, SVC_SCHED_NAME, &service.scheduler.0);
    if let Some(pe) = &service.pe {
        length = values.set_name(length, SVC_PE_NAME, &pe.0);
    }
    out.truncate(key_end.wrapping_add(length));
    append(out, &CONFIGURATION).set_configuration(service, mask);
    let end = out.len();
    // The nest is longer than that of the key.
    let nest = start.wrapping_add(4);
    let head = head(end.wrapping_sub(nest), SERVICE_NEST);
    Values::<4>::from(nest, out).set(0, head);
}

/// The head of an attribute. The length fits: no request is longer than some hundred bytes.
#[inline(always)]
const fn head(length: usize, kind: u16) -> [u8; 4] {
    let [a, b, ..] = length.to_le_bytes();
    let [a, b] = u16::from_le_bytes([a, b]).to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}

/// A message that names a destination.
pub(crate) fn about_destination(
    command: IpvsCmd,
    key: &ServiceKey,
    addr: SocketAddr,
    out: &mut Vec<u8>,
) {
    about_service(command, key, out);
    append(out, &ADDRESS).set_socket_address(addr);
}

/// A message that makes or changes a destination.
#[inline(always)]
pub(crate) fn destination(
    command: IpvsCmd,
    key: &ServiceKey,
    destination: &Destination,
    out: &mut Vec<u8>,
) {
    let ServiceKey::Endpoint {
        protocol,
        addr,
        port,
    } = *key
    else {
        about_service(command, key, out);
        return destination_nest(destination, out);
    };
    // One check of the room and one of the place for both parts.
    const BOTH: usize = ENDPOINT.len() + DESTINATION.len();
    let start = out.len();
    out.reserve(BOTH);
    out.extend_from_slice(&ENDPOINT);
    out.extend_from_slice(&DESTINATION);
    let mut values = Values::<BOTH>::from(start, out);
    values.set_endpoint(command, protocol, addr, port);
    values.part(ENDPOINT.len()).set_destination(destination);
}

/// The nest of a destination.
#[inline(always)]
pub(crate) fn destination_nest(destination: &Destination, out: &mut Vec<u8>) {
    append(out, &DESTINATION).set_destination(destination);
}
