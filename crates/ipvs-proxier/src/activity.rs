use std::fmt;

/// What a controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// It reads the kernel's state for the first time, or anew after a failure that left open what was done, and brings in
    /// what is missing.
    Start,
    /// It applies what changed.
    Sync,
    /// It compares everything with the kernel and repairs what drifted.
    Resync,
    /// It reads again what others have changed, and repairs what drifted.
    Repair,
    /// It looks whether draining real servers can be removed.
    Drain,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Sync => "sync",
            Self::Resync => "resync",
            Self::Repair => "repair",
            Self::Drain => "drain",
        })
    }
}
