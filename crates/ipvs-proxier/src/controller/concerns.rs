//! What others have changed and was not read again yet, and when it is. However much others do, each concern waits once, and
//! who undoes what we do again and again is answered less and less often. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kernel_event::{ChangedBy, Concern, DriftCause, KernelEvent};
use crate::news::News;
use crate::reading::{Lane, Section};

/// What belongs together mostly comes together.
const SETTLE: Duration = Duration::from_millis(20);
/// Between two readings of the same, as long as there are few.
const SHORT: Duration = Duration::from_millis(100);
/// After so many readings or repairs in a row each further one waits twice as long,
const FEW: u32 = 8;
/// up to this after repairs: nothing that others undo is worth more.
const LONGEST: Duration = Duration::from_secs(30);
/// And up to this after readings that found nothing to repair: what others do beside us must not put off repairs for long.
const LONGEST_HARMLESS: Duration = Duration::from_secs(2);
/// What is only asked for, and never written, is cheap.
const LONGEST_OF_NODE: Duration = Duration::from_secs(1);
/// What comes so long after the last reading or repair is no answer to it.
const CALM: Duration = Duration::from_secs(1);
/// After so many repairs of the same people are told,
const TOLD: u32 = 5;
/// unless each came so long after the one before.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// All concerns. Their number is bounded, and so is its size.
#[derive(Debug, Default)]
pub(super) struct Concerns {
    all: BTreeMap<Concern, Pacing>,
}

#[derive(Debug, Default)]
struct Pacing {
    waiting: Option<Waiting>,
    /// End of the last reading.
    last: Option<Instant>,
    /// Readings in a row.
    readings: u32,
    last_repair: Option<Instant>,
    /// Repairs in a row, each of what came at once after the one before.
    answered: u32,
    /// Repairs, none of which came a long time after the one before.
    repairs: u32,
}

/// What waits to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    due: Instant,
    pub(super) cause: DriftCause,
    pub(super) by: Option<ChangedBy>,
}

impl Waiting {
    /// Something that was seen and read at once.
    pub(super) const fn seen_now(cause: DriftCause, now: Instant) -> Self {
        Self {
            due: now,
            cause,
            by: None,
        }
    }
}

impl Pacing {
    /// How long to wait after a reading.
    fn gap(&self, concern: Concern) -> Duration {
        let longest = match concern {
            Concern::Section(_) => LONGEST_HARMLESS,
            Concern::Node => LONGEST_OF_NODE,
        };
        let gap = |in_a_row: u32, longest| {
            let doublings = in_a_row.saturating_sub(FEW).min(16);
            SHORT.saturating_mul(1 << doublings).min(longest)
        };
        gap(self.readings, longest).max(gap(self.answered, LONGEST))
    }

    /// Something comes: what was long ago does not count any more.
    fn forget(&mut self, now: Instant) {
        let is_calm = |last: Option<Instant>| {
            last.is_none_or(|last| now.saturating_duration_since(last) > CALM)
        };
        if is_calm(self.last) {
            self.readings = 0;
        }
        if is_calm(self.last_repair) {
            self.answered = 0;
        }
    }
}

impl Concerns {
    /// Takes in an event. O(log of the number of concerns), which is some dozens.
    pub(super) fn note(&mut self, event: KernelEvent, now: Instant) {
        let KernelEvent { what, cause, by } = event;
        let pacing = self.all.entry(what).or_default();
        if let Some(waiting) = &mut pacing.waiting {
            waiting.by = by.or_else(|| waiting.by.take());
            return;
        }
        pacing.forget(now);
        let since = |last: Instant| now.saturating_duration_since(last);
        let settle = match cause {
            // It was seen just now.
            DriftCause::Canary => Duration::ZERO,
            _ => SETTLE,
        };
        let waits = pacing.last.map_or(Duration::ZERO, |last| {
            pacing.gap(what).saturating_sub(since(last))
        });
        let due = now.checked_add(waits.max(settle)).unwrap_or(now);
        pacing.waiting = Some(Waiting { due, cause, by });
    }

    /// When the next of them is due that is read in this lane.
    pub(super) fn next(&self, lane: Lane) -> Option<Instant> {
        let all = self.all.iter();
        let all = all.filter(|(concern, _)| lane_of(**concern) == lane);
        let waiting = all.filter_map(|(_, pacing)| pacing.waiting.as_ref());
        waiting.map(|waiting| waiting.due).min()
    }

    /// Those of a lane that are due.
    pub(super) fn take_due(&mut self, lane: Lane, now: Instant) -> Vec<(Concern, Waiting)> {
        let is_due = |waiting: &mut Waiting| waiting.due <= now;
        let all = self.all.iter_mut();
        let all = all.filter(|(concern, _)| lane_of(**concern) == lane);
        all.filter_map(|(concern, pacing)| Some((*concern, pacing.waiting.take_if(is_due)?)))
            .collect()
    }

    /// Everything is read anyway.
    pub(super) fn clear(&mut self) {
        for pacing in self.all.values_mut() {
            pacing.waiting = None;
        }
    }

