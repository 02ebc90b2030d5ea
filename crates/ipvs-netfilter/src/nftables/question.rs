use std::fmt;

use super::{Family, SUBSYSTEM, SetId, TableId, entry, rule, set, table};
use crate::error::MessageError;
use crate::wire::{attrs, body};

/// `NFT_MSG_GET…`.
mod command {
    pub(super) const TABLE: u8 = 1;
    pub(super) const CHAIN: u8 = 4;
    pub(super) const RULE: u8 = 7;
    pub(super) const SET: u8 = 10;
    pub(super) const ENTRIES: u8 = 13;
    pub(super) const GENERATION: u8 = 16;
}

/// `NFTA_GEN_ID`.
const GENERATION: u16 = 1;

/// A question, which changes nothing.
///
/// ```
/// use ipvs_netfilter::nftables::{Family, Question};
///
/// let mut bytes = Vec::new();
/// Question::Chains(Family::IPV6).emit(&mut bytes);
/// assert_eq!(bytes, [10, 0, 0, 0]);
/// assert!(Question::Chains(Family::IPV6).is_dump());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question<'a> {
    /// The number of the rule set's state, which each transaction changes: [`parse_generation`].
    Generation,
    /// A table; [`Table::parse`](super::Table::parse). `ENOENT` if there is none.
    Table(&'a TableId),
    /// All tables of a family, or of all.
    Tables(Family),
    /// All chains of a family, of whatever table; each answered by [`Chain::parse`](super::Chain::parse).
    Chains(Family),
    /// The sets of a table; each answered by [`Set::parse`](super::Set::parse).
    Sets(&'a TableId),
    /// The rules of a table, in order; each answered by [`Rule::parse`](super::Rule::parse). Old kernels answer with those of
    /// other tables too.
    Rules(&'a TableId),
    /// The entries of a set, in several parts; each answered by [`Entry::parse_list`](super::Entry::parse_list). `ENOENT` if
    /// there is no such set.
    Entries(&'a SetId),
}

impl Question<'_> {
    /// The netlink message type: subsystem and command.
    #[must_use]
    pub const fn message_type(&self) -> u16 {
        let command = match self {
            Self::Generation => command::GENERATION,
            Self::Table(_) | Self::Tables(_) => command::TABLE,
            Self::Chains(_) => command::CHAIN,
            Self::Sets(_) => command::SET,
            Self::Rules(_) => command::RULE,
            Self::Entries(_) => command::ENTRIES,
        };
        u16::from_be_bytes([SUBSYSTEM, command])
    }

    /// Whether it must travel with `NLM_F_DUMP`.
    #[must_use]
    pub const fn is_dump(&self) -> bool {
        !matches!(self, Self::Generation | Self::Table(_))
    }

    /// Appends netfilter header and attributes. Allocates nothing but the growth of `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let family = match self {
            Self::Generation => Family::ANY,
            Self::Table(table) | Self::Sets(table) | Self::Rules(table) => table.family,
            Self::Tables(family) | Self::Chains(family) => *family,
            Self::Entries(set) => set.table.family,
        };
        out.extend([family.0, 0, 0, 0]);
        match self {
            Self::Generation | Self::Tables(_) | Self::Chains(_) => {}
            Self::Table(id) => table::put_id(out, id),
            Self::Sets(id) => set::put_table(out, id),
            Self::Rules(id) => rule::put_table(out, id),
            Self::Entries(id) => entry::put_set(out, id),
        }
    }
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generation => f.write_str("ask for the generation of nf_tables"),
            Self::Table(table) => write!(f, "ask for table {table}"),
            Self::Tables(family) => write!(f, "list tables of family {family}"),
            Self::Chains(family) => write!(f, "list chains of family {family}"),
            Self::Sets(table) => write!(f, "list sets of table {table}"),
            Self::Rules(table) => write!(f, "list rules of table {table}"),
            Self::Entries(set) => write!(f, "list entries of set {set}"),
        }
    }
}

/// Reads the answer to [`Question::Generation`] from the bytes behind the netlink header.
///
/// # Errors
/// [`MessageError`] when the bytes hold none.
pub fn parse_generation(bytes: &[u8]) -> Result<u32, MessageError> {
    for attr in attrs(body(bytes)?) {
        if let (GENERATION, value) = attr? {
            let value = value.try_into().map(u32::from_be_bytes);
            return value.or(Err(MessageError::Missing("NFTA_GEN_ID")));
        }
    }
    Err(MessageError::Missing("NFTA_GEN_ID"))
}
