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
    CleanUp, CleanUpOperation, CleanUpPart, CleanUpPlan, CleanUpReport, CleanUpStep, FilterKind,
    Holder, Left, Leftover, NftablesTable, Refusal, RemainingLink, Remains, Unreadable,
};

/// The number of a protocol, of which a packet has eight bits.
fn protocol_byte(protocol: ipvs_codec::Protocol) -> u8 {
    u8::try_from(protocol.number()).unwrap_or(u8::MAX)
}
