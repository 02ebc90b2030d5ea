use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use super::file::FileState;
use super::follower::FollowedPath;
use super::following::FollowedFiles;

/// One file that is [followed](FollowedFiles), whose last good contents are in force.
///
/// ```
/// use std::time::Duration;
/// use ipvs_proxier::{Control, FollowedFile};
///
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(file.path(), "7")?;
/// let control = Control::new();
/// let mut followed = FollowedFile::start(file.path().to_owned(), 100, control.waker())?;
/// let number: u32 = loop {
///     let new = followed.poll(|bytes| String::from_utf8_lossy(bytes).parse::<u32>());
///     assert!(new.problems.is_empty());
///     if let Some(number) = new.values.last() {
///         break *number;
///     }
///     control.wait(Duration::from_secs(60));
/// };
/// assert_eq!(number, 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FollowedFile {
    files: FollowedFiles,
    bad: Option<String>,
    unusable: Option<String>,
    /// Both.
    problems: Vec<String>,
}

/// What is new of a [`FollowedFile`].
#[derive(Debug)]
#[must_use]
pub struct NewContents<T> {
    /// New good contents, in order: the last ones are in force.
    pub values: Vec<T>,
    /// What cannot be used, each once, with the path.
    pub problems: Vec<String>,
}

impl FollowedFile {
    /// Starts to follow a file of at most so many bytes. `wake` is called whenever there is something to poll.
    ///
    /// # Errors
    /// When there is no thread or no file descriptor left for it.
    pub fn start(
        path: PathBuf,
        at_most: u64,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let followed = vec![FollowedPath::file(path, at_most)];
        Ok(Self {
            files: FollowedFiles::start(followed, wake)?,
            bad: None,
            unusable: None,
            problems: Vec::new(),
        })
    }

    /// What is new, read by `read`. Contents that it refuses change nothing. Never waits.
    pub fn poll<T, E: Display>(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Result<T, E>,
    ) -> NewContents<T> {
        let mut new = NewContents {
            values: Vec::new(),
            problems: Vec::new(),
        };
        for news in self.files.poll() {
            let named = |problem: &dyn Display| format!("{}: {problem}", news.path.display());
            self.unusable = None;
            match &news.state {
                FileState::Contents(bytes) => match read(bytes) {
                    Ok(value) => {
                        self.bad = None;
                        new.values.push(value);
                    }
                    Err(error) => {
                        self.bad = Some(named(&error));
                        new.problems.extend(self.bad.clone());
                    }
                },
                FileState::Unusable(problem) => {
                    self.unusable = Some(named(problem));
                    new.problems.extend(self.unusable.clone());
                }
                FileState::AsBefore | FileState::Unsettled | FileState::Gone => {}
            }
            let both = self.unusable.iter().chain(&self.bad);
            self.problems = both.cloned().collect();
        }
        new
    }

    /// What is wrong with it now, with the path.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Reads it again, also if it looks unchanged, and tells again what is wrong.
    pub fn reload(&self) {
        self.files.reload();
    }

    /// Why nobody follows it any more, which happens only through a fault.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.files.ended()
    }
}
