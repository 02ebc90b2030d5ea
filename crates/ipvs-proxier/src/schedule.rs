use std::time::{Duration, Instant};

/// How often a node is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between the end of a sync and the next one (`--ipvs-min-sync-period`). The first change after quiet is applied
    /// at once.
    pub min_sync: Duration,
    /// Between two verifications of everything (`--ipvs-sync-period`).
    pub sync: Duration,
    /// Between two looks at real servers that wait for the end of their connections.
    pub drain: Duration,
}

impl Default for Pace {
    /// kube-proxy's, but that the first look at draining real servers comes a second after the change.
    fn default() -> Self {
        Self {
            min_sync: Duration::from_secs(1),
            sync: Duration::from_secs(30),
            drain: Duration::from_secs(60),
        }
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Apply what changed.
    Sync,
    /// Read everything, compare and repair.
    Verify,
    /// Remove drained real servers.
    Drain,
    /// Nothing before that time, unless a change comes.
    Wait(Instant),
}

/// The first look at a real server that leaves; an idle one is gone by then.
const FIRST_DRAIN: Duration = Duration::from_secs(1);
/// The first retry after a failure; each further one waits twice as long, up to the sync period.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Decides when to do what. Pure: the time comes in through parameters.
///
/// ```
/// use std::time::Instant;
/// use ipvs_proxier::{Due, Pace, Schedule};
///
/// let now = Instant::now();
/// let mut schedule = Schedule::new(Pace::default());
/// assert_eq!(schedule.due(now), Due::Verify); // at the start
/// schedule.done(now, true, false);
/// assert!(matches!(schedule.due(now), Due::Wait(_)));
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    pace: Pace,
    changed: bool,
    /// End of the last sync.
    last_sync: Option<Instant>,
    next_verify: Option<Instant>,
    next_drain: Option<Instant>,
    /// Real servers may have begun to drain during a look, which does not see them.
    drain_again: bool,
    failures: u32,
}

