use std::time::{Instant, SystemTime};

use ipvs_model::input::Change;

use super::state::Stage;
use crate::activity::Activity;
use crate::clock::Moment;
use crate::report::Ended;

/// What a controller knows of itself: what health and metrics are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub stage: Stage,
    /// Since when something waits that concerns the node as a whole: a change that no sync has covered, a failure of what
    /// every Service stands on, or a start that could not read the kernel's state. Nothing, if all is well. A resync that
    /// could not read a section says nothing of the node: a busy one may be slow with it.
    pub waiting_since: Option<Instant>,
    /// The end of the last sync after which nothing waited.
    pub last_sync: Option<SystemTime>,
    /// Changes of Services that no sync has covered.
    pub service_changes_pending: u64,
    /// Changes of EndpointSlices that no sync has covered.
    pub endpoint_changes_pending: u64,
    /// Virtual servers with real servers that are draining.
    pub draining: usize,
    /// Operations that failed in the last sync, and reads.
    pub failing: usize,
}

impl Status {
    /// Whether something waits or failed, so that what differs in the kernel need not be the work of others.
    pub(super) const fn waits(&self) -> bool {
        self.service_changes_pending > 0 || self.endpoint_changes_pending > 0 || self.failing > 0
    }

    /// Changes came in. O(changes).
    pub(super) fn changed(&mut self, changes: &[Change], now: Moment) {
        if changes.is_empty() {
            return;
        }
        self.waiting_since.get_or_insert(now.steady);
        for change in changes {
            let pending = match change {
                Change::Service(_) | Change::ServiceGone(_) => &mut self.service_changes_pending,
                Change::EndpointSlice(_) | Change::EndpointSliceGone(_) => {
                    &mut self.endpoint_changes_pending
                }
                _ => continue,
            };
            *pending = pending.saturating_add(1);
        }
    }

    /// An activity came to its end. A look at draining real servers covers no change, and says nothing of the rest.
    pub(super) fn ended(&mut self, ended: &Ended) {
        if ended.activity == Activity::Drain {
            return;
        }
        self.failing = ended.failed.saturating_add(ended.errors);
        if ended.covers_changes {
            (self.service_changes_pending, self.endpoint_changes_pending) = (0, 0);
        }
        if ended.is_synced {
            self.waiting_since = None;
            self.last_sync = Some(ended.at.wall);
        } else {
            self.waiting_since.get_or_insert(ended.at.steady);
        }
    }
}
