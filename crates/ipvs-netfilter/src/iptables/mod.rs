//! The text of `iptables-save` and `iptables-restore`. Rules are written in the form in which they are read back, so
//! that equal text means equal rules.

mod removal;
mod restored;
mod rule;
mod ruleset;
mod saved;
mod table;

pub use removal::Removal;
pub use rule::Rule;
pub use ruleset::{Ruleset, TableRules};
pub use saved::SavedRules;
pub use table::Table;
