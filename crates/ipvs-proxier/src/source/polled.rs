//! What a source is, and what it says.

use std::time::SystemTime;

use ipvs_codec::Family;
use ipvs_model::input::{Change, ObjectName};

/// What a source has learnt since it was last asked.
#[derive(Debug, Default)]
#[must_use]
pub struct Polled {
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// When endpoints changed that these changes tell of, where the source knows it.
    pub triggers: Vec<Trigger>,
    /// What cannot be used, for the log, once; the last good state of it stays in force. [`Source::problems`] has it for as
    /// long as it lasts.
    pub problems: Vec<String>,
    /// Why the source has ended, once it has: it will never say anything again. Whoever goes on without it serves an old
    /// state for ever, so that this is an error.
    pub ended: Option<String>,
}

/// A change of endpoints, from the annotation `endpoints.kubernetes.io/last-change-trigger-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// Of the slice.
    pub family: Family,
    /// When it happened.
    pub at: SystemTime,
}

/// The object of a [`Notice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A Node, by name.
    Node(String),
    /// A Service.
    Service(ObjectName),
}

/// Something that whoever looks after the cluster should know, in the terms of a Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub about: About,
    /// `Warning` instead of `Normal`.
    pub is_warning: bool,
    /// As `FailedToStartServiceHealthcheck`.
    pub reason: &'static str,
    /// What was tried, as `Listen`.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
}

/// Where changes come from: [`Manifests`](crate::Manifests), the Kubernetes API (`Cluster`, with the feature `kube`), or a program's own.
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

    /// Whether the initial list is complete: everything that is there has come once. Before, nothing may be synced: what
    /// is not known yet would look foreign.
    fn is_complete(&self) -> bool;

    /// What of it cannot be used now, each in a sentence that names it: the last good state of that is in force. Health shows
    /// it, and stays as it is: a node that serves an older state is not made better by a restart.
    fn problems(&self) -> &[String] {
        &[]
    }

    /// Whether it wakes whoever waits, as soon as there is something to poll. One that does not is asked four times a second.
    fn wakes(&self) -> bool {
        false
    }

    /// Reads everything again, with the next poll: somebody says that it has changed (`SIGHUP`). Never waits.
    fn reload(&mut self) {}

    /// Tells those who look after the cluster. Never waits; a source that reaches nobody does nothing.
    fn tell(&mut self, notice: Notice) {
        let _ = notice;
    }
}