    /// One was read, and repaired if others had changed it. Once for as long as it lasts, people are told who undoes what we do
    /// again and again.
    pub(super) fn finished(
        &mut self,
        concern: Concern,
        by: Option<ChangedBy>,
        is_repaired: bool,
        now: Instant,
    ) -> Option<News> {
        let pacing = self.all.entry(concern).or_default();
        pacing.last = Some(now);
        pacing.readings = pacing.readings.saturating_add(1);
        let Concern::Section(section) = concern else {
            return None;
        };
        if !is_repaired {
            return None;
        }
        pacing.answered = pacing.answered.saturating_add(1);
        let last = pacing.last_repair.replace(now);
        if last.is_none_or(|last| now.saturating_duration_since(last) > FORGOTTEN) {
            pacing.repairs = 0;
        }
        pacing.repairs = pacing.repairs.saturating_add(1);
        (pacing.repairs == TOLD).then_some(News::Undone {
            section,
            times: TOLD,
            by,
        })
    }
}

/// Where it is read; the node itself as tables are.
const fn lane_of(concern: Concern) -> Lane {
    match concern {
        Concern::Node => Lane::Tables,
        Concern::Section(section) => section.lane(),
    }
}

/// The concern of what an operation repairs.
pub(super) const fn of_section(section: Section) -> Concern {
    Concern::Section(match section {
        Section::ListOfVirtualServers => Section::VirtualServers,
        section => section,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Concern = Concern::Section(Section::Link);

    fn event(what: Concern) -> KernelEvent {
        KernelEvent {
            what,
            cause: DriftCause::Notification,
            by: None,
        }
    }

    /// Notes an event, and waits until it is due; how long that took.
    fn wait(concerns: &mut Concerns, what: Concern, now: &mut Instant) -> Duration {
        concerns.note(event(what), *now);
        let lane = lane_of(what);
        let due = concerns.next(lane).unwrap();
        assert!(due == *now || concerns.take_due(lane, *now).is_empty());
        let waited = due - *now;
        *now = due;
        assert_eq!(concerns.take_due(lane, *now).len(), 1);
        assert_eq!(concerns.next(lane), None);
        waited
    }

    #[test]
    fn a_storm_waits_once_and_has_the_name_of_the_last_who_has_one() {
        let (mut concerns, now) = (Concerns::default(), Instant::now());
        for process in 0..5_000 {
            let name = "ip".to_owned();
            let by = (process % 2 == 0).then_some(ChangedBy { name, process });
            concerns.note(KernelEvent { by, ..event(LINK) }, now);
        }
        let due = concerns.take_due(Lane::Tables, now + SETTLE);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1.by.as_ref().unwrap().process, 4_998);
    }

    #[test]
    fn what_is_undone_at_once_is_repaired_less_and_less_often_and_told_once() {
        let (mut concerns, mut now) = (Concerns::default(), Instant::now());
        let (mut waits, mut news) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            waits.push(wait(&mut concerns, LINK, &mut now));
            news.extend(concerns.finished(LINK, None, true, now));
        }
        assert!(waits[..9].iter().all(|wait| *wait <= SHORT), "{waits:?}");
        assert_eq!(waits[10], 4 * SHORT);
        assert_eq!(waits[19], LONGEST);
        assert_eq!(news.len(), 1, "{news:?}");
        // Something else is not concerned, and after some calm all is as at first.
        let rules = Concern::Section(Section::Rules(ipvs_codec::Family::Ipv4));
        assert_eq!(wait(&mut concerns, rules, &mut now), SETTLE);
        now += 3 * LONGEST;
        assert_eq!(wait(&mut concerns, LINK, &mut now), SETTLE);
    }

    #[test]
    fn harmless_changes_put_off_no_repair_for_long() {
        let (mut concerns, mut now) = (Concerns::default(), Instant::now());
        // A busy neighbour, whose doing leaves what is ours as it is.
        for _ in 0..100 {
            let waited = wait(&mut concerns, LINK, &mut now);
            assert!(waited <= LONGEST_HARMLESS, "{waited:?}");
            assert_eq!(concerns.finished(LINK, None, false, now), None);
        }
        // After a fight, too, though the neighbour leaves no moment of calm.
        for _ in 0..20 {
            wait(&mut concerns, LINK, &mut now);
            concerns.finished(LINK, None, true, now);
        }
        assert_eq!(wait(&mut concerns, LINK, &mut now), LONGEST);
        concerns.finished(LINK, None, false, now);
        let waited = wait(&mut concerns, LINK, &mut now);
        assert!(waited <= LONGEST_HARMLESS, "{waited:?}");
    }

    #[test]
    fn what_others_do_every_five_seconds_is_repaired_at_once() {
        let (mut concerns, mut now) = (Concerns::default(), Instant::now());
        let mut news = Vec::new();
        for _ in 0..100 {
            now += Duration::from_secs(5);
            assert_eq!(wait(&mut concerns, LINK, &mut now), SETTLE);
            news.extend(concerns.finished(LINK, None, true, now));
        }
        assert_eq!(news.len(), 1, "told once: {news:?}");
    }

    #[test]
    fn the_addresses_of_the_node_never_wait_for_long() {
        let (mut concerns, mut now) = (Concerns::default(), Instant::now());
        for _ in 0..100 {
            let waited = wait(&mut concerns, Concern::Node, &mut now);
            assert!(waited <= LONGEST_OF_NODE);
            assert_eq!(concerns.finished(Concern::Node, None, false, now), None);
        }
    }
}
