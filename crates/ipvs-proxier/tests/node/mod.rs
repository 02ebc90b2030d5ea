//! A controller with a data plane and a clock that is a number: no threads, no sockets, and nothing happens by itself.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::time::{Duration, Instant};

use ipvs_model::input::Change;
use ipvs_model::{Desired, Known, Model, Plan};
use ipvs_proxier::{
    Activity, Controller, DataPlane, Ended, Failure, Moment, News, Pace, Progress, Report, Stage,
    Step, StepError, Unread,
};

/// Virtual servers with draining real servers that are looked at in one step.
const LOOKED_AT: usize = 16;

pub(crate) struct Node<P> {
    pub(crate) controller: Controller,
    pub(crate) clock: Moment,
    is_complete: bool,
    plane: P,
    /// What the steps of a resync or start that goes on did so far.
    so_far: Done,
    is_resyncing: bool,
    /// Steps that a look at draining real servers still takes.
    pub(crate) looks_left: usize,
}

/// What one or several steps did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) plan: Plan,
    pub(crate) failures: Vec<Failure>,
    pub(crate) errors: Vec<StepError>,
    pub(crate) news: Vec<News>,
    /// The last one that ended.
    pub(crate) ended: Option<Ended>,
    is_ill: bool,
}

impl Done {
    fn take_in(&mut self, report: Report) {
        self.is_ill |= !report.is_healthy();
        self.plan.append(report.plan);
        self.failures.extend(report.failures);
        self.errors.extend(report.errors);
        self.news.extend(report.news);
        self.ended = report.ended.or_else(|| self.ended.take());
    }

    pub(crate) fn is_healthy(&self) -> bool {
        !self.is_ill
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.failures.is_empty() && self.errors.is_empty()
    }

    pub(crate) fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.errors.iter().filter_map(|error| match error {
            StepError::Unread(unread) => Some(unread),
            _ => None,
        })
    }
}

/// Everything that is asked for comes at once, and nothing else.
pub(crate) const ON_DEMAND: Pace = Pace {
    min_sync: Duration::ZERO,
    sync: Duration::MAX,
    max_sync: Duration::MAX,
    drain: Duration::MAX,
    canary: None,
};

impl<P: DataPlane> Node<P> {
    pub(crate) fn new(model: Model, plane: P) -> Self {
        Self::with_pace(model, plane, ON_DEMAND)
    }

    pub(crate) fn with_pace(model: Model, plane: P, pace: Pace) -> Self {
        let mut node = Self::listing(model, plane, pace);
        node.complete();
        node
    }

    /// One whose source has not completed its initial list.
    pub(crate) fn listing(model: Model, plane: P, pace: Pace) -> Self {
        Self {
            controller: Controller::new(model, pace),
            clock: Moment::now(),
            is_complete: false,
            plane,
            so_far: Done::default(),
            is_resyncing: false,
            looks_left: 0,
        }
    }

    pub(crate) fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    pub(crate) fn model(&self) -> &Model {
        self.controller.model()
    }

    pub(crate) fn desired(&self) -> &Desired {
        self.controller.desired()
    }

    pub(crate) fn known(&self) -> Option<&Known> {
        self.controller.known()
    }

    pub(crate) fn draining(&self) -> usize {
        self.controller.status().draining
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.changes(vec![change]);
    }

    /// What the source says at once.
    pub(crate) fn changes(&mut self, changes: Vec<Change>) {
        let nothing = Vec::new();
        self.controller
            .source(self.clock, changes, nothing, self.is_complete);
    }

