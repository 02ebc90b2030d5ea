//! How one attribute value is read and written. Attribute tables name one of these encodings for each attribute.

use netlink_packet_core::{NLA_F_NESTED, NLA_TYPE_MASK, Nla};

use crate::error::WireError;

/// Reads and writes the value of one attribute.
///
/// A value shorter than its type is an error; a longer one is read by its prefix, as a newer kernel may have
/// grown it.
pub(crate) trait Encoding {
    /// What the attribute holds.
    type Value;
    /// Bytes of the value, without header and padding.
    fn size(value: &Self::Value) -> usize;
    /// Writes exactly [`size`](Self::size) bytes.
    fn put(value: &Self::Value, buffer: &mut [u8]);
    /// Reads the value; `attr` is named in errors.
    fn get(attr: &'static str, bytes: &[u8]) -> Result<Self::Value, WireError>;
    /// `NLA_F_NESTED` where the sender set it.
    fn flags(_: &Self::Value) -> u16 {
        0
    }
}

/// Copies `bytes` to the front of `buffer`; a buffer that is too short is left as it is.
pub(crate) fn copy(buffer: &mut [u8], bytes: &[u8]) {
    if let Some(front) = buffer.get_mut(..bytes.len()) {
        front.copy_from_slice(bytes);
    }
}

fn prefix<const N: usize>(attr: &'static str, bytes: &[u8]) -> Result<[u8; N], WireError> {
    bytes.first_chunk().copied().ok_or(WireError::Short {
        attr,
        need: N,
        got: bytes.len(),
    })
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $int:ty, $get:ident, $put:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl Encoding for $name {
            type Value = $int;
            fn size(_: &$int) -> usize {
                size_of::<$int>()
            }
            fn put(value: &$int, buffer: &mut [u8]) {
                copy(buffer, &value.$put());
            }
            #[inline]
            fn get(attr: &'static str, bytes: &[u8]) -> Result<$int, WireError> {
                prefix(attr, bytes).map(<$int>::$get)
            }
        }
    )*};
}

integers! {
    U8: u8, from_ne_bytes, to_ne_bytes;
    /// Host byte order.
    U16: u16, from_ne_bytes, to_ne_bytes;
    /// Network byte order (ports).
    U16Be: u16, from_be_bytes, to_be_bytes;
    /// Host byte order.
    U32: u32, from_ne_bytes, to_ne_bytes;
    /// Host byte order.
    U64: u64, from_ne_bytes, to_ne_bytes;
}

/// `union nf_inet_addr`: always written as 16 bytes, an IPv4 address in the first four. The kernel reads shorter
/// ones and pads them with zeros.
pub(crate) enum Address {}

impl Encoding for Address {
    type Value = [u8; 16];
    fn size(_: &[u8; 16]) -> usize {
        16
    }
    fn put(value: &[u8; 16], buffer: &mut [u8]) {
        copy(buffer, value);
    }
    fn get(attr: &'static str, bytes: &[u8]) -> Result<[u8; 16], WireError> {
        let mut address = [0; 16];
        match address.get_mut(..bytes.len()) {
            Some(front) => front.copy_from_slice(bytes),
            None => {
                return Err(WireError::Long {
                    attr,
                    most: 16,
                    got: bytes.len(),
                });
            }
        }
        Ok(address)
    }
}

/// Four bytes in network order.
pub(crate) enum Bytes4 {}

impl Encoding for Bytes4 {
    type Value = [u8; 4];
    fn size(_: &[u8; 4]) -> usize {
        4
    }
    fn put(value: &[u8; 4], buffer: &mut [u8]) {
        copy(buffer, value);
    }
    fn get(attr: &'static str, bytes: &[u8]) -> Result<[u8; 4], WireError> {
        prefix(attr, bytes)
    }
}

/// `struct ip_vs_flags`. The kernel takes a value without a mask and then applies none of its bits.
pub(crate) enum FlagsAndMask {}

impl Encoding for FlagsAndMask {
    type Value = RawFlags;
    fn size(_: &RawFlags) -> usize {
        8
    }
    fn put(value: &RawFlags, buffer: &mut [u8]) {
        let (flags, mask) = buffer.split_at_mut(4.min(buffer.len()));
        copy(flags, &value.flags.to_ne_bytes());
        copy(mask, &value.mask.to_ne_bytes());
    }
    fn get(attr: &'static str, bytes: &[u8]) -> Result<RawFlags, WireError> {
        let flags = U32::get(attr, bytes)?;
        let mask = bytes.get(4..8).map_or(Ok(0), |mask| U32::get(attr, mask))?;
        Ok(RawFlags { flags, mask })
    }
}

/// The flags of a service as they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFlags {
    /// Flag bits, host byte order.
    pub flags: u32,
    /// Bits that take effect; the others keep their old value.
    pub mask: u32,
}

/// A NUL-terminated string of at most `MAX` bytes (16 or fewer), kept in place: `MAX` is 15 for schedulers and interfaces and
/// 16 for persistence engines. Any bytes are possible; the kernel does not promise UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<const MAX: usize> {
    /// Zeros behind the name.
    bytes: [u8; 16],
}

impl<const MAX: usize> Name<MAX> {
    /// The empty name.
    pub const EMPTY: Self = Self { bytes: [0; 16] };

    /// A name, or `None` if it is longer than `MAX` bytes or holds a NUL.
    ///
    /// ```
    /// use ipvs_codec::wire::Name;
    /// assert_eq!(Name::<15>::new(b"rr").unwrap().as_bytes(), b"rr");
    /// assert!(Name::<15>::new(b"a-name-too-long-").is_none());
    /// ```
    #[must_use]
    pub const fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        if name.len() > MAX {
            return None;
        }
        let mut from = name;
        let mut to: &mut [u8] = &mut bytes;
        while let ([byte, from_tail @ ..], [place, to_tail @ ..]) = (from, to) {
            if *byte == 0 {
                return None;
            }
            *place = *byte;
            (from, to) = (from_tail, to_tail);
        }
        Some(Self { bytes })
    }

    /// The bytes of the name, without NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.padded().1).unwrap_or_default()
    }

    /// The name with zeros behind it, and its length.
    #[inline]
    pub(crate) fn padded(&self) -> ([u8; 16], usize) {
        // A name holds no NUL: the zeros behind it are its highest bytes in this order.
        let zeros = u128::from_le_bytes(self.bytes).leading_zeros() / 8;
        (self.bytes, 16_usize.wrapping_sub(zeros as usize))
    }
}

impl<const MAX: usize> std::fmt::Debug for Name<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl<const MAX: usize> Encoding for Name<MAX> {
    type Value = Self;
    fn size(value: &Self) -> usize {
        value.as_bytes().len().saturating_add(1)
    }
    fn put(value: &Self, buffer: &mut [u8]) {
        buffer.fill(0);
        copy(buffer, value.as_bytes());
    }
    #[inline]
    fn get(attr: &'static str, bytes: &[u8]) -> Result<Self, WireError> {
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(WireError::Unterminated { attr })?;
        let mut name = Self::EMPTY;
        let within = name.bytes.get_mut(..MAX).unwrap_or_default();
        let place = within.get_mut(..end).ok_or(WireError::Long {
            attr,
            most: MAX.saturating_add(1),
            got: bytes.len(),
        })?;
        place.copy_from_slice(bytes.get(..end).unwrap_or_default());
        Ok(name)
    }
}

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
