#![doc = include_str!("../README.md")]

mod dataplane;
mod error;
mod health;
#[cfg(feature = "health")]
mod health_server;
mod held_back;
mod linux;
mod proxier;
mod schedule;
mod simulated;
mod source;

pub use dataplane::{Connections, DataPlane, Outcome};
pub use error::{Failure, PlaneError};
pub use health::{Health, HealthAnswer};
#[cfg(feature = "health")]
pub use health_server::HealthServer;
pub use linux::{IptablesBackend, Linux};
pub use proxier::{Proxier, Report};
pub use schedule::{Due, Pace, Schedule};
pub use simulated::Simulated;
#[cfg(feature = "kube")]
pub use source::{Access, Cluster, ClusterError, Nodes};
pub use source::{ManifestError, Manifests, Polled, Source};
