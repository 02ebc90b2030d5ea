use super::attributes::{Listed, OtherAttributes, be32, be64, name, put_be32, put_name};
use super::{Family, TableId, Userdata};
use crate::error::MessageError;
use crate::wire::{body, flagged_attrs, put};
use netlink_packet_core::NLA_TYPE_MASK;

/// Attributes `NFTA_TABLE_…`.
mod attribute {
    pub(super) const NAME: u16 = 1;
    pub(super) const FLAGS: u16 = 2;
    pub(super) const USE: u16 = 3;
    pub(super) const HANDLE: u16 = 4;
    pub(super) const PAD: u16 = 5;
    pub(super) const USERDATA: u16 = 6;
    pub(super) const OWNER: u16 = 7;
}

/// A table.
///
/// ```
/// use ipvs_netfilter::nftables::{Family, Table, TableId, Userdata};
/// let mut table = Table::new(TableId { family: Family::IPV4, name: "proxy".parse().unwrap() });
/// table.userdata = Userdata::default().with_text(Userdata::COMMENT, "ours").unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its family and name.
    pub id: TableId,
    /// Its flags (`NFT_TABLE_F_…`).
    pub flags: u32,
    /// Its comment.
    pub userdata: Userdata,
    /// What else the kernel says of it.
    pub other: OtherAttributes,
}

impl Table {
    /// Its base chains see no packets (`NFT_TABLE_F_DORMANT`).
    pub const DORMANT: u32 = 1;
    /// The socket that made it owns it: nobody else can change it (`EPERM`), and it goes with the socket
    /// (`NFT_TABLE_F_OWNER`).
    pub const OWNER: u32 = 2;

    /// A table without flags and comment.
    #[must_use]
    pub fn new(id: TableId) -> Self {
        Self {
            id,
            flags: 0,
            userdata: Userdata::default(),
            other: OtherAttributes::default(),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        put_name(out, attribute::NAME, &self.id.name);
        put_be32(out, attribute::FLAGS, self.flags);
        if !self.userdata.as_bytes().is_empty() {
            put(out, attribute::USERDATA, self.userdata.as_bytes());
        }
        self.other.emit(out);
    }

    /// Reads a table from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Listed<Self>, MessageError> {
        let family = Family(*bytes.first().ok_or(MessageError::NoHeader)?);
        let (mut found, mut flags, mut handle) = (None, 0, 0);
        let mut userdata = Userdata::default();
        let mut other = OtherAttributes::default();
        for attr in flagged_attrs(body(bytes)?) {
            let (head, value) = attr?;
            match head & NLA_TYPE_MASK {
                attribute::NAME => found = Some(name("NFTA_TABLE_NAME", value)?),
                attribute::FLAGS => flags = be32("NFTA_TABLE_FLAGS", value)?,
                attribute::HANDLE => handle = be64("NFTA_TABLE_HANDLE", value)?,
                attribute::USERDATA => {
                    userdata = Userdata::from_bytes(value)
                        .ok_or(MessageError::Missing("NFTA_TABLE_USERDATA"))?;
                }
                attribute::USE | attribute::PAD | attribute::OWNER => {}
                _ => other.keep(head, value),
            }
        }
        let name = found.ok_or(MessageError::Missing("NFTA_TABLE_NAME"))?;
        Ok(Listed {
            object: Self {
                id: TableId { family, name },
                flags,
                userdata,
                other,
            },
            handle,
        })
    }
}

/// The attributes that tell which table.
pub(super) fn put_id(out: &mut Vec<u8>, id: &TableId) {
    put_name(out, attribute::NAME, &id.name);
}
