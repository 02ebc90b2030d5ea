//! The filter: what is masqueraded, let through and refused, and for whom. Not by which rules: that is a back end's.

mod entry;
mod set;
mod text;

pub use entry::{AddressAndPort, FilterEntry};
pub use set::FilterSet;
pub use text::NoFilterEntry;
