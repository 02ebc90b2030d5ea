//! How far a controller is.

use std::fmt;
use std::time::Instant;

use ipvs_model::Known;
use ipvs_model::input::ObjectName;

use super::applying::Unfinished;
use super::canaries::TakenSigns;
use super::concerns::Waiting;
use crate::reading::{Lane, Reading, Section};
use crate::report::Tally;
use crate::step_error::StepError;

/// What a controller knows of the kernel, and what it is doing about it.
///
/// ```text
///              the source's initial list is complete, and a retry is due
///   Unread ──────────────────────────────────────────────────────▶ Reading ◀─┐ a part was read
///     ▲ ▲                                                            │  │ └──┘
///     │ └───────────────── a part could not be read ─────────────────┘  │ everything was read
///     │                                                                 ▼
///     │ a failure left open what was done                           Starting ◀─┐ a batch of services was brought in
///     │                                                                 │ └────┘
///     └──────────────────────────── Running ◀───────────────────────────┘ the last one was
///                                   │     ▲
///                                   └─────┘ changes are synced, real servers drain, what others changed is read again,
///                                           a resync goes on part by part
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is known. Nothing may be concluded, hence nothing is changed.
    Unread {
        /// When a start that failed is retried; at once, if there is none.
        retry: Option<Instant>,
    },
    /// The kernel is being read, and what was read of it is known. Changes wait.
    Reading(First),
    /// The kernel is known. What is missing in it is brought in batch by batch, with what changes meanwhile.
    Starting(Starting),
    /// The kernel is known, and equal to what should be there but for what changed, failed, or was done by others since
    /// it was last read.
    Running(Running),
}

impl Default for State {
    fn default() -> Self {
        Self::Unread { retry: None }
    }
}

/// See [`State::Reading`].
#[derive(Debug)]
pub(super) struct First {
    pub(super) tally: Tally,
    pub(super) known: Known,
    pub(super) reading: Reading,
    /// From before the section that is being read.
    pub(super) signs: Option<TakenSigns>,
}

/// See [`State::Starting`].
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) tally: Tally,
    pub(super) known: Known,
    /// Services that have not had their turn, the next one last.
    pub(super) services: Vec<ObjectName>,
    /// What failed in a batch holds back what would be wrong without it in all that follow.
    pub(super) unfinished: Unfinished,
}

/// See [`State::Running`].
#[derive(Debug)]
pub(super) struct Running {
    pub(super) known: Known,
    /// A resync that goes on.
    pub(super) resync: Option<Box<Resync>>,
    /// What others have changed, as far as it is being read again.
    pub(super) rereads: Rereads,
}

impl Running {
    /// With nothing that goes on beside.
    pub(super) const fn new(known: Known) -> Self {
        Self {
            known,
            resync: None,
            rereads: Rereads::new(),
        }
    }
}

/// What others have changed is being read again: rules do not keep all else waiting.
#[derive(Debug)]
pub(super) struct Rereads {
    tables: Option<Box<Reread>>,
    rules: Option<Box<Reread>>,
}

impl Rereads {
    const fn new() -> Self {
        Self {
            tables: None,
            rules: None,
        }
    }

    pub(super) fn of(&self, lane: Lane) -> Option<&Reread> {
        match lane {
            Lane::Tables => self.tables.as_deref(),
            Lane::Rules => self.rules.as_deref(),
        }
    }

    pub(super) const fn of_mut(&mut self, lane: Lane) -> &mut Option<Box<Reread>> {
        match lane {
            Lane::Tables => &mut self.tables,
            Lane::Rules => &mut self.rules,
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Reread> {
        let both = [&mut self.tables, &mut self.rules];
        both.into_iter().filter_map(Option::as_deref_mut)
    }

    /// Whether a section is being read again.
    pub(super) fn has(&self, section: Section) -> bool {
        let reread = self.of(section.lane());
        reread.is_some_and(|reread| reread.sections.iter().any(|(other, _)| *other == section))
    }
}

/// Some of what others have changed is being read again.
#[derive(Debug)]
pub(super) struct Reread {
    pub(super) tally: Tally,
    pub(super) reading: Reading,
    /// What they have changed.
    pub(super) sections: Vec<(Section, Waiting)>,
    /// What else failed.
    pub(super) errors: Vec<StepError>,
    /// From before the section that is being read.
    pub(super) signs: Option<TakenSigns>,
    /// Whether it began after the resync that goes on, which need not read the same again.
    pub(super) is_after_resync: bool,
    /// When it goes on.
    pub(super) due: Instant,
    /// Nothing says that they have changed anything: it is the turn of these sections.
    pub(super) is_by_turns: bool,
}

/// A resync that goes on: the kernel's state is read part by part, and compared with what is known.
#[derive(Debug)]
pub(super) struct Resync {
    pub(super) tally: Tally,
    pub(super) reading: Reading,
    /// What else failed.
    pub(super) errors: Vec<StepError>,
    /// From before the section that is being read.
    pub(super) signs: Option<TakenSigns>,
}

/// What a controller is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stage {
    /// It waits for the source's initial list.
    #[default]
    Listing,
    /// It waits to read the kernel's state again, after a failure.
    Unread,
    /// It reads the kernel's state.
    Reading,
    /// It brings in what is missing.
    Starting,
    /// It follows the source.
    Running,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listing => "listing",
            Self::Unread => "unread",
            Self::Reading => "reading",
            Self::Starting => "starting",
            Self::Running => "running",
        })
    }
}
