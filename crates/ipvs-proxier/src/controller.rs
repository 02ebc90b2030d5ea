//! What decides when: one state machine without a clock, a socket or a thread of its own.

mod applying;
mod asking;
mod canaries;
mod concerns;
mod conntrack;
mod draining;
mod repairing;
mod rereading;
mod running;
mod starting;
mod state;
mod status;
mod timing;
mod turns;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipvs_model::input::Change;
use ipvs_model::{Desired, Known, Model, VipBinding};

use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::DataPlane;
use crate::kernel_event::DriftCause;
use crate::news::LoggedOnce;
use crate::report::{Report, Tally};
use crate::source::Trigger;
use crate::step_error::StepError;

use self::applying::Unfinished;
use self::canaries::Canaries;
use self::concerns::Concerns;
use self::conntrack::StaleFlows;
use self::draining::Drains;
use self::state::{Running, State};
use self::timing::{Found, Timing};
use self::turns::Turns;

pub use self::state::Stage;
pub use self::status::Status;
pub use self::timing::Pace;

/// While a source lists, what can be compiled is looked for so often.
const AHEAD: Duration = Duration::from_millis(250);

/// What a controller did when it was asked.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Nothing, and there is nothing to do before that time (for ever, if there is none) unless something changes.
    Wait(Option<Instant>),
    /// It read or prepared something; there is more to do. Changes can be taken in first.
    More,
    /// It did something. There may be more to do.
    Did(Box<Report>),
}

/// Keeps a node equal to what a source wants: it reads the kernel's state, brings in what is missing, follows changes,
/// repairs what drifts, drains real servers, and retries what failed with back-off.
///
/// It decides when, and leaves the doing to others: time comes in by a [`Clock`], objects by [`source`](Self::source), and
/// the kernel is a [`DataPlane`]. [`run`](crate::run) drives one; tests drive one with a simulated kernel and a clock that
/// they set.
///
/// A sync after a change writes what the change needs and reads nothing: O(change). Everything is read at the start, by a
/// resync, and again after a failure that leaves open what was done: one without an error number, or of link, sets or rules.
/// What others change is read again by itself as soon as the kernel tells of it ([`kernel_event`](Self::kernel_event)), or a
/// canary is gone where it does not.
///
/// ```
/// use ipvs_model::{Config, Model};
/// use ipvs_proxier::{Controller, Moment, Pace, Simulated, Step};
///
/// let (now, mut plane) = (Moment::now(), Simulated::default());
/// let mut controller = Controller::new(Model::new(Config::default()), Pace::default());
/// controller.source(now, vec![], vec![], true);
/// loop {
///     match controller.poll(&now, &mut plane) {
///         Step::Did(report) => assert!(report.succeeded()),
///         Step::More => {}
///         Step::Wait(until) => break assert_eq!(until, now.steady.checked_add(Pace::default().sync)),
///     }
/// }
/// assert!(plane.state().link.is_some());
/// ```
#[derive(Debug)]
pub struct Controller {
    model: Model,
    state: State,
    timing: Timing,
    drains: Drains,
    stale_flows: StaleFlows,
    /// What others have changed.
    concerns: Concerns,
    canaries: Canaries,
    turns: Turns,
    logged: LoggedOnce,
    /// Changes of endpoints that are not in the kernel yet.
    triggers: Vec<Trigger>,
    status: Status,
    /// Whether the source's initial list is complete. Until then everything that is there would look foreign.
    is_listed: bool,
    /// Whether the model has the node's addresses, which every service depends on, before the list is complete.
    has_addresses: bool,
    /// When to look again for what can be compiled ahead.
    next_ahead: Option<Instant>,
}

impl Controller {
    /// One that knows nothing of the kernel.
    #[must_use]
    pub fn new(model: Model, pace: Pace) -> Self {
        Self {
            model,
            state: State::default(),
            timing: Timing::new(pace),
            drains: Drains::default(),
            stale_flows: StaleFlows::default(),
            concerns: Concerns::default(),
            canaries: Canaries::default(),
            turns: Turns::default(),
            logged: LoggedOnce::default(),
            triggers: Vec::new(),
            status: Status::default(),
            is_listed: false,
            has_addresses: false,
            next_ahead: None,
        }
    }

    /// Takes in what a source has learned, and whether its initial list is complete. The kernel is not read or changed before
    /// that was so once: what the source has not listed yet would look foreign. O(changes).
    pub fn source(
        &mut self,
        now: Moment,
        changes: Vec<Change>,
        triggers: Vec<Trigger>,
        is_complete: bool,
    ) {
        self.is_listed |= is_complete;
        self.triggers.extend(triggers);
        if changes.is_empty() {
            return;
        }
        self.status.changed(&changes, now);
        self.timing.change();
        for change in changes {
            self.model.change(change);
        }
    }

    /// Asks for an activity at once, whatever the [`Pace`]: a sync also tries again what was refused; a resync that is going
    /// on begins anew. O(1).
    pub fn hurry(&mut self, activity: Activity, now: Moment) {
        match (activity, &mut self.state) {
            (Activity::Start, State::Unread { retry }) => *retry = None,
            (Activity::Drain, _) => self.drains.look_at_once(now.steady),
            (Activity::Resync, State::Running(running)) => {
                running.restart_resync(&self.model.config().families);
                self.timing.resync_at_once(now.steady);
            }
            (Activity::Resync, _) => self.timing.resync_at_once(now.steady),
            (Activity::Sync | Activity::Start, _) => self.timing.sync_at_once(),
            // What others have changed does not wait anyway.
            (Activity::Repair, _) => {}
        }
    }

