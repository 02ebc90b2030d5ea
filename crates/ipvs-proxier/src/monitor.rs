use ipvs_model::input::Change;

use crate::clock::Moment;
use crate::controller::Controller;
use crate::report::Report;
use crate::source::Notice;

/// Follows a [`run`](crate::run): health, metrics, a display. `()` follows nothing.
pub trait Monitor {
    /// The source has changes, which the controller takes in next.
    fn changed(&mut self, changes: &[Change], now: Moment) {
        let _ = (changes, now);
    }

    /// What of the source cannot be used now is this, and no longer what it was.
    fn source_problems(&mut self, problems: &[String]) {
        let _ = problems;
    }

    /// The controller has done something.
    fn stepped(&mut self, report: &Report, controller: &Controller) {
        let _ = (report, controller);
    }

    /// What those who look after the cluster should know; asked after changes and before the controller goes on, and at least
    /// every ten seconds.
    ///
    /// # Errors
    /// A reason to end the run.
    fn check(&mut self, controller: &Controller) -> Result<Vec<Notice>, MonitorError> {
        let _ = controller;
        Ok(Vec::new())
    }
}

impl Monitor for () {}

/// Why a [`Monitor`] ends a run, and what those who look after the cluster should know of it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct MonitorError {
    /// In a sentence.
    pub reason: String,
    /// They go to the source before the run ends.
    pub notices: Vec<Notice>,
}
