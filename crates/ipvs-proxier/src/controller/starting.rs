//! The start: the kernel is read, and everything is made of what was found.

use std::collections::BTreeMap;
use std::time::Instant;

use ipvs_model::{Known, Plan};

use super::applying::Unfinished;
use super::state::{First, Running, Starting, State};
use super::{Controller, End, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::{DataPlane, Progress};
use crate::reading::{PAUSE, Reading};
use crate::report::{Report, Tally};
use crate::step_error::StepError;

/// Up to this many services are there at once anyway.
const MANY: usize = 100;
/// Services that a start brings in at once: long enough for the kernel not to wait for us, short enough for a change not to
/// wait for it.
const BATCH: usize = 250;

impl Controller {
    /// Begins to read the kernel's state, when it is time. A change is a reason not to wait for the retry of a start that
    /// failed: what does not need what failed can be served.
    pub(super) fn begin<P: DataPlane + ?Sized>(
        &mut self,
        retry: Option<Instant>,
        now: Moment,
        plane: &mut P,
    ) -> (State, Step) {
        let next_sync = self.timing.next_sync(now.steady);
        if let Some(retry) = retry {
            let until = next_sync.map_or(retry, |next_sync| next_sync.min(retry));
            if until > now.steady {
                return (
                    State::Unread { retry: Some(retry) },
                    Step::Wait(Some(until)),
                );
            }
        }
        let tally = Tally::new(now);
        // Everything is read now.
        self.concerns.clear();
        if let Err(error) = self.look_around(plane) {
            return self.fail(vec![error], tally, &now, plane);
        }
        let first = First {
            tally,
            known: Known::default(),
            reading: Reading::everything(&self.model.config().families),
            signs: None,
        };
        (State::Reading(first), Step::More)
    }

    /// Nothing is concluded from a state that was not read as a whole.
    fn fail<P: DataPlane + ?Sized>(
        &mut self,
        errors: Vec<StepError>,
        tally: Tally,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let mut report = Report::default();
        for error in errors {
            self.failed(error, &mut report);
        }
        let end = End {
            running: None,
            unfinished: Unfinished::default(),
            tally,
            report,
            drift: BTreeMap::new(),
        };
        self.end(Activity::Start, end, clock, plane)
    }

    /// Reads a part of the kernel's state; after the last one it begins to bring in what is missing.
    pub(super) fn read<P: DataPlane + ?Sized>(
        &mut self,
        mut first: First,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let First {
            reading,
            signs,
            known,
            ..
        } = &mut first;
        let (progress, _) = self.read_on(reading, signs, known, plane);
        if !first.reading.is_complete() {
            let unread = first.reading.finish().unread.into_iter();
            let errors = unread.map(StepError::from).collect();
            return self.fail(errors, first.tally, clock, plane);
        }
        match progress {
            Progress::More => (State::Reading(first), Step::More),
            Progress::Waiting => {
                let until = clock.now().steady.checked_add(PAUSE);
                (State::Reading(first), Step::Wait(until))
            }
            Progress::Done(()) => self.bring_in_first(first, clock, plane),
        }
    }

    /// A node that has nothing is given first what everything else waits for, then batches of services, so that neither a
    /// change nor memory has to wait for all of them. Any other gets what it lacks at once.
    fn bring_in_first<P: DataPlane + ?Sized>(
        &mut self,
        first: First,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let mut starting = Starting {
            tally: first.tally,
            known: first.known,
            services: Vec::new(),
            unfinished: Unfinished::default(),
        };
        let is_new = starting.known.virtual_servers.is_empty();
        if !is_new || self.model.service_count() <= MANY {
            return self.bring_in(starting, clock, plane);
        }
        let plan = self.model.plan_first(&starting.known);
        starting.services = self.model.service_names();
        starting.services.reverse();
        self.bring_in_plan(plan, starting, clock, plane)
    }

    /// Brings in a batch of services, with what changed meanwhile; and at last whatever else there is to do.
    pub(super) fn bring_in<P: DataPlane + ?Sized>(
        &mut self,
        mut starting: Starting,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let left = starting.services.len().saturating_sub(BATCH);
        let batch = starting.services.split_off(left);
        if !batch.is_empty() {
            let plan = self.model.plan_services(&batch, &starting.known);
            return self.bring_in_plan(plan, starting, clock, plane);
        }
        let Starting {
            tally,
            mut known,
            mut unfinished,
            ..
        } = starting;
        let now = clock.now();
        let plan = self.model.plan_everything(&known);
        let desired = self.model.desired();
        let draining = known.draining(desired);
        self.drains.found(draining, &known, desired, now.steady);
        let report = self.apply(plan, &mut known, &mut unfinished, now, plane);
        let end = End {
            running: Some(Running::new(known)),
            unfinished,
            tally,
            report,
            drift: BTreeMap::new(),
        };
        self.end(Activity::Start, end, clock, plane)
    }

    fn bring_in_plan<P: DataPlane + ?Sized>(
        &mut self,
        plan: Plan,
        mut starting: Starting,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let (known, unfinished) = (&mut starting.known, &mut starting.unfinished);
        let report = self.apply(plan, known, unfinished, clock.now(), plane);
        starting.tally.count(&report);
        (State::Starting(starting), Step::Did(Box::new(report)))
    }
}
