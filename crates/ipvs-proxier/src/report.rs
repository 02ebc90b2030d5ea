use std::collections::BTreeMap;

use ipvs_model::{Operation, Plan};

use crate::error::Failure;
use crate::reading::Unread;

/// What a sync did.
#[derive(Debug, Default)]
#[must_use]
pub struct Report {
    /// The operations that were tried, in order. Where [`verify_some`](crate::Proxier::verify_some) began on a node that had
    /// nothing, those of the last step; [`counts`](Self::counts) has all.
    pub plan: Plan,
    /// Those that failed, of all steps.
    pub failures: Vec<Failure>,
    /// What a resync could not read: there all is left as it was last known.
    pub unread: Vec<Unread>,
    /// Of steps whose plan is gone.
    before: BTreeMap<&'static str, usize>,
}

impl Report {
    pub(crate) const fn new(plan: Plan, failures: Vec<Failure>) -> Self {
        Self {
            plan,
            failures,
            unread: Vec::new(),
            before: BTreeMap::new(),
        }
    }

    /// How many operations of each kind were tried, by their names. O(operations).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.before.clone();
        for operation in &self.plan {
            *counts.entry(operation.kind()).or_default() += 1_usize;
        }
        counts
    }

    /// How many operations were tried.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.before
            .values()
            .sum::<usize>()
            .saturating_add(self.plan.len())
    }

    /// Takes in what came next, all of it.
    pub(crate) fn append(&mut self, next: Self) {
        self.plan.append(next.plan);
        self.failures.extend(next.failures);
        self.unread.extend(next.unread);
    }

    /// Takes in what came next, and only counts what this did.
    pub(crate) fn count_and_append(&mut self, next: Self) {
        self.before = self.counts();
        self.plan = next.plan;
        self.failures.extend(next.failures);
        self.unread.extend(next.unread);
    }

    /// Whether nothing failed, and everything could be read. O(1).
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failures.is_empty() && self.unread.is_empty()
    }

    /// Whether all is there that every service stands on: link, sets and rules. What failed beside it concerns some, a set
    /// that is full for example, and makes the node as a whole no worse. As with kube-proxy only the former is a matter of
    /// its health. O(failures).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.failures.iter().any(|failure| {
            matches!(
                failure.operation,
                Operation::EnsureLink { .. }
                    | Operation::CreateSet { .. }
                    | Operation::WriteRules { .. }
            )
        })
    }
}
