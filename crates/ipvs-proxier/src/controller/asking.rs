//! Asking the canaries, and one virtual server after the other, for what the kernel notifies nobody of.

use ipvs_model::{Key, Known};

use super::concerns::Waiting;
use super::repairing::Repair;
use super::state::{Running, State};
use super::{Controller, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::DataPlane;
use crate::error::PlaneError;
use crate::kernel_event::{Concern, DriftCause, KernelEvent, Signs};
use crate::reading::{Findings, Section, read_one};
use crate::report::{Report, Tally};
use crate::step_error::StepError;

impl Controller {
    /// Asks the canaries, and reads the next virtual server. A few system calls.
    pub(super) fn ask_canaries<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        self.timing.asked_canaries(now.steady);
        let mut report = Report::default();
        match plane.signs() {
            Ok(signs) => {
                if !self.canaries.saw(&signs) {
                    self.timing.resync_as_usual(now.steady);
                }
                let families = &self.model.config().families;
                let mut gone = self.canaries.gone(&signs, &running.known, families);
                if let Some(reread) = &running.reread {
                    // That is being read already.
                    gone.retain(|gone| reread.sections.iter().all(|(section, _)| section != gone));
                }
                for section in gone {
                    self.canary_is_gone(section, now);
                }
            }
            Err(error) => self.canary_failed(error, &mut report, now),
        }
        let known = &mut running.known;
        let (families, desired) = (&self.model.config().families, self.model.desired());
        let Some(key) = self.canaries.next(known) else {
            return asked(running, report);
        };
        match read_one(key, plane, families, known, desired) {
            Ok((false, _)) => {}
            Ok((true, is_there)) => {
                if !is_there {
                    // Others may be gone too.
                    self.canary_is_gone(Section::ListOfVirtualServers, now);
                }
                let waiting = Waiting::seen_now(DriftCause::Canary, now.steady);
                let repair = Repair {
                    activity: Activity::Repair,
                    tally: Tally::new(now),
                    findings: Findings {
                        differing: vec![Key::VirtualServer(key)],
                        unread: Vec::new(),
                    },
                    node: None,
                    sections: vec![(Section::VirtualServers, waiting)],
                    signs: None,
                };
                return self.repair(running, repair, clock, plane);
            }
            Err(error) => self.canary_failed(error, &mut report, now),
        }
        asked(running, report)
    }

    /// Without canaries only a resync finds what they would have.
    fn canary_failed(&mut self, error: PlaneError, report: &mut Report, now: Moment) {
        self.canaries.failed();
        self.timing.resync_as_usual(now.steady);
        self.failed(StepError::Canary(error), report);
    }

    fn canary_is_gone(&mut self, section: Section, now: Moment) {
        let event = KernelEvent {
            what: Concern::Section(section),
            cause: DriftCause::Canary,
            by: None,
        };
        self.kernel_event(event, now);
    }

    /// The signs as they are now, where canaries are asked. Those that cannot be read are none.
    pub(super) fn signs<P: DataPlane + ?Sized>(&self, plane: &mut P) -> Option<Signs> {
        self.timing.pace().canary?;
        plane.signs().ok()
    }

    /// The virtual servers that are known were just read.
    pub(super) fn remember_virtual_servers<P: DataPlane + ?Sized>(
        &mut self,
        known: &Known,
        plane: &mut P,
    ) {
        if let Some(signs) = self.signs(plane) {
            self.canaries.remember_virtual_servers(&signs, known);
        }
    }

    /// The rules that are known were just written.
    pub(super) fn remember_rules<P: DataPlane + ?Sized>(&mut self, plane: &mut P) {
        if let Some(signs) = self.signs(plane) {
            self.canaries.remember_rules(signs);
        }
    }
}

/// An answer after which there is nothing to do says nothing, unless it failed.
fn asked(running: Running, report: Report) -> (State, Step) {
    let step = if report.news.is_empty() {
        Step::More
    } else {
        Step::Did(Box::new(report))
    };
    (State::Running(running), step)
}
