//! How far a controller is.

use std::fmt;
use std::time::Instant;

use ipvs_model::Known;
use ipvs_model::input::ObjectName;

use super::applying::Unfinished;
use super::concerns::Waiting;
use crate::kernel_event::Signs;
use crate::reading::{Reading, Section};
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
    pub(super) reread: Option<Box<Reread>>,
}

impl Running {
    /// With nothing that goes on beside.
    pub(super) const fn new(known: Known) -> Self {
        Self {
            known,
            resync: None,
            reread: None,
        }
    }
}

/// What others have changed is being read again.
#[derive(Debug)]
pub(super) struct Reread {
    pub(super) tally: Tally,
    pub(super) reading: Reading,
    /// What they have changed.
    pub(super) sections: Vec<(Section, Waiting)>,
    /// What else failed.
    pub(super) errors: Vec<StepError>,
    /// From before the rules are read, if they are.
    pub(super) signs: Option<Signs>,
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
    /// From before anything was read.
    pub(super) signs: Option<Signs>,
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
