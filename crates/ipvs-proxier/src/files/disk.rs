//! What the rules need of a file system.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::problem::FileProblem;
use super::stamp::{Identity, Stamp};

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Folder(Identity),
    File(Stamp),
    /// What no file is followed in, with its article.
    Other(&'static str),
}

/// One look at a path.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) seen: io::Result<Seen>,
    /// Whether changes after this look will be told. What nobody tells of is to be looked at again and again.
    pub(super) is_watched: bool,
}

/// Files and folders, as the rules see them: the machine's, or those of a test.
pub(super) trait Disk {
    /// What a path leads to, through links. Changes from before the look on are told, if that can be.
    fn look(&mut self, path: &Path) -> Look;

    /// The same for a file of a folder that is followed: if it stands in it as such, the folder tells of its changes.
    fn look_in_folder(&mut self, path: &Path) -> Look;

    /// The names in a folder of what is no folder itself.
    fn list(&mut self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// A regular file and its stamp, which is the same before and after: what is written meanwhile is a problem of the next
    /// look. Never waits for a writer.
    fn read(&mut self, path: &Path, at_most: u64) -> Result<(Stamp, Vec<u8>), FileProblem>;

    /// The changes of a path need not be told any more.
    fn forget(&mut self, path: &Path);
}
