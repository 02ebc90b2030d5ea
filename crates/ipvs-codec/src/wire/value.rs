//! How one attribute value is read and written. Attribute tables name one of these encodings for each attribute.

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

    /// A name of at most three bytes with zeros behind it, and its length.
    #[inline]
    pub(crate) fn short(&self) -> Option<([u8; 4], usize)> {
        let [a, b, c, 0, ..] = self.bytes else {
            return None;
        };
        let zeros = u32::from_le_bytes([a, b, c, 0]).leading_zeros() / 8;
        Some(([a, b, c, 0], 4_usize.wrapping_sub(zeros as usize)))
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
