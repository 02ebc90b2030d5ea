//! Where changes come from.

#[cfg(feature = "kube")]
mod access;
#[cfg(feature = "kube")]
mod cluster;
mod api_object;
mod document;
#[cfg(feature = "kube")]
mod events;
mod list_reader;
mod manifests;
#[cfg(feature = "kube")]
mod objects;
mod polled;
mod refusal;
#[cfg(feature = "kube")]
mod reporter;
#[cfg(feature = "kube")]
mod watch;
mod watch_reader;

#[cfg(feature = "kube")]
pub use access::{Access, ClusterError};
#[cfg(feature = "kube")]
pub use cluster::Cluster;
pub use api_object::ApiObject;
pub use document::{ManifestError, read_manifest};
pub use list_reader::{ListEnd, ListError, ListReader};
pub use manifests::Manifests;
pub use polled::{About, Notice, Polled, Source, Trigger};
pub use refusal::Refusal;
pub use watch_reader::{WatchEvent, WatchReader};
#[cfg(feature = "kube")]
pub use watch::Nodes;