    /// Does the next thing that is due, a small one: a part of the kernel's state is read, a batch of services brought in, the
    /// changes so far are synced, some draining real servers looked at. Each is O(of its size); nothing is due at rest.
    pub fn poll<P: DataPlane + ?Sized>(&mut self, clock: &dyn Clock, plane: &mut P) -> Step {
        let (state, step) = match std::mem::take(&mut self.state) {
            State::Unread { retry } if !self.is_listed => {
                (State::Unread { retry }, self.ahead(clock.now(), plane))
            }
            State::Unread { retry } => self.begin(retry, clock.now(), plane),
            State::Reading(reading) => self.read(reading, clock, plane),
            State::Starting(starting) => self.bring_in(starting, clock, plane),
            State::Running(running) => self.go_on(running, clock, plane),
        };
        self.state = state;
        self.status.stage = match &self.state {
            State::Unread { .. } if !self.is_listed => Stage::Listing,
            State::Unread { .. } => Stage::Unread,
            State::Reading(_) => Stage::Reading,
            State::Starting(_) => Stage::Starting,
            State::Running(_) => Stage::Running,
        };
        self.status.draining = self.drains.virtual_servers();
        step
    }

    /// What health and metrics are made of.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// What should be there, as of the last sync.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        self.model.desired()
    }

    /// The kernel's state, if all of it is known.
    #[must_use]
    pub const fn known(&self) -> Option<&Known> {
        match &self.state {
            State::Running(running) => Some(&running.known),
            _ => None,
        }
    }

    /// How often it syncs.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        self.timing.pace()
    }

    /// While the source lists: compiles what can be compiled, so that less is left for the first sync. Not with each page of
    /// a list, but now and then. O(change).
    fn ahead<P: DataPlane + ?Sized>(&mut self, now: Moment, plane: &mut P) -> Step {
        if let Some(next) = self.next_ahead.filter(|next| *next > now.steady) {
            return Step::Wait(Some(next));
        }
        self.next_ahead = now.steady.checked_add(AHEAD);
        let mut report = Report::default();
        if !self.has_addresses {
            match self.look_around(plane) {
                Ok(()) => self.has_addresses = true,
                Err(error) => {
                    self.failed(error, &mut report);
                    return Step::Did(Box::new(report));
                }
            }
        }
        self.model.compile_ahead();
        Step::Wait(self.next_ahead)
    }

    /// Reads what the node itself has that services depend on.
    fn look_around<P: DataPlane + ?Sized>(&mut self, plane: &mut P) -> Result<(), StepError> {
        let addresses = plane.node_addresses().map_err(StepError::Node)?;
        self.model.change(Change::NodeAddresses(addresses));
        if self.model.config().vip_binding == VipBinding::Route {
            let mtu = plane.smallest_mtu().map_err(StepError::Node)?;
            self.model.change(Change::SmallestMtu(mtu));
        }
        if self.model.config().never_bind.gateways {
            let gateways = plane.gateways().map_err(StepError::Node)?;
            self.model.change(Change::Gateways(gateways));
        }
        Ok(())
    }

    /// An activity came to its end: what is known of the kernel, if it still is, and what it left undone decide what comes
    /// next.
    fn end<P: DataPlane + ?Sized>(
        &mut self,
        activity: Activity,
        end: End,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let End {
            running,
            unfinished,
            mut tally,
            mut report,
            drift,
        } = end;
        let covers_changes = running.is_some() && activity != Activity::Drain;
        let running = running.filter(|_| !unfinished.is_unsure);
        if running.is_some() {
            self.settle(unfinished.undone, &mut report, plane);
        }
        tally.count(&report);
        let now = clock.now();
        let (succeeded, wrote) = (tally.succeeded(), tally.wrote());
        let mut ended = tally.end(activity, now, covers_changes, running.is_some());
        if covers_changes {
            let has_failed = |trigger: &Trigger| ended.has_failed(trigger.family);
            let (waiting, programmed) = std::mem::take(&mut self.triggers)
                .into_iter()
                .partition(has_failed);
            self.triggers = waiting;
            ended.programmed = programmed;
        }
        let found = Found {
            wrote,
            drift: !drift.is_empty(),
            is_attentive: plane.is_listening() && self.canaries.are_whole(),
        };
        self.timing.ended(activity, now.steady, succeeded, found);
        ended.drift = drift;
        if unfinished.is_wiser {
            self.timing.sync_at_once();
        }
        self.logged.ended(activity, succeeded);
        self.status.ended(&ended);
        report.ended = Some(ended);
        let state = match running {
            Some(running) => State::Running(running),
            None => State::Unread {
                retry: self.timing.next_resync(),
            },
        };
        (state, Step::Did(Box::new(report)))
    }
}

/// What is there at the end of an activity.
struct End {
    /// What is known of the kernel, with what goes on beside the activity. None if it was not read.
    running: Option<Running>,
    unfinished: Unfinished,
    /// Of the steps before the last one.
    tally: Tally,
    /// Of the last step.
    report: Report,
    /// What of it repaired what others did.
    drift: BTreeMap<(&'static str, DriftCause), usize>,
}
