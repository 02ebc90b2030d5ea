//! Numbers of `include/uapi/linux/netfilter/ipset/ip_set.h` and the writing of attributes.

use netlink_packet_core::{NLA_F_NESTED, NLA_F_NET_BYTEORDER, NlaBuffer, NlasIterator};

use super::listing::ListingError;

/// `NFNL_SUBSYS_IPSET`.
pub(crate) const SUBSYSTEM: u8 = 6;
/// Protocol 6 is understood by every kernel since 2.6.39; 7 adds nothing that is needed here.
pub(crate) const PROTOCOL: u8 = 6;

/// Attributes of a message.
pub(crate) mod message {
    pub(crate) const PROTOCOL: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const TYPE_NAME: u16 = 3;
    pub(crate) const REVISION: u16 = 4;
    pub(crate) const FAMILY: u16 = 5;
    pub(crate) const DATA: u16 = 7;
    pub(crate) const ADT: u16 = 8;
}

/// Attributes of a `DATA` nest.
pub(crate) mod data {
    pub(crate) const IP: u16 = 1;
    pub(crate) const PORT: u16 = 4;
    pub(crate) const PORT_TO: u16 = 5;
    pub(crate) const PROTO: u16 = 7;
    pub(crate) const HASH_SIZE: u16 = 18;
    pub(crate) const MAX_ELEMENTS: u16 = 19;
    pub(crate) const IP2: u16 = 20;
    pub(crate) const CIDR2: u16 = 21;
}

/// Attributes of an address nest.
pub(crate) mod address {
    pub(crate) const IPV4: u16 = 1;
    pub(crate) const IPV6: u16 = 2;
}

/// Writes an attribute and its padding. Values here are far below the 64 KiB of the length field.
pub(crate) fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes an attribute that ipset wants flagged as network byte order.
pub(crate) fn put_be(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put(out, kind | NLA_F_NET_BYTEORDER, value);
}

/// Writes a NUL-terminated string.
pub(crate) fn put_str(out: &mut Vec<u8>, kind: u16, value: &str) {
    let start = out.len();
    put(out, kind, &[]);
    out.extend(value.as_bytes());
    out.push(0);
    patch(out, start);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes a nest.
pub(crate) fn nest(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put(out, kind | NLA_F_NESTED, &[]);
    fill(out);
    patch(out, start);
}

/// Sets the length of the attribute at `start` to reach to the end.
fn patch(out: &mut [u8], start: usize) {
    let length = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *field = length.to_ne_bytes();
    }
}

/// The attributes of a message or a nest; ends after the first broken one.
pub(crate) fn attrs(bytes: &[u8]) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, ListingError>> {
    NlasIterator::new(bytes).map(|attr| attr.or(Err(ListingError::BrokenAttribute)))
}
