//! The filter: what is masqueraded, let through and refused, and for whom. Not by which rules: that is a back end's.

mod entry;
mod known;
mod set;
mod shape;
mod text;

pub use entry::{AddressAndPort, EntryParts, FilterEntry};
pub use known::KnownFilter;
pub use set::FilterSet;
pub use shape::{FilterSets, FilterShape, LocalPods, Masquerade};
pub use text::NoFilterEntry;
