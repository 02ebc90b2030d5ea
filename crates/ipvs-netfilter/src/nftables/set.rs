use std::fmt;

use netlink_packet_core::NLA_TYPE_MASK;

use super::attributes::{Listed, OtherAttributes, be32, be64, name, put_be32, put_name};
use super::{Family, KeyType, SetId, TableId, Userdata};
use crate::error::MessageError;
use crate::wire::{attrs, body, flagged_attrs, nest, put};

/// Attributes `NFTA_SET_…`.
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const KEY_LENGTH: u16 = 5;
    pub(super) const DESCRIPTION: u16 = 9;
    pub(super) const ID: u16 = 10;
    pub(super) const USERDATA: u16 = 13;
    pub(super) const PAD: u16 = 14;
    pub(super) const HANDLE: u16 = 16;
    /// The kernel's implementation and how many entries there are, which newer kernels tell.
    pub(super) const TYPE: u16 = 19;
    pub(super) const COUNT: u16 = 20;
}

/// Attributes `NFTA_SET_DESC_…`.
mod description {
    pub(super) const SIZE: u16 = 1;
    pub(super) const CONCAT: u16 = 2;
}

/// `NFTA_LIST_ELEM`, and within it `NFTA_SET_FIELD_LEN`.
const LIST_ELEMENT: u16 = 1;
const FIELD_LENGTH: u16 = 1;

/// A set with a name.
///
/// ```
/// use ipvs_netfilter::nftables::{Family, KeyField, KeyType, Set, TableId};
/// let table = TableId { family: Family::IPV4, name: "proxy".parse().unwrap() };
/// let key = KeyType::of(&[KeyField::Ipv4, KeyField::Protocol, KeyField::Port, KeyField::Ipv4]).unwrap();
/// let set = Set::of_intervals(table.set("source-ranges".parse().unwrap()), &key);
/// assert!(set.flags & Set::INTERVAL != 0);
/// assert_eq!(set.key.length, 16); // each field takes whole registers of four bytes
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its table and name.
    pub id: SetId,
    /// What its entries are.
    pub key: KeyType,
    /// Its flags (`NFT_SET_…`).
    pub flags: u32,
    /// Lengths of the key's fields in bytes, where the set has intervals of several fields; else none.
    pub field_lengths: Vec<u32>,
    /// Entries that it holds at most.
    pub size: Option<u32>,
    /// Its comment, and hints for `nft list`.
    pub userdata: Userdata,
    /// What else the kernel says of it, such as a timeout.
    pub other: OtherAttributes,
}

impl Set {
    /// Its entries may be intervals (`NFT_SET_INTERVAL`).
    pub const INTERVAL: u32 = 4;
    /// Its entries are intervals of several fields (`NFT_SET_CONCAT`).
    pub const CONCAT: u32 = 0x80;

    /// A set of single values.
    #[must_use]
    pub fn new(id: SetId, key: &KeyType) -> Self {
        Self {
            id,
            key: *key,
            flags: 0,
            field_lengths: Vec::new(),
            size: None,
            userdata: key.userdata(),
            other: OtherAttributes::default(),
        }
    }

    /// A set of intervals. With several fields each has its own; with one an interval is two entries, its first value and
    /// the first behind it.
    #[must_use]
    pub fn of_intervals(id: SetId, key: &KeyType) -> Self {
        let mut set = Self::new(id, key);
        set.flags |= Self::INTERVAL;
        let lengths = key.fields().unwrap_or_default();
        if lengths.len() > 1 {
            set.flags |= Self::CONCAT;
            set.field_lengths = lengths.iter().map(|field| field.length()).collect();
        }
        set
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        put_id(out, &self.id);
        put_be32(out, attribute::FLAGS, self.flags);
        put_be32(out, attribute::KEY_TYPE, self.key.number);
        put_be32(out, attribute::KEY_LENGTH, self.key.length);
        // The kernel wants a number by which other messages of the transaction may mean the set; here they mean it by name.
        put_be32(out, attribute::ID, 1);
        if self.size.is_some() || !self.field_lengths.is_empty() {
            nest(out, attribute::DESCRIPTION, |out| {
                self.emit_description(out)
            });
        }
        if !self.userdata.as_bytes().is_empty() {
            put(out, attribute::USERDATA, self.userdata.as_bytes());
        }
        self.other.emit(out);
    }

