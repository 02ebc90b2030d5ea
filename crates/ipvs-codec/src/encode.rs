//! The requests about services and destinations, in the order of libipvs.
//!
//! This is the hot path of a proxy: the heads of the attributes are the same in every message, so they are copied as a
//! whole, and the values are set where they belong.

use std::net::{IpAddr, SocketAddr};

use crate::types::{Destination, Family, Service, ServiceFlags, ServiceKey};
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
    let bytes = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
    Values { bytes }
}

/// The values of a template that was just appended.
struct Values<'a, const N: usize> {
    bytes: Option<&'a mut [u8; N]>,
}

impl<const N: usize> Values<'_, N> {
    #[inline(always)]
    fn set<const SIZE: usize>(&mut self, at: usize, value: [u8; SIZE]) {
        let place = self.bytes.as_mut().and_then(|bytes| bytes.get_mut(at..));
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
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
}

/// A message that names a service.
#[inline]
pub(crate) fn about_service(command: IpvsCmd, key: &ServiceKey, out: &mut Vec<u8>) {
    let header = [command.0, 1];
    let family = key.family().number().to_ne_bytes();
    match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => {
            let mut values = append(out, &ENDPOINT);
            values.set(0, header);
            values.set(12, family);
            values.set(20, protocol.number().to_ne_bytes());
            values.set_address(28, addr);
            values.set(48, port.to_be_bytes());
        }
        ServiceKey::Fwmark { mark, .. } => {
            let mut values = append(out, &MARK);
            values.set(0, header);
            values.set(12, family);
            values.set(20, mark.get().to_ne_bytes());
        }
    }
}

/// A message that makes or changes a service.
pub(crate) fn service(command: IpvsCmd, service: &Service, mask: ServiceFlags, out: &mut Vec<u8>) {
    let start = out.len();
    about_service(command, &service.key, out);
    append_name(SVC_SCHED_NAME, &service.scheduler.0, out);
    if let Some(pe) = &service.pe {
        append_name(SVC_PE_NAME, &pe.0, out);
    }
    let mut values = append(out, &CONFIGURATION);
    values.set(4, service.flags.bits().to_ne_bytes());
    values.set(8, mask.bits().to_ne_bytes());
    values.set(16, service.timeout.to_ne_bytes());
    values.set(24, service.netmask.to_wire().to_ne_bytes());
    // The nest is longer than that of the key.
    let nest = start.wrapping_add(4);
    let length = length_field(out.len().wrapping_sub(nest));
    if let Some(place) = out.get_mut(nest..).and_then(<[u8]>::first_chunk_mut) {
        *place = length;
    }
}

/// A NUL-terminated string.
#[inline(always)]
fn append_name<const MAX: usize>(kind: u16, name: &Name<MAX>, out: &mut Vec<u8>) {
    let (padded, length) = name.padded();
    // The head, the name with its NUL, and zeros up to the next attribute.
    let size = length.wrapping_add(5);
    let start = out.len();
    let mut values = append(out, &[0; 24]);
    values.set(0, length_field(size));
    values.set(2, kind.to_ne_bytes());
    values.set(4, padded);
    out.truncate(start.wrapping_add(size.wrapping_add(3) & !3));
}

/// A length that fits: no request is longer than some hundred bytes.
#[inline(always)]
const fn length_field(length: usize) -> [u8; 2] {
    let [a, b, ..] = length.to_le_bytes();
    u16::from_le_bytes([a, b]).to_ne_bytes()
}

/// A message that names a destination.
pub(crate) fn about_destination(
    command: IpvsCmd,
    key: &ServiceKey,
    addr: SocketAddr,
    out: &mut Vec<u8>,
) {
    about_service(command, key, out);
    let mut values = append(out, &ADDRESS);
    set_socket_address(&mut values, addr);
}

/// A message that makes or changes a destination.
pub(crate) fn destination(
    command: IpvsCmd,
    key: &ServiceKey,
    destination: &Destination,
    out: &mut Vec<u8>,
) {
    about_service(command, key, out);
    destination_nest(destination, out);
}

/// The nest of a destination.
#[inline(always)]
pub(crate) fn destination_nest(destination: &Destination, out: &mut Vec<u8>) {
    let (kind, port, flags) = destination.tunnel.to_wire();
    let mut values = append(out, &DESTINATION);
    set_socket_address(&mut values, destination.addr);
    values.set(44, destination.forward.number().to_ne_bytes());
    values.set(52, destination.weight.to_ne_bytes());
    values.set(60, [kind]);
    values.set(68, port.to_be_bytes());
    values.set(76, flags.to_ne_bytes());
    values.set(84, destination.upper_threshold.to_ne_bytes());
    values.set(92, destination.lower_threshold.to_ne_bytes());
}

#[inline(always)]
fn set_socket_address<const N: usize>(values: &mut Values<'_, N>, addr: SocketAddr) {
    values.set(8, Family::of(addr.ip()).number().to_ne_bytes());
    values.set_address(16, addr.ip());
    values.set(36, addr.port().to_be_bytes());
}
