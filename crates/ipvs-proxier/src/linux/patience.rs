//! Whether a program hangs. A busy machine makes a program slow, however long: only one that does nothing although it could
//! hangs, and the clock alone does not tell the two apart.

use std::time::Duration;

/// A program that sleeps so long without a byte or a moment of CPU hangs. iptables has nothing to wait for: it gives up a
/// lock after a second.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The same where the kernel works for it and it cannot be interrupted, as while modules are loaded: on a cold kernel that
/// takes half a minute.
pub(super) const LONGEST_CALL: Duration = Duration::from_secs(300);
/// Between two looks.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What a program and all that it started are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doing {
    /// They wait for something, or are stopped.
    Sleeps,
    /// The kernel works for one of them (state `D`).
    InKernel,
    /// One of them could run, or runs.
    Runs,
}

/// A look at a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) doing: Doing,
    /// The CPU time of all of them, in any unit.
    pub(super) cpu: u64,
    /// Bytes that went into it and came out of it.
    pub(super) moved: u64,
}

/// What the looks at a program gave so far.
#[derive(Debug, Default)]
pub(super) struct Patience {
    last: Option<(Duration, Look)>,
    /// For how long it has done nothing.
    still: Duration,
}

impl Patience {
    /// Takes in a look at a program that has run `since_start`; whether it hangs.
    pub(super) fn look(&mut self, since_start: Duration, look: Look) -> bool {
        let last = self.last.replace((since_start, look));
        let Some((at, before)) = last else {
            return false;
        };
        let did_something = (before.cpu, before.moved) != (look.cpu, look.moved);
        if did_something || look.doing == Doing::Runs {
            self.still = Duration::ZERO;
            return false;
        }
        // Where nobody looked for long, this process was starved as well, or the machine slept.
        let between = since_start.saturating_sub(at);
        let between = between.min(BETWEEN_LOOKS.saturating_mul(2));
        self.still = self.still.saturating_add(between);
        let limit = match look.doing {
            Doing::InKernel => LONGEST_CALL,
            _ => LONGEST_SLEEP,
        };
        self.still >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    /// Looks once a second; after how many it hangs.
    fn hangs_after(look: impl Fn(u64) -> Look) -> Option<u64> {
        let mut patience = Patience::default();
        (0..HOUR).find(|second| patience.look(Duration::from_secs(*second), look(*second)))
    }

    const fn idle(doing: Doing) -> Look {
        Look {
            doing,
            cpu: 7,
            moved: 9,
        }
    }

    #[test]
    fn one_that_is_starved_never_hangs() {
        assert_eq!(hangs_after(|_| idle(Doing::Runs)), None);
        // It had a turn between two looks at which it slept.
        let had_a_turn = |second| Look {
            cpu: second / 20,
            ..idle(Doing::Sleeps)
        };
        assert_eq!(hangs_after(had_a_turn), None);
    }

    #[test]
    fn one_that_sleeps_hangs_and_one_that_the_kernel_works_for_may_take_longer() {
        let limit = Some(LONGEST_SLEEP.as_secs());
        assert_eq!(hangs_after(|_| idle(Doing::Sleeps)), limit);
        let limit = Some(LONGEST_CALL.as_secs());
        assert_eq!(hangs_after(|_| idle(Doing::InKernel)), limit);
    }

    #[test]
    fn one_that_says_something_now_and_then_does_not_hang() {
        let speaks = |second| Look {
            moved: second / 25,
            ..idle(Doing::Sleeps)
        };
        assert_eq!(hangs_after(speaks), None);
    }

    /// The machine was asleep, or this process had no CPU: two looks are no evidence, however far apart.
    #[test]
    fn time_in_which_nobody_looked_counts_little() {
        let mut patience = Patience::default();
        let hour = |number| Duration::from_secs(HOUR * number);
        for number in 0..10 {
            assert!(!patience.look(hour(number), idle(Doing::Sleeps)));
        }
        assert!(!patience.look(Duration::MAX, idle(Doing::Sleeps)));
    }
}