impl Schedule {
    /// A schedule that starts with a verification.
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self {
            pace,
            changed: false,
            last_sync: None,
            next_verify: None,
            next_drain: None,
            drain_again: false,
            failures: 0,
        }
    }

    /// A change came in.
    pub const fn change(&mut self) {
        self.changed = true;
    }

    /// What is due at `now`.
    #[must_use]
    pub fn due(&self, now: Instant) -> Due {
        let Some((last_sync, next_verify)) = self.last_sync.zip(self.next_verify) else {
            return Due::Verify;
        };
        let next_sync = self.changed.then(|| last_sync + self.pace.min_sync);
        if next_sync.is_some_and(|at| at <= now) {
            return Due::Sync;
        }
        if next_verify <= now {
            return Due::Verify;
        }
        if self.next_drain.is_some_and(|at| at <= now) {
            return Due::Drain;
        }
        let nearest = [next_sync, self.next_drain]
            .into_iter()
            .flatten()
            .fold(next_verify, Instant::min);
        Due::Wait(nearest)
    }

    /// A sync or verification ended: whether all of it succeeded, and whether real servers are draining. After a failure
    /// the next verification comes soon, and while those fail, too, later and later.
    pub fn done(&mut self, now: Instant, succeeded: bool, draining: bool) {
        self.changed = false;
        self.last_sync = Some(now);
        let wait = if succeeded {
            self.pace.sync
        } else {
            let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
            wait.min(self.pace.sync)
        };
        // Changes must not put off the verification, nor one that is going on.
        let next = now + wait;
        self.next_verify = Some(match self.next_verify {
            Some(before) if succeeded || before > now => before.min(next),
            _ => next,
        });
        self.drain_again |= draining && self.next_drain.is_some_and(|at| at <= now);
        self.next_drain = draining.then(|| {
            self.next_drain
                .map_or(now + FIRST_DRAIN, |at| at.min(now + FIRST_DRAIN))
        });
    }

    /// Draining real servers are to be looked at again no later than then. After a failure a time that has passed would make
    /// them due at once, again and again: leave it out.
    pub fn drain_by(&mut self, at: Instant) {
        self.next_drain = self.next_drain.map(|next| next.min(at));
    }

    /// What ended was a verification: after one that succeeded the next is a whole period away.
    pub fn verified(&mut self, now: Instant, succeeded: bool) {
        if succeeded {
            self.failures = 0;
            self.next_verify = Some(now + self.pace.sync);
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// A look at draining real servers ended: whether some are left. It may have had syncs in between.
    pub fn drained(&mut self, now: Instant, draining: bool) {
        let again = std::mem::take(&mut self.drain_again);
        let wait = if again { FIRST_DRAIN } else { self.pace.drain };
        self.next_drain = draining.then(|| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// One that has just synced, after which something drains.
    fn draining(start: Instant) -> Schedule {
        let mut schedule = Schedule::new(Pace {
            sync: Duration::from_secs(1000),
            ..Pace::default()
        });
        schedule.done(start, true, true);
        schedule
    }

    #[test]
    fn the_first_change_after_quiet_is_applied_at_once_and_the_next_waits() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace {
            min_sync: Duration::from_secs(5),
            ..Pace::default()
        });
        schedule.done(start, true, false);
        schedule.change();
        assert_eq!(schedule.due(after(start, 6)), Due::Sync);
        schedule.done(after(start, 6), true, false);
        schedule.change();
        assert_eq!(schedule.due(after(start, 7)), Due::Wait(after(start, 11)));
        assert_eq!(schedule.due(after(start, 11)), Due::Sync);
    }

    #[test]
    fn row_150_a_hundred_changes_in_a_second_are_at_most_two_syncs() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace {
            min_sync: Duration::from_secs(10),
            ..Pace::default()
        });
        schedule.done(start, true, false);
        let quiet = after(start, 20);
        let mut syncs = Vec::new();
        // Each hundredth of a second for eleven seconds; the changes come in the first one.
        for tick in 0..1_100_u64 {
            let now = quiet + Duration::from_millis(10 * tick);
            if tick < 100 {
                schedule.change();
            }
            if schedule.due(now) == Due::Sync {
                syncs.push(tick);
                schedule.done(now, true, false);
            }
        }
        assert_eq!(syncs, [0, 1_000], "at once, and when the period is over");
    }

    #[test]
    fn changes_do_not_put_off_the_verification() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::default());
        schedule.done(start, true, false);
        for second in (2..30).step_by(2) {
            schedule.change();
            assert_eq!(schedule.due(after(start, second)), Due::Sync);
            schedule.done(after(start, second), true, false);
        }
        assert_eq!(schedule.due(after(start, 30)), Due::Verify);
        schedule.done(after(start, 30), true, false);
        schedule.verified(after(start, 30), true);
        assert_eq!(schedule.due(after(start, 30)), Due::Wait(after(start, 60)));
    }

    #[test]
    fn a_change_during_a_verification_comes_first_and_the_verification_goes_on() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::default());
        schedule.done(start, true, false);
        let now = after(start, 30);
        assert_eq!(schedule.due(now), Due::Verify);
        schedule.change();
        assert_eq!(schedule.due(now), Due::Sync);
        schedule.done(now, true, false);
        assert_eq!(schedule.due(now), Due::Verify);
    }

    #[test]
    fn failures_are_retried_with_back_off() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::default());
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            schedule.done(now, false, false);
            schedule.verified(now, false);
            let Due::Wait(next) = schedule.due(now) else {
                panic!("due at once")
            };
            waits.push((next - now).as_secs());
            now = next;
            assert_eq!(schedule.due(now), Due::Verify);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn draining_is_looked_at_soon_and_then_at_leisure() {
        let start = Instant::now();
        let mut schedule = draining(start);
        assert_eq!(schedule.due(after(start, 1)), Due::Drain);
        schedule.drained(after(start, 1), true);
        assert_eq!(schedule.due(after(start, 1)), Due::Wait(after(start, 61)));
        schedule.drained(after(start, 61), false);
        assert_eq!(
            schedule.due(after(start, 900)),
            Due::Wait(after(start, 1000))
        );
    }

    #[test]
    fn a_look_at_draining_that_failed_comes_again_not_at_once() {
        let start = Instant::now();
        let mut schedule = draining(start);
        let now = after(start, 1);
        assert_eq!(schedule.due(now), Due::Drain);
        schedule.drained(now, true);
        schedule.done(now, false, true);
        assert_eq!(schedule.due(now), Due::Wait(after(start, 2)));
    }

    #[test]
    fn what_begins_to_drain_during_a_look_has_one_of_its_own() {
        let start = Instant::now();
        let mut schedule = draining(start);
        assert_eq!(schedule.due(after(start, 2)), Due::Drain);
        schedule.done(after(start, 2), true, true);
        assert_eq!(schedule.due(after(start, 2)), Due::Drain, "it goes on");
        schedule.drained(after(start, 3), true);
        assert_eq!(schedule.due(after(start, 3)), Due::Wait(after(start, 4)));
        schedule.drained(after(start, 4), true);
        assert_eq!(schedule.due(after(start, 4)), Due::Wait(after(start, 64)));
    }
}
