//! Attributes of netlink messages, written and read.

use netlink_packet_core::{NLA_F_NESTED, NLA_F_NET_BYTEORDER, NLA_TYPE_MASK};

use crate::error::MessageError;

/// Writes an attribute and its padding. Values here are far below the 64 KiB of the length field.
pub(crate) fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes an attribute that the receiver wants flagged as network byte order.
pub(crate) fn put_be(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put(out, kind | NLA_F_NET_BYTEORDER, value);
}

/// Writes a string with a NUL behind it.
pub(crate) fn put_str(out: &mut Vec<u8>, kind: u16, value: impl AsRef<[u8]>) {
    let start = out.len();
    put(out, kind, &[]);
    out.extend(value.as_ref());
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

/// What stands behind the netfilter header, which is four bytes.
pub(crate) fn body(message: &[u8]) -> Result<&[u8], MessageError> {
    message.get(4..).ok_or(MessageError::NoHeader)
}

/// An attribute: its kind without flags, and its value.
pub(crate) type Attr<'a> = (u16, &'a [u8]);

/// The attributes of a message or a nest; ends after the first broken one.
pub(crate) fn attrs(bytes: &[u8]) -> impl Iterator<Item = Result<Attr<'_>, MessageError>> {
    flagged_attrs(bytes).map(|attr| attr.map(|(head, value)| (head & NLA_TYPE_MASK, value)))
}

/// The same, each kind with its flags.
pub(crate) fn flagged_attrs(
    mut bytes: &[u8],
) -> impl Iterator<Item = Result<Attr<'_>, MessageError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let split = split(bytes);
        bytes = split.map(|(_, rest)| rest).unwrap_or_default();
        Some(
            split
                .map(|(attr, _)| attr)
                .ok_or(MessageError::BrokenAttribute),
        )
    })
}

fn split(bytes: &[u8]) -> Option<(Attr<'_>, &[u8])> {
    let [a, b, c, d] = *bytes.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([a, b]));
    let value = bytes.get(4..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(((u16::from_ne_bytes([c, d]), value), rest))
}
