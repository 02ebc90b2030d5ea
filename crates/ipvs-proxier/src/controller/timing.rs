//! When to do what. Pure: the time comes in through parameters, and a time beyond the end of the clock is never.

use std::time::{Duration, Instant};

use crate::activity::Activity;

/// How often a node is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between the end of a sync that wrote something and the next one (`--ipvs-min-sync-period`). The first change after
    /// quiet is applied at once.
    pub min_sync: Duration,
    /// Between two resyncs (`--ipvs-sync-period`).
    pub sync: Duration,
    /// Between two resyncs at the most: where the kernel tells what others do and canaries are asked, each resync that
    /// finds nothing makes the next one come later, and one that finds drift brings the usual pace back.
    pub max_sync: Duration,
    /// Between two looks at draining real servers.
    pub drain: Duration,
    /// Between two questions to the canaries: what others change where the kernel tells nobody. Never, if there is none.
    pub canary: Option<Duration>,
}

impl Default for Pace {
    /// kube-proxy's, but that the first look at draining real servers comes a second after the change. Canaries are not asked
    /// at.
    fn default() -> Self {
        Self {
            min_sync: Duration::from_secs(1),
            sync: Duration::from_secs(30),
            max_sync: Duration::from_secs(600),
            drain: Duration::from_secs(60),
            canary: None,
        }
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Sync,
    Drain,
    /// Reading again what others have changed.
    Reread,
    Canaries,
    Resync,
    /// Nothing before that time, unless a change comes.
    Wait(Option<Instant>),
}

/// What an activity that ended has found and done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Whether it wrote something.
    pub(super) wrote: bool,
    /// Whether it repaired what others did.
    pub(super) drift: bool,
    /// Whether what others do comes out without a resync.
    pub(super) is_attentive: bool,
}

/// The first retry after a failure; each further one waits twice as long, up to the sync period.
const FIRST_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Timing {
    pace: Pace,
    /// Something waits to be synced: a change, or somebody asked for it.
    changed: bool,
    /// Somebody asked for a sync without regard to the pace.
    hurry: bool,
    /// End of the last sync that wrote something.
    last_write: Option<Instant>,
    /// Never, if there is none.
    next_resync: Option<Instant>,
    /// Between the last resync and the next one.
    between_resyncs: Duration,
    next_canaries: Option<Instant>,
    /// Starts and resyncs that failed one after the other.
    failures: u32,
}

