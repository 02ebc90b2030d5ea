//! Driving a controller with the clock of the machine.

use std::time::{Duration, Instant};

use ipvs_model::input::Change;
use tracing::{debug, error, info, warn};

use crate::activity::Activity;
use crate::clock::{Clock as _, Moment, SystemClock};
use crate::control::Control;
use crate::controller::{Controller, Stage, Step};
use crate::dataplane::DataPlane;
use crate::error::{Failure, PlaneError};
use crate::monitor::{Monitor, MonitorError};
use crate::report::{Ended, Report};
use crate::source::{Polled, Source};

/// Between two looks at a source that wakes nobody.
const POLL: Duration = Duration::from_millis(250);
/// The longest wait for a source that does: the monitor is asked in between.
const REST: Duration = Duration::from_secs(10);
/// A controller goes on for about so long before its source is asked again.
const SLICE: Duration = Duration::from_millis(2);

/// A run that is made once waits so long for others who have the lock of iptables.
const BUSY: Duration = Duration::from_secs(60);

/// Why a run ended that nobody stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The source will never give news again; going on would mean to serve what once was.
    #[error("the source of objects has ended: {0}")]
    SourceEnded(String),
    /// The source has something that cannot be used, and the run was to be made once with all of it.
    #[error("{}", .0.join("\n"))]
    Source(Vec<String>),
    /// The data plane will never hear of what others change again.
    #[error("nothing is heard of what others change: {0}")]
    Deaf(#[source] PlaneError),
    /// The monitor wants the end.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// Something is not as it should be after a run that was to be made once.
    #[error("{failed} operations failed, the first: {first}")]
    Failed {
        /// How many.
        failed: usize,
        /// What and why.
        first: String,
    },
    /// It was stopped before it was done.
    #[error("stopped before everything was done")]
    Stopped,
}

/// Keeps a node equal to what a source wants until it is [stopped](Control::stop); the kernel's state stays. It listens to what
/// others change in the kernel, and writes to the log what happens. Sources should [wake](Control::wake) it; others are asked four times a second.
///
/// ```no_run
/// use ipvs_model::{Config, Model};
/// use ipvs_proxier::{Control, Controller, IptablesBackend, Linux, Manifests, Pace, run};
///
/// let control = Control::new();
/// let mut controller = Controller::new(Model::new(Config::default()), Pace::default());
/// let mut plane = Linux::open(IptablesBackend::Auto)?;
/// let mut source = Manifests::follow(vec!["/etc/services".into()], control.waker())?;
/// run(&mut controller, &mut source, &mut plane, &mut (), &control)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RunError`] when the source has ended, or the monitor wants the end.
pub fn run<P: DataPlane + ?Sized>(
    controller: &mut Controller,
    source: &mut dyn Source,
    plane: &mut P,
    monitor: &mut dyn Monitor,
    control: &Control,
) -> Result<(), RunError> {
    if let Err(error) = plane.listen(controller.model().config(), control) {
        warn!(%error, "cannot listen to what others change; it is found by resyncs");
    }
    let mut run = Run {
        controller,
        source,
        plane,
        monitor,
        failing: 0,
        problems: Vec::new(),
    };
    while !control.is_stopping() {
        if control.take_reload() {
            info!("reload: reading files and the kernel's state again");
            run.source.reload();
            run.controller.hurry(Activity::Resync, Moment::now());
        }
        let problems = run.take_in()?;
        for problem in problems {
            error!("{problem}; the last good state stays in force");
        }
        run.tell_problems();
        run.check()?;
        run.hear()?;
        let wait = run.work();
        control.wait(wait);
    }
    info!("stopped: the kernel's state stays in place");
    Ok(())
}

