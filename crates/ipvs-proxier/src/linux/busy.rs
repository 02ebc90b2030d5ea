//! Waiting for others who are in the way: they hold the lock of iptables, or change the rules at the same time.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::control::Control;
use crate::error::PlaneError;

/// Between two attempts, each of which waits for a second itself.
pub(super) const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// Tries until others are not in the way any more, and says once that it waits; after `at_most` their error stands, and as soon
/// as the control is asked to stop.
pub(super) fn until_free<T>(
    control: &Control,
    between: Duration,
    at_most: Option<Duration>,
    mut attempt: impl FnMut() -> Result<T, PlaneError>,
) -> Result<T, PlaneError> {
    let since = Instant::now();
    let mut is_waiting = false;
    loop {
        let error = match attempt() {
            Err(error) if error.is_busy() && !control.is_stopping() => error,
            done => {
                if is_waiting && done.is_ok() {
                    info!(waited = ?since.elapsed(), "others are not in the way any more");
                }
                return done;
            }
        };
        if at_most.is_some_and(|at_most| since.elapsed() >= at_most) {
            return Err(error);
        }
        if !std::mem::replace(&mut is_waiting, true) {
            tell(&error);
        }
        control.wait(between);
    }
}

fn tell(error: &PlaneError) {
    match error {
        PlaneError::Locked { path, holder } => warn!(
            lock = %path.display(),
            holder = holder.as_ref().map(tracing::field::display),
            "waiting for the xtables lock, held by others"
        ),
        _ => warn!(%error, "waiting for iptables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked() -> PlaneError {
        PlaneError::Locked {
            path: "/run/xtables.lock".into(),
            holder: None,
        }
    }

    fn attempts(
        control: &Control,
        at_most: Option<Duration>,
        attempt: impl Fn(usize) -> Result<(), PlaneError>,
    ) -> (Result<(), PlaneError>, usize) {
        let mut count = 0;
        let done = until_free(control, Duration::ZERO, at_most, || {
            count += 1;
            attempt(count)
        });
        (done, count)
    }

    #[test]
    fn a_lock_is_waited_for_and_nothing_else_is() {
        let control = Control::new();
        let held = |count| if count < 5 { Err(locked()) } else { Ok(()) };
        let (done, count) = attempts(&control, None, held);
        assert!(done.is_ok() && count == 5);
        let none = |_| {
            Err(PlaneError::NoIptables {
                tried: String::new(),
            })
        };
        let (done, count) = attempts(&control, None, none);
        assert!(done.is_err() && count == 1);
    }

    #[test]
    fn the_wait_ends_with_its_time_and_with_the_process() {
        let control = Control::new();
        let (done, count) = attempts(&control, Some(Duration::ZERO), |_| Err(locked()));
        assert!(done.unwrap_err().is_busy() && count == 1);
        let (done, count) = attempts(&control, None, |count| {
            if count == 3 {
                control.stop();
            }
            Err(locked())
        });
        assert!(done.unwrap_err().is_busy() && count == 3);
    }
}
