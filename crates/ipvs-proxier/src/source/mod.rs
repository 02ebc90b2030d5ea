//! Where changes come from.

#[cfg(feature = "kube")]
mod access;
#[cfg(feature = "kube")]
mod api;
mod api_object;
#[cfg(feature = "kube")]
mod back_off;
#[cfg(feature = "kube")]
mod cluster;
#[cfg(feature = "kube")]
mod complaints;
#[cfg(feature = "kube")]
mod connection;
#[cfg(feature = "kube")]
mod credential_files;
#[cfg(feature = "kube")]
mod credential_headers;
#[cfg(feature = "kube")]
mod credential_reader;
#[cfg(feature = "kube")]
mod credentials;
mod document;
#[cfg(feature = "kube")]
mod events;
#[cfg(feature = "kube")]
mod exec_plugin;
#[cfg(feature = "kube")]
mod follow;
#[cfg(feature = "kube")]
mod kubeconfig;
#[cfg(feature = "kube")]
mod link;
mod list_reader;
mod manifests;
#[cfg(feature = "kube")]
mod object_problems;
#[cfg(feature = "kube")]
mod objects;
#[cfg(feature = "kube")]
mod origin;
#[cfg(feature = "kube")]
mod pages;
#[cfg(feature = "kube")]
mod plugin_run;
mod polled;
#[cfg(feature = "kube")]
mod proxy;
mod refusal;
#[cfg(feature = "kube")]
mod reporter;
#[cfg(feature = "kube")]
mod selection;
#[cfg(feature = "kube")]
mod session;
mod watch_reader;
mod weight;
mod yaml;

#[cfg(feature = "kube")]
pub use access::{Access, ClusterError, without_user};
pub use api_object::ApiObject;
#[cfg(feature = "kube")]
pub use cluster::Cluster;
pub use document::{ManifestError, read_manifest};
pub use list_reader::{ListEnd, ListError, ListReader};
pub use manifests::Manifests;
pub use polled::{About, Notice, Polled, Source, Trigger};
pub use refusal::Refusal;
#[cfg(feature = "kube")]
pub use selection::Nodes;
pub use watch_reader::{WatchEvent, WatchReader};