    /// The source's initial list is complete.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
        self.changes(Vec::new());
    }

    /// It is that time now.
    pub(crate) fn set_clock(&mut self, at: Instant) {
        let ahead = at.saturating_duration_since(self.clock.steady);
        self.clock = self.clock.later(ahead).unwrap();
    }

    pub(crate) fn after(&mut self, time: Duration) {
        self.clock = self.clock.later(time).unwrap();
    }

    pub(crate) fn poll(&mut self) -> Step {
        for event in self.plane.kernel_events().unwrap() {
            self.controller.kernel_event(event, self.clock);
        }
        self.controller.poll(&self.clock, &mut self.plane)
    }

    fn is_running(&self) -> bool {
        self.controller.status().stage == Stage::Running
    }

    /// Goes on until an activity ends, and waits for what is on its way. A start that fails is an error.
    fn until(&mut self, activities: &[Activity]) -> Result<Done, StepError> {
        let mut done = std::mem::take(&mut self.so_far);
        loop {
            match self.poll() {
                Step::More => {}
                Step::Wait(until) => self.set_clock(until.expect("an activity that ends")),
                Step::Did(report) => {
                    let ended = report.ended.as_ref().map(|ended| ended.activity);
                    done.take_in(*report);
                    self.is_resyncing &= ended != Some(Activity::Resync);
                    match ended {
                        Some(Activity::Start) if !self.has_started(&done) => {
                            return Err(done.errors.remove(0));
                        }
                        Some(activity) if activities.contains(&activity) => return Ok(done),
                        _ => {}
                    }
                }
            }
        }
    }

    fn has_started(&self, done: &Done) -> bool {
        done.ended
            .as_ref()
            .is_some_and(|ended| ended.covers_changes)
    }

    /// Syncs what changed, with what was refused before; starts, where nothing is known.
    pub(crate) fn sync(&mut self) -> Result<Done, StepError> {
        let activity = if self.is_running() {
            Activity::Sync
        } else {
            Activity::Start
        };
        self.controller.hurry(activity, self.clock);
        self.until(&[activity])
    }

    /// Compares everything with the kernel; starts, where nothing is known.
    pub(crate) fn resync(&mut self) -> Result<Done, StepError> {
        let activity = if self.is_running() {
            Activity::Resync
        } else {
            Activity::Start
        };
        self.controller.hurry(activity, self.clock);
        self.until(&[activity])
    }

    /// One step of a resync or start.
    pub(crate) fn resync_some(&mut self) -> Result<Progress<Done>, StepError> {
        if !self.is_running() {
            self.controller.hurry(Activity::Start, self.clock);
        } else if !std::mem::replace(&mut self.is_resyncing, true) {
            self.controller.hurry(Activity::Resync, self.clock);
        }
        match self.poll() {
            Step::More => Ok(Progress::More),
            Step::Wait(until) => {
                self.set_clock(until.unwrap_or(self.clock.steady));
                Ok(Progress::Waiting)
            }
            Step::Did(report) => {
                let ended = report.ended.as_ref().map(|ended| ended.activity);
                self.so_far.take_in(*report);
                match ended {
                    Some(Activity::Start | Activity::Resync) => {
                        self.is_resyncing = false;
                        let mut done = std::mem::take(&mut self.so_far);
                        if ended == Some(Activity::Start) && !self.has_started(&done) {
                            return Err(done.errors.remove(0));
                        }
                        Ok(Progress::Done(done))
                    }
                    _ => Ok(Progress::More),
                }
            }
        }
    }

    /// Looks at draining real servers.
    pub(crate) fn drain(&mut self, at: Instant) -> Result<Done, StepError> {
        self.looks_left = 0;
        let mut done = self.drain_some(at)?;
        while self.looks_left > 0 {
            let next = self.drain_some(at)?;
            done.plan.append(next.plan);
            done.failures.extend(next.failures);
            done.errors.extend(next.errors);
        }
        Ok(done)
    }

    /// Looks at some of them.
    pub(crate) fn drain_some(&mut self, at: Instant) -> Result<Done, StepError> {
        self.set_clock(at);
        if !self.is_running() || self.draining() == 0 {
            self.looks_left = 0;
            return Ok(Done::default());
        }
        if self.looks_left == 0 {
            self.looks_left = self.draining().div_ceil(LOOKED_AT);
            self.controller.hurry(Activity::Drain, self.clock);
        }
        self.looks_left -= 1;
        let so_far = std::mem::take(&mut self.so_far);
        let mut done = self.until(&[Activity::Drain])?;
        self.so_far = so_far;
        if !done.errors.is_empty() {
            self.looks_left = 0;
            return Err(done.errors.remove(0));
        }
        Ok(done)
    }

    /// How long there is nothing to do; nothing may be due.
    pub(crate) fn rests_until(&mut self) -> Option<Instant> {
        match self.poll() {
            Step::Wait(until) => until,
            step => panic!("{step:?}"),
        }
    }
}
