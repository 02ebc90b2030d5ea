//! The processes that this one has started lately: what they change in the kernel is its own doing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Few run at a time, and what they did is heard of at once.
const REMEMBERED: usize = 64;

static STARTED: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());

/// A process was started.
pub(super) fn started(process: u32) {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if started.len() >= REMEMBERED {
        started.pop_front();
    }
    started.push_back(process);
}

/// Whether it is one of those.
pub(super) fn has(process: u32) -> bool {
    let started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.contains(&process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known() {
        // Numbers that no process has.
        let number = |count: usize| u32::MAX - u32::try_from(count).unwrap();
        for count in 0..REMEMBERED * 2 {
            started(number(count));
        }
        assert!(has(number(REMEMBERED * 2 - 1)));
        assert!(!has(number(0)) && !has(1));
    }
}
