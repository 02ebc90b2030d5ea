//! Whose an object of the kernel is: by what our sets list, and by what a Service asks for.

mod ledger;
mod owner;

pub use ledger::{entries_that_list, entry_that_names};
pub use owner::{Owner, Ownership};
