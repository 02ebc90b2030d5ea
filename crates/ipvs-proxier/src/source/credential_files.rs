//! The files of credentials, which are written again while they are used.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tracing::warn;

use super::origin::Part;
use crate::files::{FileProblem, FileState, FollowedFiles, FollowedPath};

/// Longer files, in bytes, are no credentials.
pub(super) const LONGEST: u64 = 1 << 20;

/// A file of which the contents were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRead {
    pub(super) path: PathBuf,
    pub(super) part: Part,
    /// By which other contents are told.
    pub(super) digest: u64,
}

impl FileRead {
    pub(super) fn new(part: Part, path: &Path, text: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            part,
            digest: digest(text),
        }
    }
}

fn digest(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// Follows what credentials were read from.
#[derive(Debug)]
pub(super) struct CredentialFiles {
    read: Vec<FileRead>,
    followed: FollowedFiles,
}

impl CredentialFiles {
    /// Follows files that were read. `changed` changes when one of them may be another one.
    ///
    /// # Errors
    /// When there is no thread or no file descriptor left for it.
    pub(super) fn follow(read: &[FileRead], changed: &watch::Sender<()>) -> std::io::Result<Self> {
        let path = |file: &FileRead| FollowedPath::file(file.path.clone(), LONGEST);
        let changed = changed.clone();
        Ok(Self {
            read: read.to_vec(),
            followed: FollowedFiles::start(read.iter().map(path).collect(), move || {
                changed.send_replace(());
            })?,
        })
    }

    /// Whether they are these, with these contents.
    pub(super) fn are(&self, read: &[FileRead]) -> bool {
        self.read == read
    }

    /// Whether one of them has other contents now than those that were read, or none, since this was last asked.
    pub(super) fn have_changed(&self) -> bool {
        let mut have_changed = false;
        for news in self.followed.poll() {
            match news.state {
                FileState::Contents(text) => {
                    let mut read = self.read.iter();
                    let read = read.find(|file| file.path == news.path);
                    have_changed |= read.is_none_or(|file| file.digest != digest(&text));
                }
                // Its contents are those of nobody yet.
                FileState::Unusable(problem @ FileProblem::KeepsChanging { .. }) => {
                    let path = news.path.display();
                    warn!("credentials: {path}: {problem}; the last good ones stay in force");
                }
                // Whoever reads it again finds out, and says so until it is well.
                FileState::Unusable(_) | FileState::Gone => have_changed = true,
                FileState::AsBefore | FileState::Unsettled => {}
            }
        }
        have_changed
    }
}
