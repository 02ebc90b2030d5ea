//! What others change: the section that they changed is read again, what differs is repaired, and canaries are looked at.

use std::collections::BTreeMap;

use ipvs_model::input::Change;
use ipvs_model::{Key, Known, Operation};

use super::applying::Unfinished;
use super::concerns::{Waiting, of_section};
use super::state::{Look, Running, State};
use super::{Controller, End, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::{DataPlane, Progress};
use crate::error::PlaneError;
use crate::kernel_event::{Concern, DriftCause, KernelEvent, Signs};
use crate::reading::{Findings, PAUSE, Reading, Section, read_one};
use crate::report::{Report, Tally};
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
    pub(super) fn look<P: DataPlane + ?Sized>(
        &mut self,
        running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let Running {
            mut known,
            mut resync,
            look,
        } = running;
        let mut look = match look {
            Some(look) => look,
            None => {
                let look = Box::new(self.begin_look(clock.now(), plane));
                if let Some(resync) = &mut resync {
                    resync.reading.give_way();
                }
                look
            }
        };
        let desired = self.model.desired();
        let step = match look.reading.read_on(plane, &mut known, desired) {
            Progress::More => Step::More,
            Progress::Waiting => {
                // Canaries do not wait for what it waits for.
                let now = clock.now().steady;
                look.due = now.checked_add(PAUSE).unwrap_or(now);
                Step::Wait(Some(look.due))
            }
            Progress::Done(()) => {
                let running = Running {
                    known,
                    resync,
                    look: None,
                };
                return self.end_look(running, *look, clock, plane);
            }
        };
        let look = Some(look);
        let running = Running {
            known,
            resync,
            look,
        };
        (State::Running(running), step)
    }

    fn begin_look<P: DataPlane + ?Sized>(&mut self, now: Moment, plane: &mut P) -> Look {
        let mut look = Look {
            tally: Tally::new(now),
            reading: Reading::of(&[], []),
            sections: Vec::new(),
            node: None,
            signs: None,
            due: now.steady,
        };
        for (concern, waiting) in self.concerns.take_due(now.steady) {
            match concern {
                Concern::Node => look.node = self.look_around_again(now, plane).err(),
                Concern::Section(section) => look.sections.push((section, waiting)),
            }
        }
        let sections = look.sections.iter().map(|(section, _)| *section);
        if look
            .sections
            .iter()
            .any(|(section, _)| matches!(section, Section::Rules(_)))
        {
            look.signs = self.signs(plane);
            plane.hurry();
        }
        look.reading = Reading::of(&self.model.config().families, sections);
        look
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

    fn end_look<P: DataPlane + ?Sized>(
        &mut self,
        running: Running,
        look: Look,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        if look.sections.is_empty() && look.node.is_none() {
            return (State::Running(running), Step::More);
        }
        let repair = Repair {
            activity: Activity::Repair,
            tally: look.tally,
            findings: look.reading.finish(),
            node: look.node,
            sections: look.sections,
            signs: look.signs,
        };
        self.repair(running, repair, clock, plane)
    }

    /// Puts right what is otherwise than it was known; what could not be read stays as it is known. O(differences).
    pub(super) fn repair<P: DataPlane + ?Sized>(
        &mut self,
        running: Running,
        repair: Repair,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let Running {
            mut known,
            resync,
            look,
        } = running;
        let now = clock.now();
        let is_undisturbed = !self.status.waits();
        let Findings { differing, unread } = repair.findings;
        let found = differing.iter().filter_map(|key| match key {
            Key::VirtualServer(key) => Some(*key),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        if let Some(signs) = repair.signs {
            self.canaries.remember_rules(signs);
        }
        let is_list = |(section, _): &(Section, Waiting)| *section == Section::ListOfVirtualServers;
        if repair.activity == Activity::Resync || repair.sections.iter().any(is_list) {
            self.remember_virtual_servers(&known, plane);
        }
        let plan = self.model.plan_repair(differing, &known);
        let desired = self.model.desired();
        self.drains.found(found, &known, desired, now.steady);
        let mut unfinished = Unfinished::default();
        let mut report = self.apply(plan, &mut known, &mut unfinished, now, plane);
        let unread = unread.into_iter().map(StepError::from);
        for error in repair.node.into_iter().chain(unread) {
            self.failed(error, &mut report);
        }
        let mut drift = BTreeMap::new();
        if is_undisturbed {
            drift = drift_of(&report, &repair.sections);
        }
        self.tell_fights(repair.sections, &mut report, now);
        let end = End {
            known: Some(known),
            resync,
            look,
            unfinished,
            tally: repair.tally,
            report,
            drift,
        };
        self.end(repair.activity, end, clock, plane)
    }

    fn tell_fights(&mut self, sections: Vec<(Section, Waiting)>, report: &mut Report, now: Moment) {
        for (section, waiting) in sections {
            let concern = of_section(section);
            let repaired = report.plan.iter().filter_map(Section::repaired_by);
            let is_repaired = repaired.map(of_section).any(|repaired| repaired == concern);
            let concern = Concern::Section(section);
            let news = self
                .concerns
                .finished(concern, waiting.by, is_repaired, now.steady);
            report.news.extend(news);
        }
    }

    /// Looks at the canaries, and at the next virtual server. A few system calls.
    pub(super) fn look_at_canaries<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        self.timing.looked_at_canaries(now.steady);
        let mut report = Report::default();
        match plane.signs() {
            Ok(signs) => {
                if !self.canaries.saw(&signs) {
                    self.timing.resync_as_usual(now.steady);
                }
                let families = &self.model.config().families;
                let mut gone = self.canaries.gone(&signs, &running.known, families);
                if let Some(look) = &running.look {
                    // That is being read already.
                    gone.retain(|gone| look.sections.iter().all(|(section, _)| section != gone));
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
            return looked(running, report);
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
        looked(running, report)
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

    /// The signs as they are now, where canaries are looked at. Those that cannot be read are none.
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

/// What a repair is made of.
pub(super) struct Repair {
    pub(super) activity: Activity,
    pub(super) tally: Tally,
    pub(super) findings: Findings,
    /// Why the node's addresses could not be read.
    pub(super) node: Option<StepError>,
    /// What others have changed, where that is known.
    pub(super) sections: Vec<(Section, Waiting)>,
    /// From before the rules were read, if they were.
    pub(super) signs: Option<Signs>,
}

/// What was repaired, by kind and by how it came out.
fn drift_of(
    report: &Report,
    sections: &[(Section, Waiting)],
) -> BTreeMap<(&'static str, DriftCause), usize> {
    let cause = |operation: &Operation| {
        let repaired = Section::repaired_by(operation).map(of_section);
        let same = |(section, _): &&(Section, Waiting)| Some(of_section(*section)) == repaired;
        let found = sections.iter().find(same).or_else(|| sections.first());
        found.map_or(DriftCause::Resync, |(_, waiting)| waiting.cause)
    };
    let mut drift: BTreeMap<_, usize> = BTreeMap::new();
    for operation in &report.plan {
        let count = drift
            .entry((operation.kind(), cause(operation)))
            .or_default();
        *count = count.saturating_add(1);
    }
    drift
}

/// A look that found nothing to do says nothing, unless it failed.
fn looked(running: Running, report: Report) -> (State, Step) {
    let step = if report.news.is_empty() {
        Step::More
    } else {
        Step::Did(Box::new(report))
    };
    (State::Running(running), step)
}
