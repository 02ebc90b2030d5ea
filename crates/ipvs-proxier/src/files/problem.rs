use std::io;

/// Why a file that is followed cannot be used. Its last contents stay in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The kernel refuses, or the disk or the server of the files fails. That is not the same as "gone".
    #[error("cannot {operation} it: {reason}")]
    Io {
        /// What was tried, as `read`.
        operation: &'static str,
        /// The error number, where there is one.
        errno: Option<i32>,
        /// The error's text.
        reason: String,
    },
    /// Nothing is read from pipes, sockets and devices: some never end, others never begin.
    #[error("it is {kind}: only regular files are read")]
    NotAFile {
        /// With its article, as `a FIFO`.
        kind: &'static str,
    },
    /// More than anybody writes on purpose.
    #[error("it has more than {at_most} bytes, which is the limit: split it")]
    TooLarge {
        /// The limit.
        at_most: u64,
    },
    /// It was never at rest for long enough to be whole.
    #[error(
        "it has been changing for {seconds} s: write to another name and rename that into place"
    )]
    KeepsChanging {
        /// For so long, at least.
        seconds: u64,
    },
    /// The path leads to another folder than before, and that is empty: most likely a volume is not mounted.
    #[error(
        "it is another folder than before, without the {files} files that were followed: mount its volume, put files there, or \
         restart if they are gone on purpose"
    )]
    EmptyFolder {
        /// So many were there.
        files: usize,
    },
    /// The path leads to another folder than before, which lacks files that were there. They may still come.
    #[error(
        "it is another folder than before, and lacks files that were followed: what they said stays in force until the folder \
         has been as it is for {seconds} s"
    )]
    OtherFolder {
        /// For so long.
        seconds: u64,
    },
}

impl FileProblem {
    pub(super) fn io(operation: &'static str, error: &io::Error) -> Self {
        Self::Io {
            operation,
            errno: error.raw_os_error(),
            reason: error.to_string(),
        }
    }
}
