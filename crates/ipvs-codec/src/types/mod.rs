//! The typed layer: services, destinations and daemons that the kernel accepts as they are written.

#[cfg(feature = "arbitrary")]
mod any;
#[cfg(feature = "serde")]
mod as_text;
mod config;
mod daemon;
mod destination;
mod key;
mod scheduler;
mod service;
mod stats;
mod tunnel;
mod virtual_server;

pub use config::{Info, Timeouts};
pub use daemon::{Daemon, DaemonState};
pub use destination::{Destination, ForwardMethod, ObservedDestination};
pub use key::{Family, Protocol, ServiceKey};
pub use scheduler::{InterfaceName, PeName, Scheduler};
pub use service::{Netmask, ObservedService, Service, ServiceFlags};
pub use stats::Stats;
pub use tunnel::{Tunnel, TunnelFlags};
pub use virtual_server::VirtualServer;
