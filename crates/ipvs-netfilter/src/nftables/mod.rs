//! nf_tables: tables, chains, sets, their entries and rules, written and read back.
//!
//! What is changed goes in transactions: [`Change`]s between the two messages of a [`Batch`], in one datagram. What is read
//! comes in answer to a [`Question`]. Numbers of the messages are in network byte order; the bytes of a [`Value`] are in the
//! order that the expressions give them.
//!
//! An object that is read back equals the one that was written: what the kernel adds by itself (handles, use counts) is not
//! part of it. What this crate gives no meaning stays with the object, so that one with more to it is not equal.

mod attributes;
mod batch;
mod chain;
mod change;
mod entry;
mod expression;
mod key;
mod names;
mod question;
mod register;
mod rule;
mod set;
mod table;
mod userdata;
mod value;

pub use attributes::{Listed, OtherAttributes};
pub use batch::Batch;
pub use chain::{BaseChain, Chain, Hook, Policy};
pub use change::{Change, Place};
pub use entry::{Entries, Entry, Key};
pub use expression::{
    Comparison, Counts, CtKey, Direction, Expression, FibResult, MetaKey, OtherExpression,
    PayloadBase, Reject, Verdict,
};
pub use key::{KeyField, KeyType};
pub use names::{ChainId, Family, FixedName, InvalidName, Name, SetId, TableId};
pub use question::{Question, parse_generation};
pub use register::Register;
pub use rule::{Rule, RuleTooLong};
pub use set::Set;
pub use table::Table;
pub use userdata::Userdata;
pub use value::Value;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;