impl Timing {
    pub(super) const fn new(pace: Pace) -> Self {
        Self {
            pace,
            changed: false,
            hurry: false,
            last_write: None,
            next_resync: None,
            between_resyncs: pace.sync,
            next_canaries: None,
            failures: 0,
        }
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// A change came in.
    pub(super) const fn change(&mut self) {
        self.changed = true;
    }

    /// A sync is asked for at once.
    pub(super) const fn sync_at_once(&mut self) {
        self.changed = true;
        self.hurry = true;
    }

    /// A resync is asked for at once.
    pub(super) const fn resync_at_once(&mut self, now: Instant) {
        self.next_resync = Some(now);
    }

    /// The canaries were asked.
    pub(super) fn asked_canaries(&mut self, now: Instant) {
        self.next_canaries = self.pace.canary.and_then(|pace| now.checked_add(pace));
    }

    /// What is due while everything is known. A resync that is going on stays due until it ends; while it reads, canaries are
    /// not asked.
    pub(super) fn due(
        &self,
        now: Instant,
        next_drain: Option<Instant>,
        next_reread: Option<Instant>,
        is_reading: bool,
    ) -> Due {
        let next_canaries = self.next_canaries.filter(|_| !is_reading);
        // Changes come before whatever reads, which may wait for processes.
        let times = [
            (Due::Sync, self.next_sync(now)),
            (Due::Drain, next_drain),
            (Due::Reread, next_reread),
            (Due::Canaries, next_canaries),
            (Due::Resync, self.next_resync),
        ];
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let due = times.iter().find(|(_, at)| is_due(*at));
        let wait = || Due::Wait(times.iter().filter_map(|(_, at)| *at).min());
        due.map_or_else(wait, |(due, _)| *due)
    }

    /// When what changed may be synced, if something did.
    pub(super) fn next_sync(&self, now: Instant) -> Option<Instant> {
        match self.last_write {
            _ if !self.changed => None,
            Some(last) if !self.hurry => last.checked_add(self.pace.min_sync),
            _ => Some(now),
        }
    }

    /// When everything is read the next time, if it is.
    pub(super) const fn next_resync(&self) -> Option<Instant> {
        self.next_resync
    }

    /// When to try again after a failure.
    fn retry(&self, now: Instant) -> Option<Instant> {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        now.checked_add(wait.min(self.pace.sync))
    }

    /// An activity ended: whether all of it succeeded, and what it found. Only after a sync that wrote something changes are
    /// collected before the next one.
    pub(super) fn ended(
        &mut self,
        activity: Activity,
        now: Instant,
        succeeded: bool,
        found: Found,
    ) {
        if activity != Activity::Drain {
            (self.changed, self.hurry) = (false, false);
            if found.wrote {
                self.last_write = Some(now);
            }
        }
        if activity == Activity::Start {
            self.asked_canaries(now);
        }
        let is_whole = matches!(activity, Activity::Start | Activity::Resync);
        match (is_whole, succeeded) {
            (true, true) => {
                self.failures = 0;
                self.between_resyncs = match activity {
                    Activity::Resync if found.is_attentive && !found.drift => self.longer(),
                    _ => self.pace.sync,
                };
                self.next_resync = now.checked_add(self.between_resyncs);
            }
            (true, false) => {
                self.between_resyncs = self.pace.sync;
                self.next_resync = self.retry(now);
                self.failures = self.failures.saturating_add(1);
            }
            // Neither changes nor what fails of them put off the resync, nor one that is going on.
            (false, true) if !found.drift => {}
            // Somebody is at work, who may do more than comes out.
            (false, true) => self.resync_as_usual(now),
            (false, false) => {
                let retry = self.retry(now);
                self.next_resync = self.next_resync.into_iter().chain(retry).min();
            }
        }
    }

    /// Others may do more than comes out without a resync: the usual pace is back.
    pub(super) fn resync_as_usual(&mut self, now: Instant) {
        self.between_resyncs = self.pace.sync;
        let usual = now.checked_add(self.pace.sync);
        self.next_resync = self.next_resync.into_iter().chain(usual).min();
    }

    fn longer(&self) -> Duration {
        let longest = self.pace.max_sync.max(self.pace.sync);
        self.between_resyncs.saturating_mul(2).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    const fn wrote(wrote: bool) -> Found {
        Found {
            wrote,
            drift: false,
            is_attentive: false,
        }
    }

    fn due(timing: &Timing, now: Instant, next_drain: Option<Instant>) -> Due {
        timing.due(now, next_drain, None, false)
    }

    /// One that has started and written something.
    fn started(start: Instant, pace: Pace) -> Timing {
        let mut timing = Timing::new(pace);
        timing.ended(Activity::Start, start, true, wrote(true));
        timing
    }

    fn min_sync(seconds: u64) -> Pace {
        Pace {
            min_sync: Duration::from_secs(seconds),
            sync: Duration::from_secs(1000),
            ..Pace::default()
        }
    }

    const SYNC: Due = Due::Sync;
    const RESYNC: Due = Due::Resync;

    #[test]
    fn the_first_change_after_quiet_is_applied_at_once_and_the_next_waits() {
        let start = Instant::now();
        let mut timing = started(start, min_sync(5));
        timing.change();
        assert_eq!(due(&timing, after(start, 6), None), SYNC);
        timing.ended(Activity::Sync, after(start, 6), true, wrote(true));
        timing.change();
        let wait = Due::Wait(Some(after(start, 11)));
        assert_eq!(due(&timing, after(start, 7), None), wait);
        assert_eq!(due(&timing, after(start, 11), None), SYNC);
    }

    #[test]
    fn what_wrote_nothing_makes_no_change_wait() {
        let start = Instant::now();
        let mut timing = started(start, min_sync(5));
        let now = after(start, 10);
        for activity in [Activity::Resync, Activity::Sync, Activity::Drain] {
            let is_written = activity == Activity::Drain;
            timing.ended(activity, now, true, wrote(is_written));
            timing.change();
            assert_eq!(due(&timing, now, None), SYNC, "{activity:?}");
        }
    }

    #[test]
    fn row_150_a_hundred_changes_in_a_second_are_at_most_two_syncs() {
        let start = Instant::now();
        let mut timing = started(start, min_sync(10));
        let quiet = after(start, 20);
        let mut syncs = Vec::new();
        // Each hundredth of a second for eleven seconds; the changes come in the first one.
        for tick in 0..1_100_u64 {
            let now = quiet + Duration::from_millis(10 * tick);
            if tick < 100 {
                timing.change();
            }
            if due(&timing, now, None) == SYNC {
                syncs.push(tick);
                timing.ended(Activity::Sync, now, true, wrote(true));
            }
        }
        assert_eq!(syncs, [0, 1_000], "at once, and when the period is over");
    }

    #[test]
    fn changes_do_not_put_off_the_resync() {
        let start = Instant::now();
        let mut timing = started(start, Pace::default());
        for second in (2..30).step_by(2) {
            timing.change();
            let now = after(start, second);
            assert_eq!(due(&timing, now, None), SYNC);
            timing.ended(Activity::Sync, now, true, wrote(true));
        }
        let now = after(start, 30);
        assert_eq!(due(&timing, now, None), RESYNC);
        timing.ended(Activity::Resync, now, true, wrote(false));
        let wait = Due::Wait(Some(after(start, 60)));
        assert_eq!(due(&timing, now, None), wait);
    }

    #[test]
    fn changes_and_draining_come_before_a_resync_which_goes_on() {
        let start = Instant::now();
        let mut timing = started(start, Pace::default());
        let now = after(start, 30);
        timing.change();
        assert_eq!(due(&timing, now, Some(now)), SYNC);
        timing.ended(Activity::Sync, now, true, wrote(true));
        let drain = Due::Drain;
        assert_eq!(due(&timing, now, Some(now)), drain);
        timing.ended(Activity::Drain, now, true, wrote(true));
        assert_eq!(due(&timing, now, None), RESYNC);
    }

    #[test]
    fn failures_are_retried_with_back_off() {
        let start = Instant::now();
        let mut timing = started(start, Pace::default());
        let (mut now, mut waits) = (start, Vec::new());
        for _ in 0..7 {
            timing.ended(Activity::Resync, now, false, wrote(true));
            let Due::Wait(Some(next)) = due(&timing, now, None) else {
                panic!("due at once")
            };
            waits.push((next - now).as_secs());
            now = next;
            assert_eq!(due(&timing, now, None), RESYNC);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        timing.ended(Activity::Resync, now, true, wrote(false));
        timing.ended(Activity::Drain, now, false, wrote(true));
        let wait = Due::Wait(Some(now + FIRST_RETRY));
        assert_eq!(
            due(&timing, now, None),
            wait,
            "soon, though the next is far"
        );
    }

    #[test]
    fn what_fails_again_and_again_puts_off_no_resync() {
        let start = Instant::now();
        let mut timing = started(start, Pace::default());
        for tenth in 0..600 {
            let now = start + Duration::from_millis(100 * tenth);
            timing.ended(Activity::Sync, now, false, wrote(true));
            let is_due = due(&timing, now, None) == RESYNC;
            assert_eq!(is_due, now >= start + FIRST_RETRY, "{tenth}");
        }
    }

    #[test]
    fn times_beyond_the_end_of_the_clock_are_never() {
        let start = Instant::now();
        let for_ever = Pace {
            min_sync: Duration::MAX,
            sync: Duration::MAX,
            max_sync: Duration::MAX,
            drain: Duration::MAX,
            canary: Some(Duration::MAX),
        };
        let mut timing = started(start, for_ever);
        timing.change();
        assert_eq!(due(&timing, start, None), Due::Wait(None));
        timing.sync_at_once();
        assert_eq!(due(&timing, start, None), SYNC);
        timing.ended(Activity::Sync, start, true, wrote(true));
        assert_eq!(due(&timing, start, None), Due::Wait(None));
        for _ in 0..100 {
            timing.ended(Activity::Resync, start, false, wrote(true));
        }
        assert!(matches!(due(&timing, start, None), Due::Wait(Some(_))));
    }
}
