#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod connection;
mod error;
mod ipsets;
mod ipvs;
mod links;
mod reply;

pub use connection::Outcome;
pub use error::{Cause, Error, KernelError};
pub use ipsets::IpSets;
pub use ipvs::Ipvs;
pub use links::{Binding, Link, LinkIndex, Links};
