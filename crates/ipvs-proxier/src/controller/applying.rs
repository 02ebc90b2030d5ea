//! Carrying out plans, and learning from what became of them.

use ipvs_codec::{Scheduler, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Foreign, HeldBack, Key, Known, Operation, Plan};

use super::Controller;
use super::canaries::writes_rules;
use crate::clock::Moment;
use crate::dataplane::DataPlane;
use crate::error::Failure;
use crate::news::News;
use crate::report::Report;
use crate::step_error::StepError;

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

/// What plans of one activity left for later.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    held: HeldBack,
    /// What failed or was held back, to be planned again.
    pub(super) undone: Vec<Key>,
    /// Whether a failure left open what was done, so that what is known of the kernel is of no use any more. What the
    /// kernel refuses it does not do; after any other failure it may have done it.
    pub(super) is_unsure: bool,
    /// Whether something was learned that makes other plans: they are made at once.
    pub(super) is_wiser: bool,
}

impl Controller {
    /// Carries out a plan; `known` follows the kernel. O(plan).
    pub(super) fn apply<P: DataPlane + ?Sized>(
        &mut self,
        plan: Plan,
        known: &mut Known,
        unfinished: &mut Unfinished,
        now: Moment,
        plane: &mut P,
    ) -> Report {
        let mut report = Report::default();
        let mut execution = plan.execute(std::mem::take(&mut unfinished.held));
        let mut differ = None;
        while let Some(stage) = execution.next_stage() {
            let outcomes = plane.apply(stage);
            differ = execution.done(outcomes, known).err().or(differ);
        }
        let executed = execution.finish();
        unfinished.held = executed.held;
        unfinished.undone.extend(executed.undone);
        if let Some(differ) = differ {
            let lost = executed.unaccounted.into_iter();
            report.failures.extend(lost.map(|operation| Failure {
                operation,
                error: Box::new(differ.into()),
            }));
        }
        let all = executed.outcomes.iter().all(Result::is_ok);
        for (operation, outcome) in executed.tried.iter().zip(executed.outcomes) {
            if let Err(error) = outcome {
                report.failures.push(Failure {
                    operation: operation.clone(),
                    error,
                });
                continue;
            }
            if all {
                self.model.applied(operation, known);
            } else {
                known.applied(operation);
            }
            self.canaries.applied(operation);
            self.drains.applied(operation, now.steady);
            self.stale_flows.applied(operation);
        }
        report.plan = executed.tried;
        if writes_rules(&report.plan) {
            self.wrote_rules(plane);
        }
        unfinished.is_unsure |= !report.failures.iter().all(leaves_state_known);
        unfinished.is_wiser |= self.learn(&mut report, known);
        report
    }

    /// Keeps what was learned for the next plan; whether that plan will be another one. O(plan).
    fn learn(&mut self, report: &mut Report, known: &mut Known) -> bool {
        let taken_over = self.model.take_taken_over().into_iter();
        let taken_over = taken_over.map(|(service, key)| News::TakenOver { service, key });
        report.news.extend(taken_over);
        // One that came since everything was read is met only now. The next resync makes it as it is wanted.
        let met = report.failures.iter().filter_map(met_another);
        for key in met.filter(|_| self.model.config().foreign == Foreign::Remove) {
            let service = self.model.desired().owner(&key).cloned();
            let taken_over = service.map(|service| News::TakenOver { service, key });
            report.news.extend(taken_over);
        }
        for service in self.model.take_problem_changes() {
            let desired = self.model.desired();
            self.logged.problems(&service, desired, &mut report.news);
        }
        // The node's own scheduler was probed at start; others come from annotations.
        let own = self.model.config().scheduler;
        let missing = report.failures.iter().filter_map(missing_scheduler);
        let mut is_wiser = false;
        for scheduler in missing.filter(|missing| *missing != own) {
            self.model.change(Change::NoScheduler(scheduler));
            is_wiser = true;
        }
        self.logged.failures(&report.failures, &mut report.news);
        self.model.share(&report.plan, known);
        is_wiser
    }

    /// Everything that there was to do was tried, and what is known of the kernel is good for the next sync: what is left
    /// is planned again with it, and conntrack entries to endpoints that are gone are deleted.
    pub(super) fn settle<P: DataPlane + ?Sized>(
        &mut self,
        undone: Vec<Key>,
        report: &mut Report,
        plane: &mut P,
    ) {
        self.model.touch(undone);
        self.stale_flows.changed(self.model.take_flow_changes());
        let desired = self.model.desired();
        // Entries that stay concern some clients for some time, and are no reason to read everything again.
        for error in self.stale_flows.delete(desired, plane, &mut report.news) {
            self.logged.error(&error, &mut report.news);
        }
    }

    /// Something failed that is no operation: it is in the log once, and a reason to try again.
    pub(super) fn failed(&mut self, error: StepError, report: &mut Report) {
        self.logged.error(&error, &mut report.news);
        report.errors.push(error);
    }
}

/// Whether what is known of the kernel is as good after a failure as before: where others were in the way nothing was done,
/// nor where the kernel refused. But what it refuses of link, sets and rules is there in another shape than was known.
const fn leaves_state_known(failure: &Failure) -> bool {
    failure.error.is_busy() || (failure.error.errno().is_some() && !failure.concerns_node())
}

/// The virtual server that somebody else has made where this one was to be (`EEXIST`).
fn met_another(failure: &Failure) -> Option<ServiceKey> {
    match &failure.operation {
        Operation::AddVirtualServer { service } => {
            (failure.error.errno() == Some(EEXIST)).then_some(service.key)
        }
        _ => None,
    }
}

/// The scheduler that a virtual server could not be made or set with (`ENOENT`).
fn missing_scheduler(failure: &Failure) -> Option<Scheduler> {
    match &failure.operation {
        Operation::AddVirtualServer { service } | Operation::SetVirtualServer { service } => {
            (failure.error.errno() == Some(ENOENT)).then_some(service.scheduler)
        }
        _ => None,
    }
}
