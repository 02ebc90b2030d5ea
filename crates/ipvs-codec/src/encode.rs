//! The attributes of services and destinations, written in the order of libipvs.
//!
//! This is the hot path of a proxy: a message is put together in place, in pieces whose sizes the compiler knows, and
//! appended at once.

use std::net::{IpAddr, SocketAddr};

use crate::types::{Destination, Family, Service, ServiceFlags, ServiceKey};
use crate::wire::kinds::{
    DEST_ADDR, DEST_ADDR_FAMILY, DEST_FWD_METHOD, DEST_L_THRESH, DEST_NEST, DEST_PORT,
    DEST_TUN_FLAGS, DEST_TUN_PORT, DEST_TUN_TYPE, DEST_U_THRESH, DEST_WEIGHT, SERVICE_NEST,
    SVC_ADDR, SVC_AF, SVC_FLAGS, SVC_FWMARK, SVC_NETMASK, SVC_PE_NAME, SVC_PORT, SVC_PROTOCOL,
    SVC_SCHED_NAME, SVC_TIMEOUT,
};
use crate::wire::{IpvsCmd, Name};

/// The generic netlink header.
const HEADER: usize = 4;
/// The head of a nest, family, protocol, address and port.
const KEY: usize = 4 + 8 + 8 + 20 + 8;
/// A key, the scheduler's name at its longest, flags, timeout and mask. The compiler copies up to 128 bytes in place.
const SERVICE: usize = KEY + 24 + 12 + 8 + 8;
/// The name of a persistence engine at its longest.
const ENGINE: usize = 24;
/// The head of a nest, family, address and port.
const ADDRESS: usize = 4 + 8 + 20 + 8;
/// An address and seven attributes of up to four bytes.
const DESTINATION: usize = ADDRESS + 7 * 8;

/// A message, or a part of one, of at most `SIZE` bytes that is put together before it is appended.
struct Message<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
}

/// The head of an attribute.
#[inline(always)]
const fn head(length: usize, kind: u16) -> [u8; 4] {
    let [a, b, ..] = length.to_le_bytes();
    let [a, b] = u16::from_le_bytes([a, b]).to_ne_bytes();
    let [c, d] = kind.to_ne_bytes();
    [a, b, c, d]
}

impl<const SIZE: usize> Message<SIZE> {
    #[inline(always)]
    fn new(command: IpvsCmd) -> Self {
        let mut message = Self::part();
        message.put([command.0, 1, 0, 0]);
        message
    }

    #[inline(always)]
    const fn part() -> Self {
        Self {
            bytes: [0; SIZE],
            length: 0,
        }
    }

    /// Writes a nest: what `fill` writes, behind its head.
    #[inline(always)]
    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.length;
        self.put([0; 4]);
        fill(self);
        let length = self.length.wrapping_sub(start);
        let place = self.bytes.get_mut(start..).unwrap_or_default();
        if let Some(place) = place.first_chunk_mut() {
            *place = head(length, kind);
        }
    }

    #[inline(always)]
    fn append(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // All of it, as the size is known, and back to what is used.
        out.extend_from_slice(&self.bytes);
        out.truncate(start.wrapping_add(self.length));
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, piece: [u8; N]) {
        let rest = self.bytes.get_mut(self.length..).unwrap_or_default();
        if let Some(place) = rest.first_chunk_mut() {
            *place = piece;
            self.length = self.length.wrapping_add(N);
        }
    }

    /// A NUL-terminated string.
    #[inline(always)]
    fn put_name<const MAX: usize>(&mut self, kind: u16, name: &Name<MAX>) {
        let (padded, length) = name.padded();
        // The head, the name with its NUL, and zeros.
        let size = length.wrapping_add(5);
        let start = self.length;
        self.put(head(size, kind));
        self.put(padded);
        self.length = start.wrapping_add(size.wrapping_add(3) & !3);
    }
}

/// An attribute of one byte.
#[inline(always)]
const fn attr_u8(kind: u16, value: u8) -> [u8; 8] {
    let [c, d] = kind.to_ne_bytes();
    let [a, b] = 5_u16.to_ne_bytes();
    [a, b, c, d, value, 0, 0, 0]
}

/// An attribute of two bytes, in the byte order that they are in.
#[inline(always)]
const fn attr_u16(kind: u16, [x, y]: [u8; 2]) -> [u8; 8] {
    let [c, d] = kind.to_ne_bytes();
    let [a, b] = 6_u16.to_ne_bytes();
    [a, b, c, d, x, y, 0, 0]
}

#[inline(always)]
const fn attr_u32(kind: u16, value: u32) -> [u8; 8] {
    let [c, d] = kind.to_ne_bytes();
    let [a, b] = 8_u16.to_ne_bytes();
    let [w, x, y, z] = value.to_ne_bytes();
    [a, b, c, d, w, x, y, z]
}

