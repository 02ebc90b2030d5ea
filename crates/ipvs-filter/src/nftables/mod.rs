//! The filter in nf_tables: a table for each family.

mod shape;
mod skeleton;
mod steps;

pub use shape::{InterfaceName, InvalidInterfaceName, LocalPods, MasqueradeClusterIps, Shape};
pub use skeleton::{InvalidShape, SetKind, Skeleton};
