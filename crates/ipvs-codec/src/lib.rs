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

mod change;
mod dump;
mod encode;
mod error;
mod family;
mod message_attrs;
pub mod reply;
mod request;
mod text;
mod to_attrs;
mod types;
pub mod wire;

pub use change::{Change, diff};
pub use dump::{destinations, parse_destination, parse_service, services};
pub use error::{InvalidValue, SemanticError, TextError, WireError};
pub use family::FamilyNumber;
pub use request::Request;
pub use text::SavedLine;
pub use types::{
    Daemon, DaemonState, Destination, Family, ForwardMethod, Info, InterfaceName, Netmask,
    ObservedDestination, ObservedService, PeName, Protocol, Scheduler, Service, ServiceFlags,
    ServiceKey, Stats, Timeouts, Tunnel, TunnelFlags, VirtualServer,
};

/// The name that the kernel registers the generic netlink family under; its number is assigned at load time.
pub const FAMILY_NAME: &str = "IPVS";