/// `union nf_inet_addr`: 16 bytes, an IPv4 address in the first four.
#[inline(always)]
fn attr_address(kind: u16, address: IpAddr) -> [u8; 20] {
    let mut attr = [0; 20];
    let [c, d] = kind.to_ne_bytes();
    let [a, b] = 20_u16.to_ne_bytes();
    attr[..4].copy_from_slice(&[a, b, c, d]);
    match address {
        IpAddr::V4(v4) => attr[4..8].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => attr[4..].copy_from_slice(&v6.octets()),
    }
    attr
}

#[inline(always)]
fn put_key<const SIZE: usize>(message: &mut Message<SIZE>, key: &ServiceKey) {
    message.put(attr_u16(SVC_AF, key.family().number().to_ne_bytes()));
    match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => {
            message.put(attr_u16(SVC_PROTOCOL, protocol.number().to_ne_bytes()));
            message.put(attr_address(SVC_ADDR, addr));
            message.put(attr_u16(SVC_PORT, port.to_be_bytes()));
        }
        ServiceKey::Fwmark { mark, .. } => message.put(attr_u32(SVC_FWMARK, mark.get())),
    }
}

/// A message that names a service.
pub(crate) fn about_service(command: IpvsCmd, key: &ServiceKey, out: &mut Vec<u8>) {
    let mut message = Message::<{ HEADER + KEY }>::new(command);
    message.nest(SERVICE_NEST, |message| put_key(message, key));
    message.append(out);
}

/// A message that makes or changes a service.
pub(crate) fn service(command: IpvsCmd, service: &Service, mask: ServiceFlags, out: &mut Vec<u8>) {
    if service.pe.is_some() {
        sized_service::<{ HEADER + SERVICE + ENGINE }>(command, service, mask, out);
    } else {
        sized_service::<{ HEADER + SERVICE }>(command, service, mask, out);
    }
}

#[inline(always)]
fn sized_service<const SIZE: usize>(
    command: IpvsCmd,
    service: &Service,
    mask: ServiceFlags,
    out: &mut Vec<u8>,
) {
    let mut message = Message::<SIZE>::new(command);
    message.nest(SERVICE_NEST, |message| {
        put_key(message, &service.key);
        message.put_name(SVC_SCHED_NAME, &service.scheduler.0);
        if let Some(pe) = &service.pe {
            message.put_name(SVC_PE_NAME, &pe.0);
        }
        message.put(head(12, SVC_FLAGS));
        message.put(service.flags.bits().to_ne_bytes());
        message.put(mask.bits().to_ne_bytes());
        message.put(attr_u32(SVC_TIMEOUT, service.timeout));
        message.put(attr_u32(SVC_NETMASK, service.netmask.to_wire()));
    });
    message.append(out);
}

/// A message that names a destination.
pub(crate) fn about_destination(
    command: IpvsCmd,
    key: &ServiceKey,
    addr: SocketAddr,
    out: &mut Vec<u8>,
) {
    about_service(command, key, out);
    let mut part = Message::<ADDRESS>::part();
    part.nest(DEST_NEST, |part| put_address(part, addr));
    part.append(out);
}

/// A message that makes or changes a destination.
pub(crate) fn destination(
    command: IpvsCmd,
    key: &ServiceKey,
    destination: &Destination,
    out: &mut Vec<u8>,
) {
    about_service(command, key, out);
    let mut part = Message::<DESTINATION>::part();
    part.nest(DEST_NEST, |part| {
        put_address(part, destination.addr);
        part.put(attr_u32(DEST_FWD_METHOD, destination.forward.number()));
        part.put(attr_u32(DEST_WEIGHT, destination.weight));
        let (kind, port, flags) = destination.tunnel.to_wire();
        part.put(attr_u8(DEST_TUN_TYPE, kind));
        part.put(attr_u16(DEST_TUN_PORT, port.to_be_bytes()));
        part.put(attr_u16(DEST_TUN_FLAGS, flags.to_ne_bytes()));
        part.put(attr_u32(DEST_U_THRESH, destination.upper_threshold));
        part.put(attr_u32(DEST_L_THRESH, destination.lower_threshold));
    });
    part.append(out);
}

#[inline(always)]
fn put_address<const SIZE: usize>(message: &mut Message<SIZE>, addr: SocketAddr) {
    let family = Family::of(addr.ip());
    message.put(attr_u16(DEST_ADDR_FAMILY, family.number().to_ne_bytes()));
    message.put(attr_address(DEST_ADDR, addr.ip()));
    message.put(attr_u16(DEST_PORT, addr.port().to_be_bytes()));
}
