//! What others change: the section that they changed is read again, and what differs is repaired.

use ipvs_model::Known;
use ipvs_model::input::Change;

use super::canaries::{TakenSigns, has_signs};
use super::repairing::Repair;
use super::state::{Reread, Running, State};
use super::{Controller, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::{DataPlane, Progress};
use crate::kernel_event::{Concern, KernelEvent};
use crate::reading::{Lane, PAUSE, Reading, Section};
use crate::report::Tally;
use crate::step_error::StepError;

impl Controller {
    /// Others changed something in the kernel, or may have: what it concerns is read again soon, and what differs is repaired.
    /// O(1); however many come, each section waits once.
    ///
    /// ```
    /// use ipvs_model::{Config, Model};
    /// use ipvs_proxier::{Concern, Controller, DriftCause, KernelEvent, Moment, Pace, Section};
    ///
    /// let mut controller = Controller::new(Model::new(Config::default()), Pace::default());
    /// let event = KernelEvent {
    ///     what: Concern::Section(Section::Link),
    ///     cause: DriftCause::Notification,
    ///     by: None,
    /// };
    /// controller.kernel_event(event, Moment::now());
    /// ```
    pub fn kernel_event(&mut self, event: KernelEvent, now: Moment) {
        self.concerns.note(event, now.steady);
    }

    /// Reads a part of what others have changed; after the last one it repairs what differs. O(part), and at the end
    /// O(differences).
    pub(super) fn reread<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        lane: Lane,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let mut reread = match running.rereads.of_mut(lane).take() {
            Some(reread) => reread,
            None => {
                let reread = self.begin_reread(&mut running, lane, clock.now(), plane);
                Box::new(reread)
            }
        };
        let Reread { reading, signs, .. } = &mut *reread;
        let (progress, read) = self.read_on(reading, signs, &mut running.known, plane);
        if let Some(resync) = &mut running.resync
            && let Some(section) = read.filter(|_| reread.is_after_resync)
        {
            resync.reading.was_read(section);
        }
        let step = match progress {
            Progress::More => Step::More,
            Progress::Waiting => {
                // Canaries do not wait for what it waits for.
                let now = clock.now().steady;
                reread.due = now.checked_add(PAUSE).unwrap_or(now);
                Step::Wait(Some(reread.due))
            }
            Progress::Done(()) => return self.end_reread(running, *reread, clock, plane),
        };
        *running.rereads.of_mut(lane) = Some(reread);
        (State::Running(running), step)
    }

    fn begin_reread<P: DataPlane + ?Sized>(
        &mut self,
        running: &mut Running,
        lane: Lane,
        now: Moment,
        plane: &mut P,
    ) -> Reread {
        let (mut sections, mut errors) = (Vec::new(), Vec::new());
        for (concern, waiting) in self.concerns.take_due(lane, now.steady) {
            match concern {
                Concern::Node => errors.extend(self.look_around_again(now, plane).err()),
                Concern::Section(section) => sections.push((section, waiting)),
            }
        }
        if lane == Lane::Rules {
            plane.hurry();
        }
        if let Some(resync) = &mut running.resync
            && resync.reading.give_way(lane)
        {
            resync.signs = None;
        }
        let all = sections.iter().map(|(section, _)| *section);
        Reread {
            tally: Tally::new(now),
            reading: Reading::of(&self.model.config().families, all),
            sections,
            errors,
            signs: None,
            is_after_resync: running.resync.is_some(),
            due: now.steady,
            is_by_turns: false,
        }
    }

    /// Does the next step of a reading, and takes signs before what they are signs of, which belong to it once it was read: the
    /// section that was. O(part).
    pub(super) fn read_on<P: DataPlane + ?Sized>(
        &mut self,
        reading: &mut Reading,
        signs: &mut Option<TakenSigns>,
        known: &mut Known,
        plane: &mut P,
    ) -> (Progress, Option<Section>) {
        let begins = reading.begins();
        if begins.is_some_and(has_signs) && signs.is_none() {
            *signs = self.take_signs(plane);
        }
        let progress = reading.read_on(plane, known, self.model.desired());
        let Some((section, is_read)) = reading.take_ended() else {
            return (progress, None);
        };
        if has_signs(section)
            && let Some(signs) = signs.take().filter(|_| is_read)
        {
            self.canaries.remember(section, signs, known);
        }
        (progress, is_read.then_some(section))
    }

    /// What services depend on of the node may be another one.
    fn look_around_again<P: DataPlane + ?Sized>(
        &mut self,
        now: Moment,
        plane: &mut P,
    ) -> Result<(), StepError> {
        let looked = self.look_around(plane);
        self.concerns
            .finished(Concern::Node, None, false, now.steady);
        if self.model.is_stale() {
            self.status
                .changed(&[Change::NodeAddresses(Vec::new())], now);
            self.timing.sync_at_once();
        }
        looked
    }

    fn end_reread<P: DataPlane + ?Sized>(
        &mut self,
        running: Running,
        reread: Reread,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let findings = reread.reading.finish();
        let is_as_known = findings.differing.is_empty() && findings.unread.is_empty();
        let asks_nothing = reread.sections.is_empty() || (reread.is_by_turns && is_as_known);
        if asks_nothing && reread.errors.is_empty() {
            return (State::Running(running), Step::More);
        }
        let repair = Repair {
            activity: Activity::Repair,
            tally: reread.tally,
            findings,
            errors: reread.errors,
            sections: reread.sections,
        };
        self.repair(running, repair, clock, plane)
    }
}
