//! UDP has no end of its own: a conntrack entry to an endpoint that is gone would lead there for as long as packets come.

use std::collections::BTreeSet;

use ipvs_codec::{Family, Protocol};
use ipvs_model::{Desired, Operation};
use ipvs_netfilter::conntrack::Flow;

use crate::dataplane::{DataPlane, Outcome};
use crate::news::News;
use crate::step_error::StepError;

const ENOENT: i32 = 2;

/// Families whose UDP endpoints changed: their conntrack entries are looked through after a whole sync.
#[derive(Debug, Default)]
pub(super) struct StaleFlows {
    due: BTreeSet<Family>,
}

impl StaleFlows {
    /// Takes in families in which endpoints that serve have changed.
    pub(super) fn changed(&mut self, families: impl Iterator<Item = Family>) {
        self.due.extend(families);
    }

    /// Takes in an operation that succeeded: a resync may have made or removed a real server although nothing has changed.
    pub(super) fn applied(&mut self, operation: &Operation) {
        let (Operation::AddRealServer {
            virtual_server: key,
            ..
        }
        | Operation::RemoveRealServer {
            virtual_server: key,
            ..
        }) = operation
        else {
            return;
        };
        if key.protocol() == Some(Protocol::UDP) {
            self.due.insert(key.family());
        }
    }

    /// Deletes the entries to endpoints that are gone, and returns why some could not be read or deleted; the next sync
    /// tries these again. It comes after the real servers have left, so that no such entry begins again. O(conntrack
    /// entries), and only after endpoints of UDP changed.
    pub(super) fn delete<P: DataPlane + ?Sized>(
        &mut self,
        desired: &Desired,
        plane: &mut P,
        news: &mut Vec<News>,
    ) -> Vec<StepError> {
        let mut errors = Vec::new();
        for family in std::mem::take(&mut self.due) {
            let flows = match plane.flows(family) {
                Ok(flows) => flows.into_iter(),
                Err(error) => {
                    self.due.insert(family);
                    errors.push(StepError::Conntrack(error));
                    continue;
                }
            };
            let stale: Vec<Flow> = flows.filter(|flow| desired.is_stale(flow)).collect();
            let outcomes = plane.forget(&stale);
            // One that is not there has ended by itself.
            let is_gone = |outcome: &Outcome| match outcome {
                Ok(()) => true,
                Err(error) => error.errno() == Some(ENOENT),
            };
            let entries = outcomes.iter().filter(|outcome| is_gone(outcome)).count();
            if entries > 0 {
                news.push(News::ConntrackCleaned { family, entries });
            }
            let left = outcomes.into_iter().find(|outcome| !is_gone(outcome));
            if let Some(Err(error)) = left {
                self.due.insert(family);
                errors.push(StepError::Conntrack(*error));
            }
        }
        errors
    }
}
