//! When what is seen of a file counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::problem::FileProblem;
use super::stamp::Stamp;
use crate::clock::Moment;

/// What differs from before counts once it was so for as long, at two looks.
pub(super) const SETTLE: Duration = Duration::from_millis(500);
/// The same for a file that is empty or shorter than before: who writes it may just have begun.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The same while somebody who has written to a file still has it open, or may have: where nobody tells of changes, nobody
/// tells of that. The stamps of NFS are up to 60 s old, too (`acregmax`).
pub(super) const HELD_OPEN: Duration = Duration::from_secs(60);
/// A file that was not at rest for so long is a problem.
const RESTLESS: Duration = Duration::from_secs(60);
/// What cannot be looked at is tried again so often; what nobody tells changes of is looked at so often.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// How a file that is followed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It has these contents now. They may be the same as before: it was written again.
    Contents(Arc<[u8]>),
    /// It is unchanged since its last `Contents`; a problem reported since then has cleared.
    AsBefore,
    /// It is changing, or seems to. Its last contents stay in force.
    Unsettled,
    /// It was removed: its folder can be read and does not list it.
    Gone,
    /// It cannot be used. Its last contents stay in force.
    Unusable(FileProblem),
}

/// What one look shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    File(Stamp),
    Gone,
    Problem(FileProblem),
}

/// What is known to have happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It was written to, and whoever did has it open.
    Written,
    /// Whoever wrote to it has closed it.
    Closed,
    /// It, or something on the way to it, was renamed into place.
    Moved,
    /// The name came, or went.
    Named,
    /// Something else.
    Other,
}

/// What is to be done with a file next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, until something happens to it.
    Rest,
    /// Look at it, then.
    Look(Instant),
    /// Read it.
    Read,
}

/// What a look leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) tell: Option<FileState>,
    pub(super) next: Next,
}

/// What was last reported of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Reported {
    #[default]
    Nothing,
    InForce,
    Unsettled,
    Unusable(FileProblem),
}

#[derive(Debug)]
struct Candidate {
    sighting: Sighting,
    since: Instant,
}

/// One file: what of it is in force, and what may become so.
#[derive(Debug, Default)]
pub(super) struct FileRules {
    in_force: Option<Stamp>,
    candidate: Option<Candidate>,
    unsettled_since: Option<Instant>,
    reported: Reported,
    /// Whether the kernel tells of its changes.
    is_watched: bool,
    is_being_written: bool,
    was_moved: bool,
    /// Whether somebody wants it read though it looks unchanged.
    reread: bool,
}

impl FileRules {
    pub(super) const fn touched(&mut self, touch: Touch) {
        match touch {
            Touch::Written => (self.is_being_written, self.was_moved) = (true, false),
            Touch::Closed => self.is_being_written = false,
            Touch::Moved => (self.is_being_written, self.was_moved) = (false, true),
            Touch::Named | Touch::Other => {}
        }
    }

    pub(super) const fn watched(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
    }

    /// Read it with the next look, and say again what is wrong with it.
    pub(super) fn reload(&mut self) {
        self.reread = true;
        self.tell_again();
    }

    pub(super) fn tell_again(&mut self) {
        self.reported = Reported::Nothing;
    }

    /// Whether nothing has been reported of it yet that counts.
    pub(super) fn is_new(&self) -> bool {
        self.in_force.is_none() && !matches!(self.reported, Reported::Unusable(_))
    }

    /// Takes in a look. The first one of all has no earlier ones to compare with: there the times of the file itself tell
    /// for how long it has been at rest.
    pub(super) fn saw(&mut self, sighting: Sighting, now: Moment, is_first: bool) -> Decision {
        let is_in_force =
            matches!(&sighting, Sighting::File(stamp) if self.in_force == Some(*stamp));
        if is_in_force && !self.reread {
            self.settled();
            let tell = (self.reported != Reported::InForce).then_some(FileState::AsBefore);
            self.reported = Reported::InForce;
            return Decision {
                tell,
                next: Next::Rest,
            };
        }
        let patience = if is_in_force {
            Duration::ZERO
        } else {
            self.patience(&sighting, now, is_first)
        };
        let since = match &self.candidate {
            Some(candidate) if candidate.sighting == sighting => candidate.since,
            _ => {
                let since = now.steady;
                let sighting = sighting.clone();
                self.candidate = Some(Candidate { sighting, since });
                since
            }
        };
        let unsettled_since = *self.unsettled_since.get_or_insert(since);
        // At the end of time it is as good as settled.
        let due = since.checked_add(patience).unwrap_or(since);
        if now.steady >= due {
            return self.count(sighting, now);
        }
        // Up to its last change: one that rests is only waited for.
        let restless = since.saturating_duration_since(unsettled_since);
        let tell = if restless >= RESTLESS && matches!(sighting, Sighting::File(_)) {
            self.unusable(FileProblem::KeepsChanging {
                seconds: RESTLESS.as_secs(),
            })
        } else {
            self.unsettled()
        };
        Decision {
            tell,
            next: Next::Look(due),
        }
    }

