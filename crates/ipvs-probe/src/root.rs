use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the files of a system are: `/`, a container's `/host`, a test tree.
///
/// ```
/// use ipvs_probe::{Reading, Root};
/// let tree = tempfile::tempdir()?;
/// assert_eq!(Root::below(tree.path()).read("/proc/modules"), Reading::Absent);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Its content.
    Present(String),
    /// There is no such file, which is a fact too.
    Absent,
    /// It is there and cannot be read.
    Unreadable(io::ErrorKind),
}

impl Reading {
    /// The content, if it could be read.
    #[must_use]
    pub fn content(self) -> Option<String> {
        match self {
            Self::Present(content) => Some(content),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

/// Where a fact was found: a file or program, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Evidence {
    /// A path on the system that was looked at, or a command line.
    pub place: String,
    /// The line, or what is missing.
    pub content: String,
}

impl Evidence {
    pub(crate) fn new(place: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            content: content.into(),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.content)
    }
}

impl Root {
    /// This machine.
    #[must_use]
    pub fn host() -> Self {
        Self::below("/")
    }

    /// The system below a folder.
    #[must_use]
    pub fn below(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Whether programs of the system can be run: only those of this machine.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where a file of the system is.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.path.join(file.trim_start_matches('/'))
    }

    /// Reads a file. Bytes that are no UTF-8 are replaced: none of them matters in what is looked for.
    #[must_use]
    pub fn read(&self, file: &str) -> Reading {
        match fs::read(self.path(file)) {
            Ok(bytes) => Reading::Present(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Absent,
            // a file where a folder was expected
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Reading::Absent,
            Err(error) => Reading::Unreadable(error.kind()),
        }
    }

    /// The names in a folder, in order; none where there is no such folder.
    #[must_use]
    pub fn list(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    /// Whether a file or folder is there.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.path(file).exists()
    }
}
