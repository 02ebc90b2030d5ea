//! Carrying out a plan, without doing it: what to do next goes out, what became of it comes in.

use super::builder::Plan;
use super::held_back::HeldBack;
use super::operation::Operation;
use super::phase::Stage;
use crate::key::Key;
use crate::known::Known;

/// A data plane returned another number of outcomes than it was given operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data plane returned {outcomes} outcomes for {operations} operations: what became of them is unknown until the \
     state is read again; the data plane is at fault"
)]
pub struct OutcomesDiffer {
    /// How many operations it was given.
    pub operations: usize,
    /// How many outcomes it returned.
    pub outcomes: usize,
}

/// A plan that is being carried out, in up to three stages: link, sets, rules and entries; the virtual servers and addresses
/// that these guard; the entries and rules that nothing needs any more. What failed in one stage holds back what would be
/// wrong without it. `E` is why an operation failed.
///
/// ```
/// use ipvs_model::{Config, HeldBack, Known, Model};
///
/// let (mut model, mut known) = (Model::new(Config::default()), Known::default());
/// let mut execution = model.plan_everything(&known).execute(HeldBack::default());
/// while let Some(stage) = execution.next_stage() {
///     // A data plane would do it here.
///     let outcomes: Vec<Result<(), std::io::Error>> = stage.iter().map(|_| Ok(())).collect();
///     execution.done(outcomes, &known)?;
/// }
/// let executed = execution.finish();
/// assert!(executed.undone.is_empty());
/// executed.tried.iter().for_each(|operation| known.applied(operation));
/// assert!(model.plan_everything(&known).is_empty());
/// # Ok::<(), ipvs_model::OutcomesDiffer>(())
/// ```
#[derive(Debug)]
pub struct Execution<E> {
    /// What was tried, the stage that is due from `start` to `end`, and what comes after it.
    plan: Plan,
    start: usize,
    end: usize,
    /// Of what was tried.
    outcomes: Vec<Result<(), E>>,
    unaccounted: Vec<Operation>,
    undone: Vec<Key>,
    held: HeldBack,
}

/// What became of a plan.
#[derive(Debug)]
#[must_use]
pub struct Executed<E> {
    /// The operations that were tried and whose outcome is known, in order.
    pub tried: Plan,
    /// Their outcomes, one for each.
    pub outcomes: Vec<Result<(), E>>,
    /// Operations that the data plane was given and returned no outcome for ([`OutcomesDiffer`]). If there are any, the
    /// state must be read again before it is planned for.
    pub unaccounted: Vec<Operation>,
    /// What the operations concern that failed, were held back, or are unaccounted for: to be planned again
    /// ([`Model::touch`](crate::Model::touch)).
    pub undone: Vec<Key>,
    /// For the next plan of the same start; otherwise it is done with.
    pub held: HeldBack,
}

impl<E> Executed<E> {
    /// The operations that were tried, with their outcomes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Operation, &Result<(), E>)> {
        self.tried.iter().zip(&self.outcomes)
    }
}

impl Plan {
    /// Begins to carry it out. `held` has what failed in plans before it that it stands on.
    #[must_use]
    pub const fn execute<E>(self, held: HeldBack) -> Execution<E> {
        Execution {
            plan: self,
            start: 0,
            end: 0,
            outcomes: Vec::new(),
            unaccounted: Vec::new(),
            undone: Vec::new(),
            held,
        }
    }
}

impl<E> Execution<E> {
    /// The operations that are to be done next, in order, until their outcomes are [told](Self::done); none at the end.
    /// Their outcomes do not depend on each other. O(operations), if something is held back; otherwise O(stage).
    #[must_use]
    pub fn next_stage(&mut self) -> Option<&[Operation]> {
        while self.start == self.end {
            self.end = self.end_of_stage()?;
            self.hold_back();
        }
        self.plan.operations().get(self.start..self.end)
    }

    fn end_of_stage(&self) -> Option<usize> {
        let left = self.plan.operations().get(self.start..)?;
        let stage = stage_of(left.first()?);
        let length = left.iter().take_while(|next| stage_of(next) == stage);
        Some(self.start.saturating_add(length.count()))
    }

    fn hold_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = &self.held;
        let due = self.start..self.end;
        let waiting = self.plan.take_out(due, |operation| held.covers(operation));
        self.end = self.end.saturating_sub(waiting.len());
        waiting
            .iter()
            .for_each(|operation| self.held.held(operation));
        self.undone
            .extend(waiting.iter().filter_map(Operation::key));
    }

    /// What became of the stage: one outcome for each operation. `known` is the state before this plan. O(stage).
    ///
    /// # Errors
    /// [`OutcomesDiffer`] if there are more or fewer outcomes than operations. Which is whose is unknown then: all
    /// operations of the stage count as undone, and as possibly done. The execution can go on.
    pub fn done(
        &mut self,
        outcomes: Vec<Result<(), E>>,
        known: &Known,
    ) -> Result<(), OutcomesDiffer> {
        let due = self.start..self.end;
        let operations = due.len();
        if outcomes.len() != operations {
            let returned = outcomes.len();
            self.lose_account(known);
            return Err(OutcomesDiffer {
                operations,
                outcomes: returned,
            });
        }
        let stage = self.plan.operations().get(due).unwrap_or_default();
        for (operation, outcome) in stage.iter().zip(&outcomes) {
            if outcome.is_err() {
                self.held.failed(operation, known);
                self.undone.extend(operation.key());
            }
        }
        if self.outcomes.is_empty() {
            self.outcomes = outcomes;
        } else {
            self.outcomes.extend(outcomes);
        }
        self.start = self.end;
        Ok(())
    }

    fn lose_account(&mut self, known: &Known) {
        let lost = self.plan.take_out(self.start..self.end, |_| true);
        self.end = self.start;
        for operation in &lost {
            self.held.failed(operation, known);
            self.undone.extend(operation.key());
        }
        self.unaccounted.extend(lost);
    }

    /// What became of the plan. Operations of stages that were not asked for count as undone, those of a stage whose outcomes
    /// were not told as unaccounted for.
    pub fn finish(mut self) -> Executed<E> {
        let rest = self.start..self.plan.len();
        let mut due = self.plan.take_out(rest, |_| true);
        self.undone.extend(due.iter().filter_map(Operation::key));
        due.truncate(self.end.saturating_sub(self.start));
        self.unaccounted.extend(due);
        Executed {
            tried: self.plan,
            outcomes: self.outcomes,
            unaccounted: self.unaccounted,
            undone: self.undone,
            held: self.held,
        }
    }
}

const fn stage_of(operation: &Operation) -> Stage {
    operation.phase().stage()
}
