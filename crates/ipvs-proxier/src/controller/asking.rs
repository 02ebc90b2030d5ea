//! Asking the canaries, and reading in turn, for what the kernel notifies nobody of.

use std::time::Duration;

use ipvs_codec::ServiceKey;
use ipvs_model::{Key, Known};

use super::canaries::TakenSigns;
use super::concerns::Waiting;
use super::repairing::Repair;
use super::state::{Reread, Running, State};
use super::turns::Turns;
use super::{Controller, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::DataPlane;
use crate::error::PlaneError;
use crate::kernel_event::{Concern, DriftCause, KernelEvent, Signs};
use crate::reading::{Compared, Findings, Lane, Reading, Section, read_one};
use crate::report::{Report, Tally};
use crate::step_error::StepError;

impl Controller {
    /// Asks the canaries, and reads what has its turn: the real servers of some virtual servers at once, tables behind it. Some
    /// dozen system calls, and O(virtual servers) once a round.
    pub(super) fn ask_canaries<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        self.timing.asked_canaries(now.steady);
        let (mut errors, mut taken) = (Vec::new(), None);
        match plane.signs() {
            Ok(signs) => {
                self.compare_signs(&signs, &running, now);
                taken = Some(self.canaries.take(signs));
            }
            Err(error) => errors.push(error),
        }
        let differing = match self.read_real_servers(&mut running.known, now, clock, plane) {
            Ok(differing) => differing,
            Err((differing, error)) => {
                errors.push(error);
                differing
            }
        };
        if !errors.is_empty() {
            // Only a resync finds what they would have.
            self.canaries.failed();
            self.timing.resync_as_usual(now.steady);
        }
        let errors: Vec<StepError> = errors.into_iter().map(StepError::Canary).collect();
        if differing.is_empty() {
            self.begin_tables(&mut running, taken, now);
            return self.asked(running, errors);
        }
        let waiting = Waiting::seen_now(DriftCause::Canary, now.steady);
        let repair = Repair {
            activity: Activity::Repair,
            tally: Tally::new(now),
            findings: Findings {
                differing: differing.into_iter().map(Key::VirtualServer).collect(),
                unread: Vec::new(),
            },
            errors,
            sections: vec![(Section::VirtualServers, waiting)],
        };
        self.repair(running, repair, clock, plane)
    }

    /// What differs by the signs is read again soon.
    fn compare_signs(&mut self, signs: &Signs, running: &Running, now: Moment) {
        if !self.canaries.saw(signs) {
            self.timing.resync_as_usual(now.steady);
        }
        let families = &self.model.config().families;
        let mut gone = self.canaries.gone(signs, &running.known, families);
        gone.retain(|gone| !self.is_being_read(*gone, signs, running));
        for section in gone {
            self.canary_is_gone(section, now);
        }
    }

    /// Whether a section is being read that a sign says to have changed, and since it has changed.
    fn is_being_read(&self, section: Section, signs: &Signs, running: &Running) -> bool {
        let of_resync = running.resync.as_ref().is_some_and(|resync| {
            let family = resync.reading.reads_rules_of();
            let family = family.filter(|family| Section::Rules(*family) == section);
            let before = family.zip(resync.signs.as_ref());
            before.is_some_and(|(family, before)| self.canaries.holds(before, signs, family))
        });
        // What changes while it is read again comes out by the next look.
        of_resync || running.rereads.has(section)
    }

    /// Reads the real servers of the virtual servers whose turn it is. Those that differed, also where one could not be
    /// read: then the rest has no turn.
    fn read_real_servers<P: DataPlane + ?Sized>(
        &mut self,
        known: &mut Known,
        now: Moment,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> Result<Vec<ServiceKey>, (Vec<ServiceKey>, PlaneError)> {
        let mut differing = Vec::new();
        let (start, mut read, mut took) = (clock.now().steady, 0_usize, Duration::ZERO);
        while Turns::has_more(known, read, took) {
            let Some(key) = self.turns.next_server(known) else {
                break;
            };
            let (families, desired) = (&self.model.config().families, self.model.desired());
            match read_one(key, plane, families, known, desired) {
                Ok(Compared::AsKnown) => {}
                Ok(Compared::Differs { is_there }) => {
                    if !is_there {
                        // Others may be gone too.
                        self.canary_is_gone(Section::ListOfVirtualServers, now);
                    }
                    differing.push(key);
                }
                Err(error) => return Err((differing, error)),
            }
            read = read.saturating_add(1);
            took = clock.now().steady.saturating_duration_since(start);
        }
        Ok(differing)
    }

    /// Begins to read the tables whose turn it is, where nothing else is read anyway.
    fn begin_tables(&mut self, running: &mut Running, signs: Option<TakenSigns>, now: Moment) {
        let next = self.concerns.next(Lane::Tables);
        let is_concern_due = next.is_some_and(|due| due <= now.steady);
        let tables = running.rereads.of_mut(Lane::Tables);
        if tables.is_some() || running.resync.is_some() || is_concern_due {
            return;
        }
        let sections = self.turns.next_tables(&running.known);
        if sections.is_empty() {
            return;
        }
        let waiting = |table| {
            let waiting = Waiting::seen_now(DriftCause::Canary, now.steady);
            (table, waiting)
        };
        *tables = Some(Box::new(Reread {
            tally: Tally::new(now),
            reading: Reading::of(&self.model.config().families, sections.iter().copied()),
            sections: sections.into_iter().map(waiting).collect(),
            errors: Vec::new(),
            signs,
            is_after_resync: false,
            due: now.steady,
            is_by_turns: true,
        }));
    }

    fn canary_is_gone(&mut self, section: Section, now: Moment) {
        let event = KernelEvent {
            what: Concern::Section(section),
            cause: DriftCause::Canary,
            by: None,
        };
        self.kernel_event(event, now);
    }

    /// Takes the signs as they are now, where canaries are asked. Those that cannot be read are none.
    pub(super) fn take_signs<P: DataPlane + ?Sized>(
        &mut self,
        plane: &mut P,
    ) -> Option<TakenSigns> {
        self.timing.pace().canary?;
        plane.signs().ok().map(|signs| self.canaries.take(signs))
    }

    /// The rules that are known were just written.
    pub(super) fn wrote_rules<P: DataPlane + ?Sized>(&mut self, plane: &mut P) {
        if self.timing.pace().canary.is_some() {
            let taken = self.take_signs(plane);
            self.canaries.wrote_rules(taken);
        }
    }

    /// An answer after which there is nothing to do says nothing, unless something failed.
    fn asked(&mut self, running: Running, errors: Vec<StepError>) -> (State, Step) {
        let mut report = Report::default();
        for error in errors {
            self.failed(error, &mut report);
        }
        let step = if report.news.is_empty() {
            Step::More
        } else {
            Step::Did(Box::new(report))
        };
        (State::Running(running), step)
    }
}
