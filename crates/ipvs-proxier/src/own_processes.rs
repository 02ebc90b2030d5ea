//! The processes that this one has started and that run, or ended just now: what they change in the kernel is its own doing,
//! and none of them outlives it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Few run at a time.
const REMEMBERED: usize = 64;
/// What a process did is heard of at once; later, somebody else may have its number.
const HEARD_OF: Duration = Duration::from_secs(5);

/// Who ends waits so long for one that is being started, which may hang in a file system: two seconds are all that there is.
const BEING_STARTED: Duration = Duration::from_millis(200);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

static STARTED: Mutex<Started> = Mutex::new(Started(VecDeque::new()));
/// Whether none is started any more. Read while one is being started.
static IS_OVER: RwLock<bool> = RwLock::new(false);

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

    /// Those that run.
    fn running(&self) -> impl Iterator<Item = u32> {
        let running = self.0.iter().filter(|(_, ended)| ended.is_none());
        running.map(|(number, _)| *number)
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

/// Starts a process that leads a group of its own, and tells its number. None is started once this one is about to end.
pub(crate) fn start<C>(
    spawn: impl FnOnce() -> io::Result<C>,
    number: impl FnOnce(&C) -> Option<u32>,
) -> io::Result<C> {
    let is_over = IS_OVER.read().unwrap_or_else(PoisonError::into_inner);
    if *is_over {
        return Err(io::Error::other("this process is about to end"));
    }
    let child = spawn()?;
    if let Some(number) = number(&child) {
        lock().started(number);
    }
    Ok(child)
}

/// Takes leave of one of them if it has ended: whoever kills it meanwhile could meet somebody else who has its number.
pub(crate) fn reap<T>(
    process: u32,
    try_wait: impl FnOnce() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut all = lock();
    let status = try_wait()?;
    if status.is_some() {
        all.ended(process, Instant::now());
    }
    Ok(status)
}

/// One of them has ended, or was killed.
pub(crate) fn ended(process: u32) {
    lock().ended(process, Instant::now());
}

/// Kills the programs that this process has started and that still run, with all that they have started, and starts no more:
/// for a process that ends, however that comes. Those that only read are not missed, and one that writes rules writes a table
/// as a whole or not at all. O(programs), a few; at most 200 ms, where one is being started.
///
/// ```
/// ipvs_proxier::end_programs();
/// ```
pub fn end_programs() {
    let since = Instant::now();
    loop {
        match IS_OVER.try_write() {
            Ok(mut is_over) => {
                *is_over = true;
                break;
            }
            Err(TryLockError::Poisoned(poisoned)) => {
                *poisoned.into_inner() = true;
                break;
            }
            Err(TryLockError::WouldBlock) if since.elapsed() >= BEING_STARTED => break,
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
        }
    }
    let all = lock();
    let groups = all
        .running()
        .filter_map(|number| i32::try_from(number).ok());
    for group in groups.filter_map(Pid::from_raw) {
        // One that has ended by itself is not there to be killed.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Whether it is one of those.
pub(crate) fn has(process: u32) -> bool {
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
