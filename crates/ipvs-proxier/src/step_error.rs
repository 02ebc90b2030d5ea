use crate::error::PlaneError;
use crate::reading::Unread;

/// Something that failed and is no operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The node's addresses or gateways could not be read.
    #[error("cannot read the node's addresses: {0}")]
    Node(#[source] PlaneError),
    /// A section of the kernel's state could not be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Whether somebody else's virtual servers are where Services want theirs could not be read; these may be taken for ours.
    #[error("cannot read whether virtual servers of others are there: {0}")]
    VirtualServers(#[source] PlaneError),
    /// What the kernel notifies nobody of could not be looked at.
    #[error("cannot look whether others changed something: {0}")]
    Canary(#[source] PlaneError),
    /// The connections of draining real servers could not be read.
    #[error("cannot read the connections of draining real servers: {0}")]
    Connections(#[source] PlaneError),
    /// Conntrack entries could not be read or deleted; UDP to endpoints that are gone may go on.
    #[error("cannot clean up conntrack entries of UDP: {0}")]
    Conntrack(#[source] PlaneError),
}