    fn emit_description(&self, out: &mut Vec<u8>) {
        if let Some(size) = self.size {
            put_be32(out, description::SIZE, size);
        }
        if self.field_lengths.is_empty() {
            return;
        }
        nest(out, description::CONCAT, |out| {
            for length in &self.field_lengths {
                nest(out, LIST_ELEMENT, |out| {
                    put_be32(out, FIELD_LENGTH, *length)
                });
            }
        });
    }

    /// Reads a set from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Listed<Self>, MessageError> {
        use MessageError::Missing;
        let family = Family(*bytes.first().ok_or(MessageError::NoHeader)?);
        let (mut table, mut found, mut handle) = (None, None, 0);
        let (mut flags, mut number, mut length) = (0, 0, None);
        let (mut size, mut field_lengths) = (None, Vec::new());
        let mut userdata = Userdata::default();
        let mut other = OtherAttributes::default();
        for attr in flagged_attrs(body(bytes)?) {
            let (head, value) = attr?;
            match head & NLA_TYPE_MASK {
                attribute::TABLE => table = Some(name("NFTA_SET_TABLE", value)?),
                attribute::NAME => found = Some(name("NFTA_SET_NAME", value)?),
                attribute::FLAGS => flags = be32("NFTA_SET_FLAGS", value)?,
                attribute::KEY_TYPE => number = be32("NFTA_SET_KEY_TYPE", value)?,
                attribute::KEY_LENGTH => length = Some(be32("NFTA_SET_KEY_LEN", value)?),
                attribute::HANDLE => handle = be64("NFTA_SET_HANDLE", value)?,
                attribute::DESCRIPTION => (size, field_lengths) = parse_description(value)?,
                attribute::USERDATA => {
                    userdata = Userdata::from_bytes(value).ok_or(Missing("NFTA_SET_USERDATA"))?;
                }
                attribute::ID | attribute::PAD | attribute::TYPE | attribute::COUNT => {}
                _ => other.keep(head, value),
            }
        }
        let table = TableId {
            family,
            name: table.ok_or(Missing("NFTA_SET_TABLE"))?,
        };
        let key = KeyType {
            number,
            length: length.ok_or(Missing("NFTA_SET_KEY_LEN"))?,
        };
        Ok(Listed {
            object: Self {
                id: table.set(found.ok_or(Missing("NFTA_SET_NAME"))?),
                key,
                flags,
                field_lengths,
                size,
                userdata,
                other,
            },
            handle,
        })
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.id, self.key)
    }
}

fn parse_description(bytes: &[u8]) -> Result<(Option<u32>, Vec<u32>), MessageError> {
    let (mut size, mut lengths) = (None, Vec::new());
    for attr in attrs(bytes) {
        match attr? {
            (description::SIZE, value) => size = Some(be32("NFTA_SET_DESC_SIZE", value)?),
            (description::CONCAT, fields) => {
                for field in attrs(fields) {
                    for attr in attrs(field?.1) {
                        if let (FIELD_LENGTH, value) = attr? {
                            lengths.push(be32("NFTA_SET_FIELD_LEN", value)?);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok((size, lengths))
}

/// The attributes that tell which set.
pub(super) fn put_id(out: &mut Vec<u8>, id: &SetId) {
    put_table(out, &id.table);
    put_name(out, attribute::NAME, &id.name);
}

/// The attribute that tells which table's sets.
pub(super) fn put_table(out: &mut Vec<u8>, table: &TableId) {
    put_name(out, attribute::TABLE, &table.name);
}
