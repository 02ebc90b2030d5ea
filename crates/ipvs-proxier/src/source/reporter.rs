//! What the client's thread says, and to whom.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use ipvs_model::input::Change;

use super::polled::Trigger;

/// What the client's thread says.
#[derive(Debug)]
pub(super) enum Said {
    Change(Box<Change>, Option<Trigger>),
    /// A list of a kind is complete.
    Listed(&'static str),
    Problem(String),
    /// What is wrong with the credentials now, if anything.
    Credentials(Option<String>),
}

/// Where those who follow tell what they learn.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) sender: Sender<Said>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
}

impl Reporter {
    /// Nobody listens any more once the source is dropped: the client ends with the process.
    pub(super) fn say(&self, said: Said) {
        if self.sender.send(said).is_ok() {
            (self.wake)();
        }
    }

    /// Says it without waking anybody: more is coming.
    pub(super) fn mention(&self, said: Said) {
        // As above.
        let _ = self.sender.send(said);
    }
}
