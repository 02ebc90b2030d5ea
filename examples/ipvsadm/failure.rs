//! How the program ends when it cannot do what it was told.

use std::process::ExitCode;

use support::output::{Unwritten, complain};

/// What is said on standard error, and the exit status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) status: u8,
    /// Whether restoring goes on with the next line.
    pub(crate) passed_over: bool,
}

impl Failure {
    const fn fatal(text: String, status: u8) -> Self {
        Self {
            text,
            status,
            passed_over: false,
        }
    }

    /// Options that make no sense: nothing was done.
    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        Self::fatal(text.into(), 2)
    }

    /// A table that could not be read.
    pub(crate) fn unread(text: impl Into<String>) -> Self {
        Self::fatal(text.into(), 1)
    }

    /// No command at all.
    pub(crate) fn try_help(program: &str) -> Self {
        let text = format!("Try `{program} -h' or '{program} --help' for more information.");
        Self::fatal(text, 255)
    }

    /// Words that are no options, or a change that the kernel refused.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            status: 255,
            passed_over: true,
        }
    }

    pub(crate) fn report(&self) {
        complain(&self.text);
    }

    pub(crate) fn exit(&self) -> ExitCode {
        self.report();
        ExitCode::from(self.status)
    }
}

/// ipvsadm itself does not notice; a saved table that is cut off is worse than an error.
impl From<Unwritten> for Failure {
    fn from(error: Unwritten) -> Self {
        Self::unread(error.to_string())
    }
}
