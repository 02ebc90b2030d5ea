use std::fmt;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Chain, ChainId, Entries, Entry, Family, Rule, Set, SetId, Table, TableId};
use super::{SUBSYSTEM, chain, entry, rule, set, table};

/// `NFT_MSG_…`.
mod command {
    pub(super) const NEW_TABLE: u8 = 0;
    pub(super) const DELETE_TABLE: u8 = 2;
    pub(super) const NEW_CHAIN: u8 = 3;
    pub(super) const DELETE_CHAIN: u8 = 5;
    pub(super) const NEW_RULE: u8 = 6;
    pub(super) const DELETE_RULE: u8 = 8;
    pub(super) const NEW_SET: u8 = 9;
    pub(super) const DELETE_SET: u8 = 11;
    pub(super) const NEW_ENTRIES: u8 = 12;
    pub(super) const DELETE_ENTRIES: u8 = 14;
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Behind all others.
    End,
    /// Before all others.
    Start,
    /// Behind the rule with this handle.
    After(u64),
    /// Before the rule with this handle.
    Before(u64),
    /// In the place of the rule with this handle.
    Of(u64),
}

/// A change, which is made with the others of its transaction or not at all.
///
/// ```
/// use ipvs_netfilter::nftables::{Change, Family, Table, TableId};
///
/// let table = Table::new(TableId { family: Family::IPV4, name: "t".parse().unwrap() });
/// let change = Change::AddTable(&table);
/// assert_eq!(change.to_string(), "add table ip t");
/// let mut bytes = Vec::new();
/// change.emit(&mut bytes);
/// assert_eq!(bytes[..4], [2, 0, 0, 0]); // NFPROTO_IPV4, version 0, resource 0
/// assert_eq!(change.message_type(), 0x0a00);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Makes a table, or leaves the one that is there.
    AddTable(&'a Table),
    /// Makes a table. `EEXIST` if there is one of the name.
    CreateTable(&'a Table),
    /// Removes a table with all that is in it. `ENOENT` if there is none; `EPERM` if a socket of others owns it.
    DeleteTable(&'a TableId),
    /// Makes a chain, or changes the policy of the one that is there. `EEXIST` if that is another kind of chain.
    AddChain(&'a Chain),
    /// Removes a chain. `EBUSY` while it has rules, or rules jump to it; `ENOENT` if there is none.
    DeleteChain(&'a ChainId),
    /// Makes a set, or leaves the one that is there. `EEXIST` if that is of another type.
    AddSet(&'a Set),
    /// Removes a set with its entries. `EBUSY` while rules look into it; `ENOENT` if there is none.
    DeleteSet(&'a SetId),
    /// Adds entries. One that is there is left. `EEXIST` for an interval that overlaps with another one, where the kernel
    /// notices; `ENFILE` if the set is full.
    AddEntries(&'a Set, Entries<'a>),
    /// Removes entries. `ENOENT` if one is not there.
    DeleteEntries(&'a Set, Entries<'a>),
    /// Removes all entries of a set.
    FlushSet(&'a SetId),
    /// Makes a rule. `ENOENT` if the chain, a set or the rule next to it is not there.
    AddRule(&'a Rule, Place),
    /// Removes the rule with this handle.
    DeleteRule(&'a ChainId, u64),
    /// Removes all rules of a chain.
    FlushChain(&'a ChainId),
    /// Removes all rules of all chains of a table.
    FlushTable(&'a TableId),
}

impl Change<'_> {
    /// The netlink message type: subsystem and command.
    #[must_use]
    pub const fn message_type(&self) -> u16 {
        let command = match self {
            Self::AddTable(_) | Self::CreateTable(_) => command::NEW_TABLE,
            Self::DeleteTable(_) => command::DELETE_TABLE,
            Self::AddChain(_) => command::NEW_CHAIN,
            Self::DeleteChain(_) => command::DELETE_CHAIN,
            Self::AddSet(_) => command::NEW_SET,
            Self::DeleteSet(_) => command::DELETE_SET,
            Self::AddEntries(..) => command::NEW_ENTRIES,
            Self::DeleteEntries(..) | Self::FlushSet(_) => command::DELETE_ENTRIES,
            Self::AddRule(..) => command::NEW_RULE,
            Self::DeleteRule(..) | Self::FlushChain(_) | Self::FlushTable(_) => {
                command::DELETE_RULE
            }
        };
        u16::from_be_bytes([SUBSYSTEM, command])
    }

    /// The flags of the netlink header (`NLM_F_…`), without `NLM_F_REQUEST`.
    #[must_use]
    pub const fn flags(&self) -> u16 {
        match self {
            Self::CreateTable(_) => NLM_F_EXCL,
            Self::AddChain(_) | Self::AddSet(_) | Self::AddEntries(..) => NLM_F_CREATE,
            Self::AddRule(_, Place::End | Place::After(_)) => NLM_F_CREATE | NLM_F_APPEND,
            Self::AddRule(_, Place::Start | Place::Before(_)) => NLM_F_CREATE,
            Self::AddRule(_, Place::Of(_)) => NLM_F_REPLACE,
            _ => 0,
        }
    }

    const fn family(&self) -> Family {
        match self {
            Self::AddTable(table) | Self::CreateTable(table) => table.id.family,
            Self::DeleteTable(table) | Self::FlushTable(table) => table.family,
            Self::AddChain(chain) => chain.id.table.family,
            Self::DeleteChain(chain) | Self::DeleteRule(chain, _) | Self::FlushChain(chain) => {
                chain.table.family
            }
            Self::AddSet(set) | Self::AddEntries(set, _) | Self::DeleteEntries(set, _) => {
                set.id.table.family
            }
            Self::DeleteSet(set) | Self::FlushSet(set) => set.table.family,
            Self::AddRule(rule, _) => rule.chain.table.family,
        }
    }

    /// Appends netfilter header and attributes. Allocates nothing but the growth of `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend([self.family().0, 0, 0, 0]);
        match self {
            Self::AddTable(table) | Self::CreateTable(table) => table.emit(out),
            Self::DeleteTable(id) => table::put_id(out, id),
            Self::AddChain(chain) => chain.emit(out),
            Self::DeleteChain(id) => chain::put_id(out, id),
            Self::AddSet(set) => set.emit(out),
            Self::DeleteSet(id) => set::put_id(out, id),
            Self::AddEntries(set, entries) | Self::DeleteEntries(set, entries) => {
                entries.emit(out, &set.id);
            }
            Self::FlushSet(id) => entry::put_set(out, id),
            Self::AddRule(rule, place) => {
                rule.emit(out);
                match *place {
                    Place::End | Place::Start => {}
                    Place::After(handle) | Place::Before(handle) => {
                        rule::put_position(out, handle);
                    }
                    Place::Of(handle) => rule::put_handle(out, handle),
                }
            }
            Self::DeleteRule(chain, handle) => {
                rule::put_chain(out, chain);
                rule::put_handle(out, *handle);
            }
            Self::FlushChain(chain) => rule::put_chain(out, chain),
            Self::FlushTable(table) => rule::put_table(out, table),
        }
    }
}

impl<'a> Change<'a> {
    /// The entry at an offset of the message, counted from the netlink header, which is how the kernel says which one it
    /// refused.
    ///
    /// ```
    /// use ipvs_netfilter::nftables::*;
    /// let table = TableId { family: Family::IPV4, name: "t".parse().unwrap() };
    /// let set = Set::new(table.set("s".parse().unwrap()), &KeyType::of(&[KeyField::Port]).unwrap());
    /// let entries = [80, 443].map(|port| Entry::of(Value::port(port)));
    /// let change = Change::AddEntries(&set, Entries::split(&entries, 100).0);
    /// // Headers of 20 bytes, two names of 8, the header of the list; each entry has 16.
    /// assert_eq!(change.entry_at(20 + 16 + 4 + 16), Some(&entries[1]));
    /// assert_eq!(change.entry_at(20), None);
    /// ```
    #[must_use]
    pub fn entry_at(&self, offset: u32) -> Option<&'a Entry> {
        /// Of netlink and of netfilter.
        const HEADERS: usize = 20;
        let (Self::AddEntries(set, entries) | Self::DeleteEntries(set, entries)) = self else {
            return None;
        };
        let offset = usize::try_from(offset).ok()?.checked_sub(HEADERS)?;
        entries.at(&set.id, offset)
    }

    /// What the change is for one of its entries, in words.
    #[must_use]
    pub fn of_entry(&self, entry: &Entry) -> String {
        match self {
            Self::AddEntries(set, _) => {
                format!("add entry {} to set {}", entry.key.text(&set.key), set.id)
            }
            Self::DeleteEntries(set, _) => {
                format!(
                    "delete entry {} from set {}",
                    entry.key.text(&set.key),
                    set.id
                )
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(table) => write!(f, "add table {}", table.id),
            Self::CreateTable(table) => write!(f, "create table {}", table.id),
            Self::DeleteTable(table) => write!(f, "delete table {table}"),
            Self::AddChain(chain) => write!(f, "add chain {}", chain.id),
            Self::DeleteChain(chain) => write!(f, "delete chain {chain}"),
            Self::AddSet(set) => write!(f, "add set {set}"),
            Self::DeleteSet(set) => write!(f, "delete set {set}"),
            Self::AddEntries(set, entries) => match entries.as_slice() {
                [entry] => f.write_str(&self.of_entry(entry)),
                entries => write!(f, "add {} entries to set {}", entries.len(), set.id),
            },
            Self::DeleteEntries(set, entries) => match entries.as_slice() {
                [entry] => f.write_str(&self.of_entry(entry)),
                entries => write!(f, "delete {} entries from set {}", entries.len(), set.id),
            },
            Self::FlushSet(set) => write!(f, "delete all entries of set {set}"),
            Self::AddRule(rule, _) => write!(f, "add a rule to chain {}", rule.chain),
            Self::DeleteRule(chain, handle) => write!(f, "delete rule {handle} of chain {chain}"),
            Self::FlushChain(chain) => write!(f, "delete all rules of chain {chain}"),
            Self::FlushTable(table) => write!(f, "delete all rules of table {table}"),
        }
    }
}
