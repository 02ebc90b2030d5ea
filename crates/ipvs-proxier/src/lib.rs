#![doc = include_str!("../README.md")]

mod control;
mod dataplane;
mod error;
mod health;
#[cfg(feature = "health")]
mod health_server;
mod linux;
#[cfg(feature = "health")]
mod metrics;
mod proxier;
mod reading;
mod report;
mod schedule;
mod simulated;
mod source;
mod told;

pub use control::Control;
pub use dataplane::{Connections, DataPlane, Outcome, Part, Progress};
pub use error::{Failure, PlaneError};
pub use health::{Health, HealthAnswer, Moment};
#[cfg(feature = "health")]
pub use health_server::{HealthServer, ListenFailure, Listener, Serve};
pub use linux::{IptablesBackend, Linux};
#[cfg(feature = "health")]
pub use metrics::{Measured, Metrics};
pub use proxier::Proxier;
pub use reading::{Section, Unread, observe};
pub use report::Report;
pub use schedule::{Due, Pace, Schedule};
pub use simulated::Simulated;
pub use source::{About, ManifestError, Manifests, Notice, Polled, Source, Trigger};
#[cfg(feature = "kube")]
pub use source::{Access, Cluster, ClusterError, Nodes};