    /// Takes in what was read after [`Next::Read`].
    pub(super) fn read(
        &mut self,
        read: Result<(Stamp, Vec<u8>), FileProblem>,
        now: Moment,
    ) -> Decision {
        match read {
            Ok((stamp, bytes)) => {
                let is_it = |candidate: &Candidate| candidate.sighting == Sighting::File(stamp);
                if !self.candidate.as_ref().is_some_and(is_it) {
                    // It changed between the look and the read.
                    return self.saw(Sighting::File(stamp), now, false);
                }
                self.in_force = Some(stamp);
                self.reread = false;
                self.settled();
                self.reported = Reported::InForce;
                Decision {
                    tell: Some(FileState::Contents(bytes.into())),
                    next: Next::Rest,
                }
            }
            Err(problem) => self.count(Sighting::Problem(problem), now),
        }
    }

    fn settled(&mut self) {
        self.candidate = None;
        self.unsettled_since = None;
        self.was_moved = false;
    }

    /// What has been seen counts.
    fn count(&mut self, sighting: Sighting, now: Moment) -> Decision {
        match sighting {
            Sighting::File(_) => Decision {
                tell: None,
                next: Next::Read,
            },
            Sighting::Gone => Decision {
                tell: Some(FileState::Gone),
                next: Next::Rest,
            },
            Sighting::Problem(problem) => {
                self.unsettled_since = None;
                Decision {
                    tell: self.unusable(problem),
                    next: now
                        .steady
                        .checked_add(PERIOD)
                        .map_or(Next::Rest, Next::Look),
                }
            }
        }
    }

    fn unusable(&mut self, problem: FileProblem) -> Option<FileState> {
        let reported = Reported::Unusable(problem.clone());
        (std::mem::replace(&mut self.reported, reported.clone()) != reported)
            .then_some(FileState::Unusable(problem))
    }

    fn unsettled(&mut self) -> Option<FileState> {
        if matches!(self.reported, Reported::Unsettled | Reported::Unusable(_)) {
            return None;
        }
        self.reported = Reported::Unsettled;
        Some(FileState::Unsettled)
    }

    /// For how long a sighting must stay the same before it counts.
    fn patience(&self, sighting: &Sighting, now: Moment, is_first: bool) -> Duration {
        let stamp = match sighting {
            Sighting::Problem(_) if is_first => return Duration::ZERO,
            Sighting::Problem(_) | Sighting::Gone => return SETTLE,
            Sighting::File(stamp) => stamp,
        };
        if self.is_being_written {
            return HELD_OPEN;
        }
        let before = self.in_force;
        let is_other = before.is_none_or(|before| before.identity != stamp.identity);
        let is_less =
            stamp.length == 0 || before.is_some_and(|before| stamp.length < before.length);
        // A file that was made anew and given other rights has the times of one that was renamed. If somebody goes on to write
        // to it, only a watch tells.
        let seems_moved = is_other && stamp.was_moved() && self.is_watched && !is_less;
        if self.was_moved || seems_moved {
            return Duration::ZERO;
        }
        // It was written in place, and nobody tells when its writer is done. Two looks within some seconds may be one at what
        // NFS remembers (`acregmin`).
        let is_unseen = !(self.is_watched || is_other && stamp.was_moved());
        // One that is new takes nothing away.
        let patience = if is_less && is_unseen && before.is_some() {
            HELD_OPEN
        } else if is_less || is_unseen {
            GRACE
        } else {
            SETTLE
        };
        if is_first && stamp.rested(now.wall) >= patience {
            return Duration::ZERO;
        }
        patience
    }
}
