//! Another folder in the place of one that is followed: a volume that was mounted or unmounted, or a folder renamed into place.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::file::{GRACE, HELD_OPEN};
use super::problem::FileProblem;
use super::stamp::Identity;

/// Whether what such a folder lacks is gone, or is still to come: files may be put into it one by one.
#[derive(Debug, Default)]
pub(super) struct OtherFolder {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    identity: Identity,
    files: BTreeSet<PathBuf>,
    since: Instant,
    /// For how long it has to be as it is.
    grace: Duration,
}

impl OtherFolder {
    /// The last folder is there, or the other one has taken its place.
    pub(super) fn is_over(&mut self) {
        self.seen = None;
    }

    /// Why the files that it lacks stay in force, if they do. One that came after a time without any files has longer than one
    /// that took the place of the last one at once.
    pub(super) fn keeps(
        &mut self,
        identity: Identity,
        files: &BTreeSet<PathBuf>,
        was_lost: bool,
        now: Instant,
    ) -> Option<FileProblem> {
        let grace = match &self.seen {
            Some(seen) if seen.identity == identity && seen.files == *files => {
                let is_at_rest = now.saturating_duration_since(seen.since) >= seen.grace;
                return (!is_at_rest).then(|| seen.problem());
            }
            Some(seen) => seen.grace,
            None if was_lost => HELD_OPEN,
            None => GRACE,
        };
        let seen = Seen {
            identity,
            files: files.clone(),
            since: now,
            grace,
        };
        let problem = seen.problem();
        self.seen = Some(seen);
        Some(problem)
    }
}

impl Seen {
    const fn problem(&self) -> FileProblem {
        FileProblem::OtherFolder {
            seconds: self.grace.as_secs(),
        }
    }
}
