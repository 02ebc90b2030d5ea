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

mod dump;
mod error;
mod request;
mod types;
pub mod wire;

pub use dump::{parse_destination, parse_service};
pub use error::{InvalidValue, SemanticError, WireError};
pub use request::Request;
pub use types::{
    Destination, Family, ForwardMethod, Info, Netmask, ObservedDestination, ObservedService,
    PeName, Protocol, Scheduler, Service, ServiceFlags, ServiceKey, Stats, Timeouts, Tunnel,
};

/// The name that the kernel registers the generic netlink family under; its number is assigned at load time.
pub const FAMILY_NAME: &str = "IPVS";