/// Brings a node to what a source wants, once. Waits for the source's initial list.
///
/// # Errors
/// [`RunError`] when the source has something that cannot be used, something failed, or it was stopped.
pub fn run_once<P: DataPlane + ?Sized>(
    controller: &mut Controller,
    source: &mut dyn Source,
    plane: &mut P,
    control: &Control,
) -> Result<(), RunError> {
    let changes = load(source, control)?;
    controller.source(Moment::now(), changes, Vec::new(), true);
    let mut run = Run {
        controller,
        source,
        plane,
        monitor: &mut (),
        failing: 0,
        problems: Vec::new(),
    };
    let mut reports = run.until_rest(control)?;
    if !reports.iter().all(Report::succeeded) {
        // What was refused is tried once more, and with what was learned.
        run.controller.hurry(Activity::Sync, Moment::now());
        reports = run.until_rest(control)?;
    }
    // Others have the lock of iptables: that passes.
    let since = Instant::now();
    let is_busy = |failure: &Failure| failure.error.is_busy();
    while reports
        .iter()
        .any(|report| report.failures.iter().any(is_busy))
    {
        if control.is_stopping() || since.elapsed() >= BUSY {
            break;
        }
        control.wait(POLL);
        run.controller.hurry(Activity::Sync, Moment::now());
        reports = run.until_rest(control)?;
    }
    run.controller.hurry(Activity::Drain, Moment::now());
    reports.extend(run.until_rest(control)?);
    let failures = reports.iter().flat_map(|report| {
        let failures = report.failures.iter().map(ToString::to_string);
        failures.chain(report.errors.iter().map(ToString::to_string))
    });
    let failures: Vec<String> = failures.collect();
    match failures.first() {
        None => Ok(()),
        Some(first) => Err(RunError::Failed {
            failed: failures.len(),
            first: first.clone(),
        }),
    }
}

/// Everything that a source has. Waits for its initial list.
///
/// # Errors
/// [`RunError`] when it has something that cannot be used, has ended, or the wait was stopped.
pub fn load(source: &mut dyn Source, control: &Control) -> Result<Vec<Change>, RunError> {
    let mut all = Vec::new();
    while !control.is_stopping() {
        let polled = source.poll();
        all.extend(polled.changes);
        if let Some(reason) = polled.ended {
            return Err(RunError::SourceEnded(reason));
        }
        if !polled.problems.is_empty() {
            return Err(RunError::Source(polled.problems));
        }
        if source.is_complete() {
            return Ok(all);
        }
        control.wait(POLL);
    }
    Err(RunError::Stopped)
}

/// What a run consists of.
struct Run<'a, P: ?Sized> {
    controller: &'a mut Controller,
    source: &'a mut dyn Source,
    plane: &'a mut P,
    monitor: &'a mut dyn Monitor,
    /// How many operations failed in the last sync.
    failing: usize,
    /// What of the source could not be used when the monitor was last told.
    problems: Vec<String>,
}

