//! Draining real servers: looked at until their connections have ended, or their time is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipvs_codec::ServiceKey;
use ipvs_model::{Desired, Known, Operation};

use crate::dataplane::Connections;

/// Virtual servers whose connections are read at once: a request each.
const AT_ONCE: usize = 16;
/// The first look at a draining real server; an idle one has no connections left by then.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// A real server that is draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drain {
    /// When it began, or was found.
    since: Instant,
}

impl Drain {
    /// When its connections are cut, if they are.
    fn deadline(self, limit: Option<Duration>) -> Option<Instant> {
        self.since.checked_add(limit?)
    }

    fn is_over(self, limit: Option<Duration>, now: Instant) -> bool {
        self.deadline(limit).is_some_and(|at| at <= now)
    }
}

/// Every real server that is draining, by virtual server, so that a change need not look at all of them.
#[derive(Debug, Default)]
pub(super) struct Drains {
    servers: BTreeMap<ServiceKey, BTreeMap<SocketAddr, Drain>>,
    /// Virtual servers that a look which is going on has not come to yet, the next one last.
    to_look_at: Vec<ServiceKey>,
    /// When the next look begins, or goes on.
    next_look: Option<Instant>,
    /// Real servers began to drain during a look, which may have passed them by.
    again: bool,
}

impl Drains {
    /// Virtual servers that have draining real servers. O(1).
    pub(super) fn virtual_servers(&self) -> usize {
        self.servers.len()
    }

    /// When the next look is due. O(1).
    pub(super) const fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// A look is asked for at once.
    pub(super) fn look_at_once(&mut self, now: Instant) {
        self.to_look_at.clear();
        self.next_look = (!self.servers.is_empty()).then_some(now);
    }

    /// Takes in an operation that succeeded: a real server begins to drain, comes back, or is gone.
    pub(super) fn applied(&mut self, operation: &Operation, now: Instant) {
        match operation {
            Operation::DrainRealServer {
                virtual_server,
                real_server,
            } => self.begin(*virtual_server, real_server.addr, now),
            Operation::SetRealServer {
                virtual_server,
                real_server,
            } => self.end(virtual_server, real_server.addr),
            Operation::RemoveRealServer {
                virtual_server,
                address,
            } => self.end(virtual_server, *address),
            Operation::RemoveVirtualServer { virtual_server } => {
                self.servers.remove(virtual_server);
            }
            _ => {}
        }
    }

    /// Takes in those that the kernel was found to have. O(real servers of the virtual servers).
    pub(super) fn found(
        &mut self,
        virtual_servers: impl IntoIterator<Item = ServiceKey>,
        known: &Known,
        desired: &Desired,
        now: Instant,
    ) {
        for key in virtual_servers {
            for address in known.draining_of(&key, desired) {
                self.begin(key, address, now);
            }
        }
    }

    fn begin(&mut self, key: ServiceKey, address: SocketAddr, now: Instant) {
        let drains = self.servers.entry(key).or_default();
        drains.entry(address).or_insert(Drain { since: now });
        self.again |= !self.to_look_at.is_empty();
        let first = now.checked_add(FIRST_LOOK);
        self.next_look = match self.next_look {
            // One that is going on ends first.
            Some(next) if self.to_look_at.is_empty() => first.map(|first| first.min(next)),
            Some(next) => Some(next),
            None => first,
        };
    }

    fn end(&mut self, key: &ServiceKey, address: SocketAddr) {
        if let Some(drains) = self.servers.get_mut(key) {
            drains.remove(&address);
            if drains.is_empty() {
                self.servers.remove(key);
            }
        }
    }

    /// The virtual servers to look at next; none if nothing drains any more. A look that ended begins anew.
    pub(super) fn next(&mut self) -> Vec<ServiceKey> {
        if self.to_look_at.is_empty() {
            self.to_look_at = self.servers.keys().rev().copied().collect();
        }
        let left = self.to_look_at.len().saturating_sub(AT_ONCE);
        self.to_look_at.split_off(left)
    }

    /// Whether a look has not come to its end.
    pub(super) const fn goes_on(&self) -> bool {
        !self.to_look_at.is_empty()
    }

    /// Those of some virtual servers that have no connections left, or whose deadline (of the Service or of the node) has
    /// passed. What is not draining any more is forgotten. O(their real servers).
    pub(super) fn over(
        &mut self,
        keys: &[ServiceKey],
        connections: &[Connections],
        limits: &Limits<'_>,
        known: &Known,
        now: Instant,
    ) -> Vec<(ServiceKey, SocketAddr)> {
        let mut over = Vec::new();
        for key in keys {
            let draining: Vec<SocketAddr> = known.draining_of(key, limits.desired).collect();
            let Some(drains) = self.servers.get_mut(key) else {
                continue;
            };
            drains.retain(|address, _| draining.contains(address));
            for address in draining {
                let drain = *drains.entry(address).or_insert(Drain { since: now });
                let mut of_it = connections
                    .iter()
                    .filter(|found| (found.virtual_server, found.real_server) == (*key, address));
                if of_it.any(|found| found.count == 0) || drain.is_over(limits.of(key), now) {
                    over.push((*key, address));
                }
            }
            if drains.is_empty() {
                self.servers.remove(key);
            }
        }
        over
    }

    /// A look ended. The next one comes after a while, or when the next deadline passes. One that has passed already and
    /// could not be kept must not come again at once. O(draining real servers).
    pub(super) fn ended(&mut self, pace: Duration, limits: &Limits<'_>, now: Instant) {
        self.to_look_at.clear();
        let wait = if std::mem::take(&mut self.again) {
            FIRST_LOOK.min(pace)
        } else {
            pace
        };
        self.next_look = now.checked_add(wait);
        self.keep_deadlines(limits, now);
    }

    /// The next look comes before the next deadline passes. O(draining real servers).
    pub(super) fn keep_deadlines(&mut self, limits: &Limits<'_>, now: Instant) {
        if self.servers.is_empty() {
            self.next_look = None;
            return;
        }
        let deadlines = self.servers.iter().flat_map(|(key, drains)| {
            let limit = limits.of(key);
            drains
                .values()
                .filter_map(move |drain| drain.deadline(limit))
        });
        let next = deadlines.filter(|deadline| *deadline > now).min();
        self.next_look = self.next_look.into_iter().chain(next).min();
    }
}

/// How long connections of draining real servers live on.
pub(super) struct Limits<'a> {
    pub(super) desired: &'a Desired,
    /// The node's, for Services that have none of their own.
    pub(super) node: Option<Duration>,
}

impl Limits<'_> {
    fn of(&self, key: &ServiceKey) -> Option<Duration> {
        self.desired.drain_deadline(key).or(self.node)
    }
}
