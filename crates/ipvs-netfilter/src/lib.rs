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

pub mod conntrack;
mod error;
pub mod ipset;
pub mod iptables;
mod nft_event;
pub mod nftables;
mod wire;

pub use error::MessageError;
pub use nft_event::{NftEvent, NftObject};
