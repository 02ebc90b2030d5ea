//! The processes that this one has started and that run, or ended just now: what they change in the kernel is its own doing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Few run at a time.
const REMEMBERED: usize = 64;
/// What a process did is heard of at once; later, somebody else may have its number.
const HEARD_OF: Duration = Duration::from_secs(5);

static STARTED: Mutex<Started> = Mutex::new(Started(VecDeque::new()));

/// Their numbers as the process namespace of this one counts them, and when they ended.
#[derive(Debug)]
struct Started(VecDeque<(u32, Option<Instant>)>);

impl Started {
    fn started(&mut self, process: u32) {
        self.0.retain(|(number, _)| *number != process);
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((process, None));
    }

    fn ended(&mut self, process: u32, now: Instant) {
        for (number, ended) in &mut self.0 {
            if *number == process {
                ended.get_or_insert(now);
            }
        }
    }

    fn has(&mut self, process: u32, now: Instant) -> bool {
        let is_recent = |ended: Instant| now.saturating_duration_since(ended) < HEARD_OF;
        self.0.retain(|(_, ended)| ended.is_none_or(is_recent));
        self.0.iter().any(|(number, _)| *number == process)
    }
}

fn lock() -> MutexGuard<'static, Started> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process was started.
pub(super) fn started(process: u32) {
    lock().started(process);
}

/// One of them has ended, or was killed.
pub(super) fn ended(process: u32) {
    lock().ended(process, Instant::now());
}

/// Whether it is one of those.
pub(super) fn has(process: u32) -> bool {
    lock().has(process, Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_run_are_known_and_those_that_ended_for_a_short_time() {
        let (mut all, now) = (Started(VecDeque::new()), Instant::now());
        all.started(7);
        all.started(8);
        all.ended(7, now);
        assert!(all.has(7, now + HEARD_OF / 2) && !all.has(9, now));
        assert!(!all.has(7, now + HEARD_OF), "it may be another one by now");
        assert!(all.has(8, now + HEARD_OF * 100), "it still runs");
        // The number comes back.
        all.ended(8, now);
        all.started(8);
        assert!(all.has(8, now + HEARD_OF * 100));
    }

    #[test]
    fn however_many_are_started_the_last_ones_are_known() {
        let (mut all, now) = (Started(VecDeque::new()), Instant::now());
        let count = u32::try_from(REMEMBERED).unwrap() * 2;
        (1..=count).for_each(|process| all.started(process));
        assert!(all.has(count, now) && !all.has(1, now));
        assert_eq!(all.0.len(), REMEMBERED);
    }
}
