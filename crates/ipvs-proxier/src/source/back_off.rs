//! How long to wait before the API is asked again.

use std::time::Duration;

use super::api::ApiError;

/// As client-go begins. It goes on to 30 s: here traffic depends on it.
const FIRST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(5);
/// The longest that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Retry with back-off: twice as long after each failure, and by chance up to twice that, so that the nodes of a cluster do
/// not ask in step.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
    /// Whether the server did not answer last.
    is_away: bool,
}

impl BackOff {
    /// All is well.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a failure; `chance` is between 0 and 1.
    pub(super) fn wait(&mut self, error: &ApiError, chance: f64) -> Duration {
        // A server that has just started knows nobody yet, but will in a moment.
        if self.is_away && matches!(error.code(), Some(401 | 403)) {
            self.reset();
        }
        self.is_away = !error.is_answer();
        let wait = self.next(chance);
        match error {
            ApiError::Refused(refusal) => {
                let asked = refusal.retry_after.unwrap_or_default();
                wait.max(asked.min(LONGEST_ASKED))
            }
            _ => wait,
        }
    }

    /// The next wait.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let times = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1).min(16);
        let least = FIRST.saturating_mul(times).min(LONGEST);
        least.mul_f64(1.0 + chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::refused;
    use super::*;

    #[test]
    fn a_server_that_refuses_is_asked_less_and_less_often() {
        for chance in [0.0, 1.0] {
            let mut back_off = BackOff::default();
            let waits: Vec<f64> = (0..40)
                .map(|_| back_off.wait(&refused(500), chance).as_secs_f64())
                .collect();
            let least = [0.8, 1.6, 3.2, 5.0, 5.0].map(|wait| wait * (1.0 + chance));
            assert_eq!(waits[..5], least);
            assert!(waits[5..].iter().all(|wait| *wait == least[4]));
            back_off.reset();
            assert!(back_off.wait(&refused(500), chance) <= FIRST * 2);
        }
    }

    #[test]
    fn a_server_that_starts_is_asked_soon() {
        let mut back_off = BackOff::default();
        for _ in 0..5 {
            back_off.wait(&ApiError::Io(String::new()), 0.0);
        }
        assert_eq!(back_off.wait(&refused(403), 0.0), FIRST, "it starts");
        assert!(back_off.wait(&refused(403), 0.0) > FIRST, "still 403");
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        let mut asked = refused(429);
        for (seconds, wait) in [(0, 0.8), (20, 20.0), (86_400, 30.0)] {
            if let ApiError::Refused(refusal) = &mut asked {
                refusal.retry_after = Some(Duration::from_secs(seconds));
            }
            let mut back_off = BackOff::default();
            assert_eq!(back_off.wait(&asked, 0.0), Duration::from_secs_f64(wait));
        }
    }
}
