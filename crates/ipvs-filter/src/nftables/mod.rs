//! The filter in nf_tables: a table for each family.

mod entries;
mod names;
mod ranges;
mod recognition;
mod skeleton;
mod steps;

pub use entries::{filter_entry, set_entry};
pub use names::{TABLE, is_ours, nft_family, set, set_in, set_name, table};
pub use ranges::{RangeChange, SourceRanges};
pub use recognition::recognise;
pub use skeleton::{Skeleton, is_our_chain};
