//! Attributes one behind the other: read raw, kept whole, written.

use netlink_packet_core::{NLA_F_NESTED, NLA_TYPE_MASK, Nla};

use super::value::{Encoding, copy};
use crate::error::WireError;

/// A nest of attributes in the order of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nest<A> {
    /// The attributes.
    pub attrs: Vec<A>,
    /// Whether the sender set `NLA_F_NESTED`. The kernel takes both and never sets it itself.
    pub flagged: bool,
    /// Bytes behind the last attribute that are none. The kernel logs them and goes on.
    pub leftover: Vec<u8>,
}

impl<A> From<Vec<A>> for Nest<A> {
    fn from(attrs: Vec<A>) -> Self {
        Self {
            attrs,
            flagged: true,
            leftover: Vec::new(),
        }
    }
}

impl<A: Attribute> Encoding for Nest<A> {
    type Value = Self;
    fn size(value: &Self) -> usize {
        whole_len(&value.attrs, &value.leftover)
    }
    fn put(value: &Self, buffer: &mut [u8]) {
        emit_whole(&value.attrs, &value.leftover, buffer);
    }
    fn get(_: &'static str, bytes: &[u8]) -> Result<Self, WireError> {
        let (attrs, leftover) = parse_whole(bytes);
        Ok(Self {
            attrs,
            flagged: false,
            leftover,
        })
    }
    fn flags(value: &Self) -> u16 {
        if value.flagged { NLA_F_NESTED } else { 0 }
    }
}

/// An attribute as it lies in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawAttr<'a> {
    /// Kind with flags.
    pub(crate) head: u16,
    pub(crate) value: &'a [u8],
}

impl RawAttr<'_> {
    /// The kind without flags.
    #[inline]
    pub(crate) const fn kind(&self) -> u16 {
        self.head & NLA_TYPE_MASK
    }

    pub(crate) const fn is_nested(&self) -> bool {
        self.head & NLA_F_NESTED != 0
    }
}

/// An attribute of one space.
pub(crate) trait Attribute: Nla + Sized {
    /// Reads the value; a longer one than today's by its prefix. An unknown kind is kept as it is.
    fn read(raw: &RawAttr<'_>) -> Result<Self, WireError>;
    /// Keeps an attribute byte for byte, whatever its kind and value.
    fn opaque(raw: &RawAttr<'_>) -> Self;

    /// The value if writing it gives the same bytes, else the bytes.
    fn keep(raw: &RawAttr<'_>) -> Self {
        match Self::read(raw) {
            Ok(attr) if attr.value_len() == raw.value.len() && attr.kind() == raw.head => attr,
            _ => Self::opaque(raw),
        }
    }
}

/// The attributes of a nest, and what is left behind the last whole one.
pub(crate) struct RawAttrs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RawAttrs<'a> {
    type Item = RawAttr<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawAttr<'a>> {
        let [a, b, c, d] = *self.rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.rest.get(4..length)?;
        let padded = length.wrapping_add(3) & !3;
        self.rest = self.rest.get(padded..).unwrap_or_default();
        Some(RawAttr {
            head: u16::from_ne_bytes([c, d]),
            value,
        })
    }
}

impl<'a> RawAttrs<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

/// Gives every attribute of a nest to `each`; anything else in it is an error.
#[inline]
pub(crate) fn for_each_raw<'a, E: From<WireError>>(
    within: &'static str,
    bytes: &'a [u8],
    mut each: impl FnMut(RawAttr<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut attrs = RawAttrs::new(bytes);
    for raw in &mut attrs {
        each(raw)?;
    }
    if attrs.rest.is_empty() {
        Ok(())
    } else {
        Err(WireError::BrokenAttribute { within }.into())
    }
}

/// The attributes and what is left.
pub(crate) fn parse_whole<A: Attribute>(bytes: &[u8]) -> (Vec<A>, Vec<u8>) {
    let mut raw = RawAttrs::new(bytes);
    let attrs = (&mut raw).map(|raw| A::keep(&raw)).collect();
    (attrs, raw.rest.to_vec())
}

pub(crate) fn whole_len<A: Nla>(attrs: &[A], leftover: &[u8]) -> usize {
    netlink_packet_core::Emitable::buffer_len(&attrs).saturating_add(leftover.len())
}

pub(crate) fn emit_whole<A: Nla>(attrs: &[A], leftover: &[u8], buffer: &mut [u8]) {
    let at = buffer.len().saturating_sub(leftover.len());
    let (front, back) = buffer.split_at_mut(at);
    emit_attrs(attrs, front);
    copy(back, leftover);
}

/// Writes attributes one behind the other. What `Emitable` does, but it loses `NLA_F_NET_BYTEORDER` where
/// `NLA_F_NESTED` is set too, which no sane sender does and a lossless layer keeps.
fn emit_attrs<A: Nla>(attrs: &[A], mut buffer: &mut [u8]) {
    for attr in attrs {
        let size = attr.value_len();
        let whole = size.next_multiple_of(4).saturating_add(4).min(buffer.len());
        let (place, rest) = buffer.split_at_mut(whole);
        write_attr(attr, size, place);
        buffer = rest;
    }
}

/// Writes one attribute with its padding to a place of its size.
#[inline]
pub(crate) fn write_attr(attr: &impl Nla, size: usize, place: &mut [u8]) {
    let length = u16::try_from(size.saturating_add(4)).unwrap_or(u16::MAX);
    let Some((header, value)) = place.split_first_chunk_mut::<4>() else {
        return;
    };
    let [a, b] = length.to_ne_bytes();
    let [c, d] = attr.kind().to_ne_bytes();
    *header = [a, b, c, d];
    if let Some((value, padding)) = value.split_at_mut_checked(size) {
        attr.emit_value(value);
        padding.fill(0);
    }
}
