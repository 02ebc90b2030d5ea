//! Real servers that leave: looked at until their connections have ended, or their time is over.

use std::net::SocketAddr;
use std::time::Instant;

use ipvs_model::Operation;

use super::{Knowledge, Proxier, Report};
use crate::dataplane::DataPlane;
use crate::error::PlaneError;

/// Virtual servers whose connections are read at once: a request each.
const DRAINED_AT_ONCE: usize = 16;

impl<P: DataPlane> Proxier<P> {
    /// Removes the draining real servers that have no connections left, or whose deadline (of the Service or of the
    /// node) has passed at `now`; it is counted from the first look. One read for each virtual server that has draining
    /// ones, none if there are none. O(virtual servers with draining real servers).
    ///
    /// # Errors
    /// [`PlaneError`] when the connections cannot be read; what was removed before stays so.
    pub fn drain(&mut self, now: Instant) -> Result<Report, PlaneError> {
        self.undrained.clear();
        let mut all = Report::default();
        loop {
            all.append(self.drain_some(now)?);
            if self.undrained.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Goes on with [`drain`](Self::drain), or begins it: looks at some virtual servers. Changes can be synced in between.
    /// It [goes on](Self::drain_goes_on) until all were looked at.
    ///
    /// # Errors
    /// [`PlaneError`] when the connections cannot be read; nothing is then removed.
    pub fn drain_some(&mut self, now: Instant) -> Result<Report, PlaneError> {
        if self.undrained.is_empty() {
            self.forget_drained();
            self.undrained = self.draining.keys().rev().copied().collect();
        }
        let left = self.undrained.len().saturating_sub(DRAINED_AT_ONCE);
        let keys = self.undrained.split_off(left);
        if keys.is_empty() || self.known().is_none() {
            self.undrained.clear();
            return Ok(Report::default());
        }
        let connections = self.plane.connections(&keys)?;
        let Some(known) = self.take_known() else {
            return Ok(Report::default());
        };
        let desired = self.model.desired();
        let node_deadline = self.model.config().drain_deadline;
        let mut drained = Vec::new();
        for virtual_server in keys {
            let Some(since) = self.draining.get_mut(&virtual_server) else {
                continue;
            };
            let leaving: Vec<SocketAddr> = known.draining_of(&virtual_server, desired).collect();
            since.retain(|address, _| leaving.contains(address));
            let deadline = desired.drain_deadline(&virtual_server).or(node_deadline);
            for address in leaving {
                let since = *since.entry(address).or_insert(now);
                let mut of_it = connections.iter().filter(|found| {
                    (found.virtual_server, found.real_server) == (virtual_server, address)
                });
                let idle = of_it.any(|found| found.count == 0);
                let late = deadline.is_some_and(|deadline| now.duration_since(since) >= deadline);
                if idle || late {
                    drained.push((virtual_server, address));
                }
            }
        }
        let plan = self.model.plan_drained(&drained);
        let report = self.apply(plan, known);
        if self.undrained.is_empty() {
            self.forget_drained();
        }
        Ok(report)
    }

    /// Whether a look at draining real servers has not come to its end. O(1).
    #[must_use]
    pub fn drain_goes_on(&self) -> bool {
        !self.undrained.is_empty()
    }

    /// A real server begins to drain, or comes back: then its time is forgotten.
    pub(super) fn note_drain(&mut self, operation: &Operation) {
        match operation {
            Operation::DrainRealServer { virtual_server, .. } => {
                self.draining.entry(*virtual_server).or_default();
            }
            Operation::SetRealServer {
                virtual_server,
                real_server,
            } => {
                if let Some(since) = self.draining.get_mut(virtual_server) {
                    since.remove(&real_server.addr);
                }
            }
            _ => {}
        }
    }

    /// Leaves out virtual servers that have no draining real servers any more.
    fn forget_drained(&mut self) {
        if let Knowledge::All(known) = &self.known {
            let desired = self.model.desired();
            self.draining
                .retain(|key, _| known.draining_of(key, desired).next().is_some());
        }
    }

    /// When the next deadline of a draining real server passes. O(draining real servers).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let node_deadline = self.model.config().drain_deadline;
        let deadlines = self.draining.iter().filter_map(|(key, since)| {
            let own = self.model.desired().drain_deadline(key);
            let deadline = own.or(node_deadline)?;
            Some(*since.values().min()? + deadline)
        });
        deadlines.min()
    }

    /// Whether real servers may be waiting for the end of their connections. O(1).
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.known().is_some() && !self.draining.is_empty()
    }

    /// Virtual servers that may have such real servers. O(1).
    #[must_use]
    pub fn draining(&self) -> usize {
        self.draining.len()
    }
}
