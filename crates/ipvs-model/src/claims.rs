//! Who claims a virtual server, and who has it.

use std::sync::Arc;
use std::time::Duration;

use crate::input::{ObjectName, Service};
use crate::state::VirtualServer;

/// Who contributes: among several that claim one virtual server the older one wins, then the one whose name comes
/// first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claimant {
    /// An RFC 3339 time in UTC, which sorts as text; none is younger than any.
    created: (bool, Box<str>),
    pub(crate) name: ObjectName,
    pub(crate) drain_deadline: Option<Duration>,
}

impl Claimant {
    pub(crate) fn of(service: &Service) -> Self {
        let created = service.created.as_deref();
        let tuning = service.tuning.as_ref();
        Self {
            created: (created.is_none(), created.unwrap_or_default().into()),
            name: service.name.clone(),
            drain_deadline: tuning.and_then(|tuning| tuning.drain_deadline),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) owner: Arc<Claimant>,
    pub(crate) server: Arc<VirtualServer>,
}

/// Who claims a virtual server. Nearly always one service, so the others have no memory set aside.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) winner: Claim,
    /// The next winner first.
    pub(crate) losers: Vec<Claim>,
}

impl Claims {
    pub(crate) fn add(&mut self, mut claim: Claim) {
        if claim.owner < self.winner.owner {
            std::mem::swap(&mut claim, &mut self.winner);
        }
        let at = self
            .losers
            .partition_point(|other| other.owner <= claim.owner);
        self.losers.insert(at, claim);
    }

    /// What is left without the claims of an owner, and nothing if none are.
    pub(crate) fn without(mut self, owner: &Arc<Claimant>) -> Option<Self> {
        // Every compilation has an owner of its own, so the new claims of the same service stay.
        self.losers
            .retain(|claim| !Arc::ptr_eq(&claim.owner, owner));
        if !Arc::ptr_eq(&self.winner.owner, owner) {
            return Some(self);
        }
        if self.losers.is_empty() {
            return None;
        }
        self.winner = self.losers.remove(0);
        Some(self)
    }
}
