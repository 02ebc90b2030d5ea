use std::path::PathBuf;
use std::time::Duration;

use ipvs_model::{Operation, OutcomesDiffer};
use ipvs_netlink::Cause;

use crate::lock_holder::LockHolder;

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
    /// The link that has the name of the dummy interface is of another kind. It is somebody's, and left alone.
    #[error(
        "link {name} is no dummy interface: rename or delete it, VIPs are bound to nothing else"
    )]
    NoDummy {
        /// The link.
        name: &'static str,
    },
    /// The dummy interface has IPv6 disabled, and that cannot be changed.
    #[error("{cause}: IPv6 is disabled on {name}: {reason}")]
    Ipv6Disabled {
        /// The interface.
        name: &'static str,
        /// What the kernel answered.
        cause: Cause,
        /// Why it could not be enabled, and the command that does it.
        reason: String,
    },
    /// Others hold the lock of iptables (legacy): nothing was done, and it can be tried again.
    #[error("the xtables lock {} is held by {}", .path.display(), holder_or_others(.holder.as_ref()))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who holds it, if the kernel tells.
        holder: Option<LockHolder>,
    },
    /// Others change the rules at the same time: nothing was done, and it can be tried again.
    #[error("{program} is busy: {reason}")]
    Busy {
        /// Which.
        program: String,
        /// Its own words.
        reason: String,
    },
    /// A program did nothing for so long that it was killed. What it did before is unknown.
    #[error(
        "{program} hangs: after {} s it sleeps, uses no CPU and says nothing, and was killed; is another iptables hanging?",
        .age.as_secs()
    )]
    Hung {
        /// Which.
        program: String,
        /// How old it was.
        age: Duration,
    },
    /// A program was killed because this process is to end. What it did before is unknown.
    #[error("{program} was not waited for: this process is to end")]
    Stopped {
        /// Which.
        program: String,
    },
    /// What others change in the kernel is not heard of.
    #[error("cannot listen to the kernel: {reason}")]
    Deaf {
        /// Why.
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
    /// There is an nftables table of the name of ours, and it is somebody else's: it is left alone.
    #[error(
        "table {table} has no comment that says that a proxier made it: rename or delete it, the filter needs the name"
    )]
    ForeignTable {
        /// The table.
        table: ipvs_netfilter::nftables::TableId,
    },
    /// A rule of the filter is longer than the kernel takes.
    #[error("cannot write the filter: {0}")]
    Rule(#[from] ipvs_netfilter::nftables::RuleTooLong),
    /// The data plane did not say what became of each operation.
    #[error(transparent)]
    Outcomes(#[from] OutcomesDiffer),
}

impl PlaneError {
    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink(error) => error.cause().errno(),
            Self::Refused(cause) | Self::Ipv6Disabled { cause, .. } => cause.errno(),
            _ => None,
        }
    }

    /// Whether others are in the way for now: nothing was done, nothing is wrong with this node, and it should be tried again
    /// soon.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Busy { .. })
    }

    /// Whether it says nothing of this node: others are [in the way](Self::is_busy), or this process is to end.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        self.is_busy() || matches!(self, Self::Stopped { .. })
    }
}

fn holder_or_others(holder: Option<&LockHolder>) -> String {
    holder.map_or_else(|| "others".to_owned(), ToString::to_string)
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

impl Failure {
    /// Whether it is of something that every Service stands on: link, sets or rules.
    #[must_use]
    pub const fn concerns_node(&self) -> bool {
        matches!(
            self.operation,
            Operation::EnsureLink { .. }
                | Operation::CreateSet { .. }
                | Operation::DestroySet { .. }
                | Operation::WriteRules { .. }
                | Operation::ReleaseSets { .. }
        )
    }
}
