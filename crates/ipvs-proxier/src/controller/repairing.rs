//! What differs from what was known is put right, and counted as drift.

use std::collections::BTreeMap;

use ipvs_model::{Key, Operation};

use super::applying::Unfinished;
use super::concerns::{Waiting, of_section};
use super::state::{Running, State};
use super::{Controller, End, Step};
use crate::activity::Activity;
use crate::clock::{Clock, Moment};
use crate::dataplane::DataPlane;
use crate::kernel_event::{Concern, DriftCause};
use crate::reading::{Findings, Section};
use crate::report::{Report, Tally};
use crate::step_error::StepError;

/// What a repair is made of.
pub(super) struct Repair {
    pub(super) activity: Activity,
    pub(super) tally: Tally,
    pub(super) findings: Findings,
    /// What else failed.
    pub(super) errors: Vec<StepError>,
    /// What others have changed, where that is known.
    pub(super) sections: Vec<(Section, Waiting)>,
}

impl Controller {
    /// Puts right what is otherwise than it was known; what could not be read stays as it is known. O(differences).
    pub(super) fn repair<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        repair: Repair,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        let is_undisturbed = !self.status.waits();
        let Findings { differing, unread } = repair.findings;
        let found = differing.iter().filter_map(|key| match key {
            Key::VirtualServer(key) => Some(*key),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        let plan = self.model.plan_repair(differing, &running.known);
        let desired = self.model.desired();
        self.drains
            .found(found, &running.known, desired, now.steady);
        let mut unfinished = Unfinished::default();
        let mut report = self.apply(plan, &mut running.known, &mut unfinished, now, plane);
        let unread = unread.into_iter().map(StepError::from);
        for error in repair.errors.into_iter().chain(unread) {
            self.failed(error, &mut report);
        }
        let mut drift = BTreeMap::new();
        if is_undisturbed {
            drift = drift_of(&report, &repair.sections);
        }
        self.tell_fights(repair.sections, &mut report, now);
        let end = End {
            running: Some(running),
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
