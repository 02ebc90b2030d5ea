use netlink_packet_core::NLA_TYPE_MASK;

use super::attributes::{OtherAttributes, be32, name, put_be32, put_name, put_value, value};
use super::{Family, KeyType, SetId, TableId, Userdata, Value};
use crate::error::MessageError;
use crate::wire::{attrs, body, flagged_attrs, nest, put};

/// Attributes `NFTA_SET_ELEM_LIST_…` of a message.
mod list {
    pub(super) const TABLE: u16 = 1;
    pub(super) const SET: u16 = 2;
    pub(super) const ENTRIES: u16 = 3;
}

/// Attributes `NFTA_SET_ELEM_…` of an entry.
mod attribute {
    pub(super) const KEY: u16 = 1;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const USERDATA: u16 = 6;
    pub(super) const PAD: u16 = 8;
    pub(super) const KEY_END: u16 = 10;
}

/// `NFTA_LIST_ELEM`.
const LIST_ELEMENT: u16 = 1;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `NFT_SET_ELEM_CATCHALL`.
const CATCH_ALL: u32 = 2;

/// What an entry matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// This value; in a set of intervals of one field, all from it up to the next [`End`](Self::End).
    Value(Value),
    /// In a set of intervals of one field: the first value behind an interval.
    End(Value),
    /// In a set of intervals of several fields: each field from the first value to the second one, both included.
    Range(Value, Value),
    /// Whatever nothing else matches.
    CatchAll,
}

impl Key {
    /// As `nft` writes it.
    ///
    /// ```
    /// use ipvs_netfilter::nftables::{Key, KeyField, KeyType, Value};
    /// let ports = KeyType::of(&[KeyField::Port]).unwrap();
    /// assert_eq!(Key::Range(Value::port(80), Value::port(90)).text(&ports), "80-90");
    /// ```
    #[must_use]
    pub fn text(&self, key: &KeyType) -> String {
        match self {
            Self::Value(value) => key.text(value),
            Self::End(value) => format!("end at {}", key.text(value)),
            Self::Range(first, last) => {
                let (first, last) = (key.text(first), key.text(last));
                let fields = first.split(" . ").zip(last.split(" . "));
                let fields = fields.map(|(first, last)| match first == last {
                    true => first.to_owned(),
                    false => format!("{first}-{last}"),
                });
                fields.collect::<Vec<_>>().join(" . ")
            }
            Self::CatchAll => "*".to_owned(),
        }
    }
}

/// An entry of a set; the kernel says element.
///
/// ```
/// use ipvs_netfilter::nftables::{Entry, Value};
/// let vip = Entry::of(Value::ip([10, 96, 0, 10].into()));
/// assert!(vip.userdata.as_bytes().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// What it matches.
    pub key: Key,
    /// Its comment.
    pub userdata: Userdata,
    /// What else the kernel says of it, such as a timeout.
    pub other: OtherAttributes,
}

impl Entry {
    /// An entry of a single value.
    #[must_use]
    pub fn of(value: Value) -> Self {
        Key::Value(value).into()
    }

    /// Its bytes in a message.
    fn wire_length(&self) -> usize {
        const HEADER: usize = 4;
        const FLAGS: usize = HEADER + 4;
        let padded = |bytes: usize| bytes.next_multiple_of(4).saturating_add(HEADER);
        let key = |value: &Value| padded(value.len()).saturating_add(HEADER);
        let keys = match &self.key {
            Key::Value(value) => key(value),
            Key::End(value) => key(value).saturating_add(FLAGS),
            Key::Range(first, last) => key(first).saturating_add(key(last)),
            Key::CatchAll => FLAGS,
        };
        let userdata = match self.userdata.as_bytes().len() {
            0 => 0,
            length => padded(length),
        };
        let parts = [keys, userdata, self.other.as_bytes().len()];
        parts.into_iter().fold(HEADER, usize::saturating_add)
    }

    fn emit(&self, out: &mut Vec<u8>) {
        nest(out, LIST_ELEMENT, |out| {
            match self.key {
                Key::End(_) => put_be32(out, attribute::FLAGS, INTERVAL_END),
                Key::CatchAll => put_be32(out, attribute::FLAGS, CATCH_ALL),
                Key::Value(_) | Key::Range(..) => {}
            }
            match &self.key {
                Key::Value(value) | Key::End(value) => put_value(out, attribute::KEY, value),
                Key::Range(first, last) => {
                    put_value(out, attribute::KEY, first);
                    put_value(out, attribute::KEY_END, last);
                }
                Key::CatchAll => {}
            }
            if !self.userdata.as_bytes().is_empty() {
                put(out, attribute::USERDATA, self.userdata.as_bytes());
            }
            self.other.emit(out);
        });
    }

    fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        use MessageError::Missing;
        let (mut key, mut key_end, mut flags) = (None, None, 0);
        let mut userdata = Userdata::default();
        let mut other = OtherAttributes::default();
        for attr in flagged_attrs(bytes) {
            let (head, bytes) = attr?;
            let key_of = |name| value(bytes).ok_or(Missing(name));
            match head & NLA_TYPE_MASK {
                attribute::KEY => key = Some(key_of("NFTA_SET_ELEM_KEY")?),
                attribute::KEY_END => key_end = Some(key_of("NFTA_SET_ELEM_KEY_END")?),
                attribute::FLAGS => flags = be32("NFTA_SET_ELEM_FLAGS", bytes)?,
                attribute::USERDATA => {
                    userdata =
                        Userdata::from_bytes(bytes).ok_or(Missing("NFTA_SET_ELEM_USERDATA"))?;
                }
                attribute::PAD => {}
                _ => other.keep(head, bytes),
            }
        }
        let key = match (key, key_end, flags) {
            (Some(value), None, 0) => Key::Value(value),
            (Some(value), None, INTERVAL_END) => Key::End(value),
            (Some(first), Some(last), 0) => Key::Range(first, last),
            (None, None, CATCH_ALL) => Key::CatchAll,
            _ => return Err(Missing("NFTA_SET_ELEM_KEY")),
        };
        Ok(Self {
            key,
            userdata,
            other,
        })
    }

    /// Reads a part of a set's listing from the bytes behind the netlink header, and adds its entries to `found`: the set
    /// that they are of. A large set comes in several messages.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse_list(bytes: &[u8], found: &mut Vec<Self>) -> Result<SetId, MessageError> {
        let family = Family(*bytes.first().ok_or(MessageError::NoHeader)?);
        let (mut table, mut set) = (None, None);
        for attr in attrs(body(bytes)?) {
            match attr? {
                (list::TABLE, value) => table = Some(name("NFTA_SET_ELEM_LIST_TABLE", value)?),
                (list::SET, value) => set = Some(name("NFTA_SET_ELEM_LIST_SET", value)?),
                (list::ENTRIES, entries) => {
                    for entry in attrs(entries) {
                        found.push(Self::parse(entry?.1)?);
                    }
                }
                _ => {}
            }
        }
        use MessageError::Missing;
        let table = TableId {
            family,
            name: table.ok_or(Missing("NFTA_SET_ELEM_LIST_TABLE"))?,
        };
        Ok(table.set(set.ok_or(Missing("NFTA_SET_ELEM_LIST_SET"))?))
    }
}

impl From<Key> for Entry {
    fn from(key: Key) -> Self {
        Self {
            key,
            userdata: Userdata::default(),
            other: OtherAttributes::default(),
        }
    }
}

/// Entries that fit one message: at least one, if there are any.
///
/// ```
/// use ipvs_netfilter::nftables::{Entries, Entry, Value};
/// let entries: Vec<Entry> = (0..=u16::MAX).map(|port| Entry::of(Value::port(port))).collect();
/// let (first, rest) = Entries::split(&entries, 32 * 1024);
/// assert!(!first.as_slice().is_empty() && !rest.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries<'a>(&'a [Entry]);

impl<'a> Entries<'a> {
    /// Bytes of entries that a message has at most, less than the 64 KiB that an attribute can have by the longest entry.
    const MAX: usize = 60 * 1024;

    /// As many as take no more than `bytes` bytes, but at least one, and the rest.
    #[must_use]
    pub fn split(entries: &'a [Entry], bytes: usize) -> (Self, &'a [Entry]) {
        let mut room = bytes.min(Self::MAX);
        let fitting = entries.iter().take_while(|entry| {
            let left = room.checked_sub(entry.wire_length());
            room = left.unwrap_or(room);
            left.is_some()
        });
        let count = fitting.count().max(1).min(entries.len());
        let (first, rest) = entries.split_at_checked(count).unwrap_or((entries, &[]));
        (Self(first), rest)
    }

    /// The entries.
    #[must_use]
    pub const fn as_slice(&self) -> &'a [Entry] {
        self.0
    }

    /// Their bytes in a message.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lengths = self.0.iter().map(Entry::wire_length);
        lengths.fold(0, usize::saturating_add)
    }

    /// The entry at an offset in what [`emit`](Self::emit) writes.
    pub(super) fn at(&self, set: &SetId, offset: usize) -> Option<&'a Entry> {
        let mut bytes = Vec::new();
        put_set(&mut bytes, set);
        // The header of the list.
        bytes.resize(bytes.len().saturating_add(4), 0);
        let mut entries = self.0.iter();
        let before = bytes.len();
        entries.find(|entry| {
            entry.emit(&mut bytes);
            (before..bytes.len()).contains(&offset)
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>, set: &SetId) {
        put_set(out, set);
        nest(out, list::ENTRIES, |out| {
            for entry in self.0 {
                entry.emit(out);
            }
        });
    }
}

/// The attributes that tell which set's entries.
pub(super) fn put_set(out: &mut Vec<u8>, set: &SetId) {
    put_name(out, list::TABLE, &set.table.name);
    put_name(out, list::SET, &set.name);
}
