//! The text of `iptables-save` and `iptables-restore`. Rules are written in the form in which they are read back, so
//! that equal text means equal rules.

mod rule;
mod ruleset;

pub use rule::Rule;
pub use ruleset::{Ruleset, SavedRules, Table, TableRules};
