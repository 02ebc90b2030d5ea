//! Whose an object of the kernel is: by what our sets list, and by what a Service asks for.

mod ledger;
mod left_alone;
mod owner;

pub use ledger::{entries_that_list, entry_that_names};
pub(crate) use left_alone::LeftAlone;
pub use owner::{Owner, Ownership};
