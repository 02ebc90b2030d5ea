use ipvs_model::{Operation, OutcomesDiffer};
use ipvs_netfilter::ipset::SetDifference;
use ipvs_netlink::Cause;

use crate::reading::Unread;

/// Why the data plane failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// A request failed.
    #[error(transparent)]
    Netlink(#[from] ipvs_netlink::Error),
    /// An operation was refused.
    #[error(transparent)]
    Refused(#[from] Cause),
    /// A program could not be run or failed.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Its own words, or why it could not be run.
        reason: String,
    },
    /// No `iptables` works here.
    #[error(
        "no usable iptables: it takes the package iptables, and CAP_NET_RAW beside CAP_NET_ADMIN; tried {tried}"
    )]
    NoIptables {
        /// What was tried and why it did not work.
        tried: String,
    },
    /// The data plane did not say what became of each operation.
    #[error(transparent)]
    Outcomes(#[from] OutcomesDiffer),
    /// A set of one of our names is not as it must be.
    #[error("set {name}: {difference}: destroy it with `ipset destroy {name}`")]
    SetType {
        /// The set.
        name: String,
        /// What is wrong with it.
        difference: SetDifference,
    },
}

impl PlaneError {
    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink(error) => error.cause().errno(),
            Self::Refused(cause) => cause.errno(),
            _ => None,
        }
    }
}

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {error}")]
pub struct Failure {
    /// What was tried.
    pub operation: Operation,
    /// Why it failed.
    #[source]
    pub error: Box<PlaneError>,
}

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
    /// The connections of draining real servers could not be read.
    #[error("cannot read the connections of draining real servers: {0}")]
    Connections(#[source] PlaneError),
    /// Conntrack entries could not be read or deleted; UDP to endpoints that are gone may go on.
    #[error("cannot clean up conntrack entries of UDP: {0}")]
    Conntrack(#[source] PlaneError),
}