impl<P: DataPlane + ?Sized> Run<'_, P> {
    /// Takes in what the source has learned; returns what it cannot use.
    fn take_in(&mut self) -> Result<Vec<String>, RunError> {
        let Polled {
            changes,
            triggers,
            problems,
            ended,
        } = self.source.poll();
        if let Some(reason) = ended {
            return Err(RunError::SourceEnded(reason));
        }
        let now = Moment::now();
        let was_listing = self.controller.status().stage == Stage::Listing;
        let is_complete = self.source.is_complete();
        if was_listing && is_complete {
            info!("initial list complete");
        }
        if !changes.is_empty() {
            self.monitor.changed(&changes, now);
        }
        self.controller.source(now, changes, triggers, is_complete);
        Ok(problems)
    }

    /// Has health show what of the source cannot be used.
    fn tell_problems(&mut self) {
        let problems = self.source.problems();
        if problems != self.problems {
            self.monitor.source_problems(problems);
            if problems.is_empty() {
                info!("everything that the source has can be used again");
            }
            self.problems = problems.to_vec();
        }
    }

    /// Takes in what others changed in the kernel.
    fn hear(&mut self) -> Result<(), RunError> {
        let events = self.plane.kernel_events().map_err(RunError::Deaf)?;
        if events.is_empty() {
            return Ok(());
        }
        let now = Moment::now();
        for event in events {
            debug!(what = ?event.what, cause = event.cause.as_str(), by = ?event.by, "kernel event");
            self.controller.kernel_event(event, now);
        }
        Ok(())
    }

    /// Does what is due until nothing is; the reports of the last activity.
    fn until_rest(&mut self, control: &Control) -> Result<Vec<Report>, RunError> {
        let mut reports = Vec::new();
        loop {
            if control.is_stopping() {
                return Err(RunError::Stopped);
            }
            match self.controller.poll(&SystemClock, self.plane) {
                Step::More => {}
                Step::Did(report) => {
                    if reports
                        .last()
                        .is_some_and(|last: &Report| last.ended.is_some())
                    {
                        reports.clear();
                    }
                    self.tell(&report);
                    reports.push(*report);
                }
                Step::Wait(until) => {
                    // Something is on its way while an activity goes on.
                    let is_at_rest = reports.last().is_none_or(|last| last.ended.is_some());
                    let stage = self.controller.status().stage;
                    if is_at_rest && matches!(stage, Stage::Running | Stage::Unread) {
                        return Ok(reports);
                    }
                    control.wait(from_now(until, POLL));
                }
            }
        }
    }

    /// Tells those who look after the cluster what the monitor has found.
    fn check(&mut self) -> Result<(), RunError> {
        match self.monitor.check(self.controller) {
            Ok(notices) => notices
                .into_iter()
                .for_each(|notice| self.source.tell(notice)),
            Err(error) => {
                for notice in error.notices.iter().cloned() {
                    self.source.tell(notice);
                }
                // They are on their way.
                std::thread::sleep(POLL);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Does what is due, for a while; how long to wait then.
    fn work(&mut self) -> Duration {
        let start = Instant::now();
        loop {
            match self.controller.poll(&SystemClock, self.plane) {
                Step::Wait(until) => {
                    let at_most = if self.source.wakes() { REST } else { POLL };
                    return from_now(until, at_most);
                }
                Step::More => {}
                Step::Did(report) => self.tell(&report),
            }
            if start.elapsed() >= SLICE {
                return Duration::ZERO;
            }
        }
    }

    /// To the log, the monitor, and those who look after the cluster.
    fn tell(&mut self, report: &Report) {
        for operation in report.plan.operations() {
            debug!("{operation}");
        }
        for news in &report.news {
            if news.is_warning() {
                warn!("{news}");
            } else {
                info!("{news}");
            }
            if let Some(notice) = news.notice() {
                self.source.tell(notice);
            }
        }
        if let Some(ended) = &report.ended {
            self.tell_end(ended);
        }
        self.monitor.stepped(report, self.controller);
    }

    /// One line for an activity that did something. What fails as it did before is no news, and a look at draining real
    /// servers says nothing of the rest.
    fn tell_end(&mut self, ended: &Ended) {
        let is_drain = ended.activity == Activity::Drain;
        let fails_otherwise = !is_drain && ended.failed > 0 && ended.failed != self.failing;
        if !is_drain {
            self.failing = ended.failed;
        }
        if ended.operations() <= ended.failed && !fails_otherwise {
            return;
        }
        let counts = ended.counts.iter();
        let kinds: Vec<String> = counts
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        info!(
            activity = %ended.activity,
            operations = ended.operations(),
            failures = ended.failed,
            took = ?ended.took(),
            kinds = kinds.join(", "),
            "synced"
        );
    }
}

/// How long to wait, at the most.
fn from_now(until: Option<Instant>, at_most: Duration) -> Duration {
    until.map_or(at_most, |until| {
        until
            .saturating_duration_since(SystemClock.now().steady)
            .min(at_most)
    })
}
