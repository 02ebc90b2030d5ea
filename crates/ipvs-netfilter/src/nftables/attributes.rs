use std::fmt;

use super::{Name, Value};
use crate::error::MessageError;
use crate::wire::{attrs, flagged_attrs, nest, put, put_str};

/// Attributes that this crate gives no meaning, as the kernel sent them. They are written again as they were, and two
/// objects that differ in them are not equal.
///
/// ```
/// use ipvs_netfilter::nftables::{Family, Table, TableId};
/// let table = Table::new(TableId { family: Family::IPV4, name: "t".parse().unwrap() });
/// assert!(table.other.is_empty());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OtherAttributes(Vec<u8>);

impl OtherAttributes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes one behind the other, with their headers.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn keep(&mut self, head: u16, value: &[u8]) {
        put(&mut self.0, head, value);
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend(&self.0);
    }
}

impl fmt::Debug for OtherAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attrs = flagged_attrs(&self.0).flatten();
        f.debug_map().entries(attrs).finish()
    }
}

/// An object as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What it is.
    pub object: T,
    /// The kernel's number of it, which no other object of its kind has in this table.
    pub handle: u64,
}

/// The value of an attribute of exactly so many bytes.
pub(super) fn exact<const N: usize>(
    name: &'static str,
    value: &[u8],
) -> Result<[u8; N], MessageError> {
    value.try_into().or(Err(MessageError::Missing(name)))
}

pub(super) fn be32(name: &'static str, value: &[u8]) -> Result<u32, MessageError> {
    exact(name, value).map(u32::from_be_bytes)
}

pub(super) fn be64(name: &'static str, value: &[u8]) -> Result<u64, MessageError> {
    exact(name, value).map(u64::from_be_bytes)
}

pub(super) fn put_be32(out: &mut Vec<u8>, kind: u16, value: u32) {
    put(out, kind, &value.to_be_bytes());
}

/// A text without its NUL.
pub(super) fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn name(attribute: &'static str, value: &[u8]) -> Result<Name, MessageError> {
    Name::from_bytes(text(value)).ok_or(MessageError::Missing(attribute))
}

pub(super) fn put_name(out: &mut Vec<u8>, kind: u16, name: &Name) {
    put_str(out, kind, name.as_bytes());
}

/// `NFTA_DATA_VALUE`.
const DATA_VALUE: u16 = 1;

/// A nest around a value.
pub(super) fn put_value(out: &mut Vec<u8>, kind: u16, value: &Value) {
    nest(out, kind, |out| put(out, DATA_VALUE, value.as_bytes()));
}

/// The value in a nest, if there is nothing else in it.
pub(super) fn value(data: &[u8]) -> Option<Value> {
    let [bytes] = only(data)?;
    Value::from_bytes(bytes?)
}

/// The values of the attributes 1 to N. None if there is another one, one twice, or a broken one: what is not understood as
/// a whole is not understood at all.
pub(super) fn only<const N: usize>(data: &[u8]) -> Option<[Option<&[u8]>; N]> {
    let mut found = [None; N];
    for attr in attrs(data) {
        let (kind, value) = attr.ok()?;
        let place = found.get_mut(usize::from(kind).checked_sub(1)?)?;
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}
