use std::collections::HashSet;

use ipvs_model::input::ObjectName;
use ipvs_model::{Desired, Problem};
use tracing::warn;

use crate::error::Failure;

/// What the log has, so that nothing is said again as long as it stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Told {
    problems: HashSet<(ObjectName, Problem)>,
    failures: HashSet<String>,
}

impl Told {
    /// Each problem of a Service once, until it is gone. O(problems).
    pub(crate) fn problems(&mut self, desired: &Desired) {
        let problems: Vec<_> = desired
            .problems()
            .map(|(service, problem)| (service.clone(), problem))
            .collect();
        for (service, problem) in problems.iter().filter(|new| !self.problems.contains(*new)) {
            warn!("Service {service}: {problem}");
        }
        self.problems = problems.into_iter().collect();
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

    /// All that there was to do succeeded: failures are new again.
    pub(crate) fn succeeded(&mut self) {
        self.failures.clear();
    }
}
