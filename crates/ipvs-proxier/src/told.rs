use std::collections::{HashMap, HashSet};

use ipvs_model::input::ObjectName;
use ipvs_model::{Model, Problem};
use tracing::warn;

use crate::error::Failure;
use crate::reading::Unread;

/// What the log has, so that nothing is said again as long as it stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Told {
    problems: HashMap<ObjectName, Vec<Problem>>,
    failures: HashSet<String>,
}

impl Told {
    /// Each problem of a Service once, until it is gone. O(changed problems).
    pub(crate) fn problems(&mut self, model: &mut Model) {
        for service in model.take_problem_changes() {
            let problems: Vec<Problem> = model.desired().problems_of(&service).collect();
            let known = self.problems.remove(&service).unwrap_or_default();
            for problem in problems.iter().filter(|new| !known.contains(new)) {
                warn!("Service {service}: {problem}");
            }
            if !problems.is_empty() {
                self.problems.insert(service, problems);
            }
        }
    }

    /// Each failure once, until everything succeeds. O(failures).
    pub(crate) fn failures(&mut self, failures: &[Failure]) {
        for failure in failures {
            let text = failure.to_string();
            if !self.failures.contains(&text) {
                warn!("{text}; it is tried again, later and later");
                self.failures.insert(text);
            }
        }
    }

    /// What could not be read, once until everything succeeds. O(unread).
    pub(crate) fn unread(&mut self, unread: &[Unread]) {
        for unread in unread {
            let text = unread.to_string();
            if !self.failures.contains(&text) {
                warn!("{text}; all else is compared, and it is tried again");
                self.failures.insert(text);
            }
        }
    }

    /// All that there was to do succeeded: failures are new again.
    pub(crate) fn succeeded(&mut self) {
        self.failures.clear();
    }
}
