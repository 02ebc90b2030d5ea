//! Where changes come from.

#[cfg(feature = "kube")]
mod access;
#[cfg(feature = "kube")]
mod cluster;
mod document;
#[cfg(feature = "kube")]
mod events;
mod manifests;
#[cfg(feature = "kube")]
mod objects;
mod polled;
#[cfg(feature = "kube")]
mod reporter;
#[cfg(feature = "kube")]
mod watch;

#[cfg(feature = "kube")]
pub use access::{Access, ClusterError};
#[cfg(feature = "kube")]
pub use cluster::Cluster;
pub use document::{ManifestError, read_manifest};
pub use manifests::Manifests;
pub use polled::{About, Notice, Polled, Source, Trigger};
#[cfg(feature = "kube")]
pub use watch::Nodes;
