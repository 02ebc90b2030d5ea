//! The typed layer: services and destinations that the kernel accepts as they are written.

mod config;
mod destination;
mod key;
mod scheduler;
mod service;
mod stats;

pub use config::{Info, Timeouts};
pub(crate) use destination::addr_attrs;
pub use destination::{Destination, ForwardMethod, ObservedDestination, Tunnel};
pub use key::{Family, Protocol, ServiceKey};
pub use scheduler::{PeName, Scheduler};
pub(crate) use service::key_attrs;
pub use service::{Netmask, ObservedService, Service, ServiceFlags};
pub use stats::Stats;
