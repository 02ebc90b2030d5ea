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

mod clean_up;
pub mod iptables;
pub mod nftables;

pub use clean_up::{
    CleanUp, CleanUpOperation, CleanUpPart, CleanUpPlan, CleanUpReport, CleanUpStep, Holder,
    KeptFilter, Left, Leftover, NftablesTable, Refusal, RemainingLink, Remains, Unreadable,
};
