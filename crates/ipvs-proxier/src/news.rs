//! What is worth a line in the log.

use std::collections::{HashMap, HashSet};
use std::fmt;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::input::ObjectName;
use ipvs_model::{Desired, Problem};

use crate::activity::Activity;
use crate::error::Failure;
use crate::kernel_event::ChangedBy;
use crate::reading::Section;
use crate::source::{About, Notice};
use crate::step_error::StepError;

/// Something that happened and that people should know. Its text is a line for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// A Service asks for something impossible; everything else of it is served.
    Problem {
        /// The Service.
        service: ObjectName,
        /// What it asks for.
        problem: Problem,
    },
    /// A virtual server where a Service wants its own was somebody else's and is the Service's now.
    TakenOver {
        /// The Service.
        service: ObjectName,
        /// Its virtual server.
        key: ServiceKey,
    },
    /// An operation failed for the first time since everything last succeeded.
    Failed {
        /// The operation and the reason.
        failure: String,
    },
    /// Something else failed for the first time since everything last succeeded.
    Error {
        /// What and why.
        error: String,
    },
    /// Others undo again and again what is put right.
    Undone {
        /// What they undo.
        section: Section,
        /// How often it was put right so far.
        times: u32,
        /// Who did it the last time, if the kernel says it.
        by: Option<ChangedBy>,
    },
    /// Conntrack entries of UDP that led to endpoints which are gone were deleted.
    ConntrackCleaned {
        /// Of which family.
        family: Family,
        /// How many.
        entries: usize,
    },
}

impl News {
    /// Whether somebody should look after it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::ConntrackCleaned { .. })
    }

    /// What those who look after the cluster should know of it, if they should.
    #[must_use]
    pub fn notice(&self) -> Option<Notice> {
        match self {
            Self::TakenOver { service, .. } => Some(Notice {
                about: About::Service(service.clone()),
                is_warning: true,
                reason: "ForeignVirtualServer",
                action: "TakeOver",
                note: self.to_string(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem { service, problem } => write!(f, "Service {service}: {problem}"),
            Self::TakenOver { service, key } => write!(
                f,
                "Service {service}: virtual server {key} was made by others and is taken over; --foreign=keep leaves such alone"
            ),
            Self::Failed { failure } => write!(f, "{failure}; retry with back-off"),
            Self::Error { error } => write!(f, "{error}; retry with back-off"),
            Self::Undone { section, times, by } => {
                write!(
                    f,
                    "others change {section} again and again: put right {times} times"
                )?;
                if let Some(program) = by {
                    write!(f, ", the last change was made by {program}")?;
                }
                f.write_str("; who undoes it at once is answered less and less often")
            }
            Self::ConntrackCleaned { family, entries } => write!(
                f,
                "deleted {entries} conntrack entries of {family} UDP to endpoints that are gone"
            ),
        }
    }
}

/// What the log has already, so that each thing is logged once for as long as it lasts.
#[derive(Debug, Default)]
pub(crate) struct LoggedOnce {
    problems: HashMap<ObjectName, Vec<Problem>>,
    /// Operations that failed in the last activity. Each one tries again what failed before, so that what is not among them
    /// is over.
    failures: HashSet<String>,
    /// Those of the activity that goes on.
    failing: HashSet<String>,
    errors: HashSet<String>,
}

impl LoggedOnce {
    /// The new problems of a Service. O(problems of the Service).
    pub(crate) fn problems(
        &mut self,
        service: &ObjectName,
        desired: &Desired,
        news: &mut Vec<News>,
    ) {
        let now: Vec<Problem> = desired.problems_of(service).collect();
        let before = if now.is_empty() {
            self.problems.remove(service)
        } else {
            self.problems.insert(service.clone(), now.clone())
        };
        let before = before.unwrap_or_default();
        let new = now.into_iter().filter(|problem| !before.contains(problem));
        news.extend(new.map(|problem| News::Problem {
            service: service.clone(),
            problem,
        }));
    }

    /// The failures that are new. O(failures).
    pub(crate) fn failures(&mut self, failures: &[Failure], news: &mut Vec<News>) {
        for failure in failures.iter().map(ToString::to_string) {
            let is_new = self.failing.insert(failure.clone());
            if is_new && !self.failures.contains(&failure) {
                news.push(News::Failed { failure });
            }
        }
    }

    /// What else failed, if it is new.
    pub(crate) fn error(&mut self, error: &StepError, news: &mut Vec<News>) {
        let error = error.to_string();
        if self.errors.insert(error.clone()) {
            news.push(News::Error { error });
        }
    }

    /// An activity ended: what did not fail in it is new again when it fails. A look at draining real servers tries nothing
    /// else again, and only what reads the kernel says that errors are over. O(failures).
    pub(crate) fn ended(&mut self, activity: Activity, succeeded: bool) {
        let failing = std::mem::take(&mut self.failing);
        if activity == Activity::Drain {
            self.failures.extend(failing);
        } else {
            self.failures = failing;
        }
        if succeeded && matches!(activity, Activity::Start | Activity::Resync) {
            self.errors.clear();
        }
    }
}
