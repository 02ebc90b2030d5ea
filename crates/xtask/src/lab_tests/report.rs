//! What became of tests, read from what they say.

use std::ops::AddAssign;

/// What a test says that the lab has not what it needs. It passes then.
const SKIPPED: &str = "skipped: it needs ";

/// How many of which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Of the worst run.
    pub(crate) status: u8,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.status = self.status.max(other.status);
    }
}

impl Report {
    /// Of a run of some tests, by what it said and its exit status. Tests that it did not come to have failed.
    pub(super) fn of(said: &str, tests: usize, status: u8) -> Self {
        let result = said
            .lines()
            .rev()
            .find(|line| line.starts_with("test result: "));
        let number = |what: &str| {
            let words: Vec<&str> = result?.split([' ', ';', '.']).collect();
            let at = words.iter().position(|word| *word == what)?;
            words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        let skipped = said.matches(SKIPPED).count();
        let passed = number("passed").unwrap_or(0);
        let ignored = number("ignored").unwrap_or(0);
        Self {
            passed: passed.saturating_sub(skipped),
            failed: tests.saturating_sub(passed + ignored),
            skipped,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_and_what_it_did_not_come_to_has_failed() {
        let said = "test a ... ok\ntest b ... skipped: it needs a cold kernel\nok\n\n\
                    test result: ok. 5 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.00s\n";
        let report = Report::of(said, 6, 101);
        let wanted = Report {
            passed: 4,
            failed: 1,
            skipped: 1,
            status: 101,
        };
        assert_eq!(report, wanted);
        assert_eq!(Report::of("test a ... ", 3, 1).failed, 3);
    }
}
