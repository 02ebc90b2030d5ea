//! Where changes come from.

#[cfg(feature = "kube")]
mod cluster;
mod document;
mod manifests;

use ipvs_model::input::Change;

#[cfg(feature = "kube")]
pub use cluster::{Access, Cluster, ClusterError, Nodes};
pub use document::ManifestError;
pub use manifests::Manifests;

/// What a source has learnt since it was last asked.
#[derive(Debug, Default)]
#[must_use]
pub struct Polled {
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// What cannot be used, for the log; the last good state of it stays in force.
    pub problems: Vec<String>,
}

/// Where changes come from: [`Manifests`], the Kubernetes API (`Cluster`, with the feature `kube`), or a program's own.
///
/// ```
/// use ipvs_model::input::Change;
/// use ipvs_proxier::{Polled, Source};
///
/// struct Fixed(Vec<Change>);
///
/// impl Source for Fixed {
///     fn poll(&mut self) -> Polled {
///         Polled { changes: std::mem::take(&mut self.0), ..Polled::default() }
///     }
///     fn is_complete(&self) -> bool {
///         true
///     }
/// }
/// assert!(Fixed(Vec::new()).poll().changes.is_empty());
/// ```
pub trait Source {
    /// What is new. Never waits.
    fn poll(&mut self) -> Polled;

    /// Whether everything that is there has been said once. Before, a proxier must not sync: what it does not know of
    /// would look foreign.
    fn is_complete(&self) -> bool;
}
