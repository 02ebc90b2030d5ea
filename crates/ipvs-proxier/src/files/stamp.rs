use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of a file: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct FileTime(pub(super) i64, pub(super) u32);

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) identity: Identity,
    pub(super) length: u64,
    /// When it was last written.
    pub(super) modified: FileTime,
    /// When it was last written, renamed, or given other rights.
    pub(super) changed: FileTime,
}

/// Which file or folder it is, whatever its name. The time of birth tells it from one that got the number of one that is
/// gone; not every file system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    pub(super) born: FileTime,
}

impl Stamp {
    /// Whether its last change was another one than to write to it: it was renamed, as far as one can tell.
    pub(super) fn was_moved(&self) -> bool {
        self.changed > self.modified
    }

    /// For how long it has been as it is, by its own times; nothing, where they are ahead of the clock.
    pub(super) fn rested(&self, now: SystemTime) -> Duration {
        let FileTime(seconds, nanoseconds) = self.modified.max(self.changed);
        let seconds = u64::try_from(seconds).unwrap_or_default();
        UNIX_EPOCH
            .checked_add(Duration::new(seconds, nanoseconds))
            .and_then(|at| now.duration_since(at).ok())
            .unwrap_or_default()
    }
}
