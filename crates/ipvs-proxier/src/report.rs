use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipvs_codec::Family;
use ipvs_model::Plan;

use crate::activity::Activity;
use crate::clock::Moment;
use crate::error::Failure;
use crate::kernel_event::DriftCause;
use crate::news::News;
use crate::source::Trigger;
use crate::step_error::StepError;

/// What one step of a [`Controller`](crate::Controller) did.
#[derive(Debug, Default)]
#[must_use]
pub struct Report {
    /// The operations that were tried in this step, in order.
    pub plan: Plan,
    /// Those that failed. They are retried with back-off.
    pub failures: Vec<Failure>,
    /// What else failed: what could not be read, for example. It is retried with back-off.
    pub errors: Vec<StepError>,
    /// What is worth a line in the log, each thing once for as long as it lasts.
    pub news: Vec<News>,
    /// What came to its end with this step.
    pub ended: Option<Ended>,
}

impl Report {
    /// Whether all is there that every Service stands on: link, sets and rules. What failed beside it concerns some, a set
    /// that is full for example, and leaves the node as a whole healthy, as with kube-proxy. O(failures).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.failures.iter().any(Failure::concerns_node)
    }

    /// Whether nothing failed.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        self.failures.is_empty() && self.errors.is_empty()
    }
}

/// An activity that came to its end, with all of its steps.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Which.
    pub activity: Activity,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    pub at: Moment,
    /// The operations that were tried, by [their kind](ipvs_model::Operation::kind).
    pub counts: BTreeMap<&'static str, usize>,
    /// How many of them failed.
    pub failed: usize,
    /// How much else failed.
    pub errors: usize,
    /// Whether it had a plan for every change that came before. A look at draining real servers has not, nor has a start that
    /// could not read the kernel's state.
    pub covers_changes: bool,
    /// Whether it left the node healthy, and nothing waits that concerns the node as a whole: every change that came before is
    /// in the kernel, but for single operations that failed.
    pub is_synced: bool,
    /// The families of operations that failed; none for the link, which both use.
    pub failed_families: BTreeSet<Option<Family>>,
    /// The changes of endpoints that are in the kernel now.
    pub programmed: Vec<Trigger>,
    /// What was repaired although nothing had changed and nothing had failed: others did it. By kind of operation, and by how
    /// it came out.
    pub drift: BTreeMap<(&'static str, DriftCause), usize>,
}

impl Ended {
    /// Whether nothing failed.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        self.failed == 0 && self.errors == 0
    }

    /// How many operations were tried.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.counts
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long it took, with what was done in between.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.at.steady.saturating_duration_since(self.began.steady)
    }

    /// Whether an operation on a family failed, or one that both use.
    #[must_use]
    pub fn has_failed(&self, family: Family) -> bool {
        self.failed_families.contains(&Some(family)) || self.failed_families.contains(&None)
    }
}

/// What the steps of an activity did so far.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    began: Moment,
    counts: BTreeMap<&'static str, usize>,
    failed: usize,
    failed_families: BTreeSet<Option<Family>>,
    errors: usize,
    is_healthy: bool,
}

impl Tally {
    pub(crate) const fn new(began: Moment) -> Self {
        Self {
            began,
            counts: BTreeMap::new(),
            failed: 0,
            failed_families: BTreeSet::new(),
            errors: 0,
            is_healthy: true,
        }
    }

    /// Takes a step in. O(operations).
    pub(crate) fn count(&mut self, report: &Report) {
        for (kind, count) in counts(&report.plan) {
            let so_far = self.counts.entry(kind).or_default();
            *so_far = so_far.saturating_add(count);
        }
        self.failed = self.failed.saturating_add(report.failures.len());
        self.errors = self.errors.saturating_add(report.errors.len());
        self.is_healthy &= report.is_healthy();
        let families = report.failures.iter();
        let families = families.map(|failure| failure.operation.family());
        self.failed_families.extend(families);
    }

    pub(crate) fn wrote(&self) -> bool {
        self.counts.values().any(|count| *count > 0)
    }

    pub(crate) const fn succeeded(&self) -> bool {
        self.failed == 0 && self.errors == 0
    }

    /// It ends: whether it had a plan for every change, and whether the kernel's state is known after it.
    pub(crate) fn end(
        self,
        activity: Activity,
        at: Moment,
        covers_changes: bool,
        is_known: bool,
    ) -> Ended {
        Ended {
            activity,
            began: self.began,
            at,
            counts: self.counts,
            failed: self.failed,
            errors: self.errors,
            covers_changes,
            is_synced: covers_changes && self.is_healthy && is_known,
            failed_families: self.failed_families,
            programmed: Vec::new(),
            drift: BTreeMap::new(),
        }
    }
}

/// How many operations of each kind there are. O(operations).
pub(crate) fn counts(plan: &Plan) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for operation in plan {
        let count = counts.entry(operation.kind()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}
