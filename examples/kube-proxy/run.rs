//! The loop: changes of the objects in, syncs out, until a signal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use ipvs_proxier::{
    About, DataPlane, Due, HealthServer, Listener, Metrics, Moment, Notice, PlaneError, Polled,
    Progress, Proxier, Report, Schedule, Source, Trigger,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{error, info, warn};

use crate::flags::Flags;

/// How often manifests are looked at; the Kubernetes API wakes.
const POLL: Duration = Duration::from_millis(250);
/// A verification reads for about so long before it looks whether something has changed.
const SLICE: Duration = Duration::from_millis(2);
/// Before a verification asks again for something that is on its way.
const PAUSE: Duration = Duration::from_millis(1);

/// Syncs once. Fails if a manifest cannot be used or an operation failed.
pub(crate) fn once<P: DataPlane>(proxier: &mut Proxier<P>, source: &mut dyn Source) -> Result<()> {
    load(proxier, source)?;
    let start = Instant::now();
    let report = proxier.sync()?;
    if report.operations() > 0 {
        tell(&report, start.elapsed());
    }
    let mut failures = report.failures;
    if !failures.is_empty() {
        // A scheduler that the kernel lacks is replaced the second time.
        failures = proxier.sync()?.failures;
    }
    failures.append(&mut proxier.drain(Instant::now())?.failures);
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} operations failed, the first: {}",
        failures.len(),
        failures[0]
    )
}

/// Brings everything that there is into the model. Waits for the Kubernetes API; fails if a manifest cannot be used.
pub(crate) fn load<P: DataPlane>(proxier: &mut Proxier<P>, source: &mut dyn Source) -> Result<()> {
    loop {
        let Polled {
            changes, problems, ..
        } = source.poll();
        changes
            .into_iter()
            .for_each(|change| proxier.change(change));
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        if source.is_complete() {
            return Ok(());
        }
        thread::park_timeout(POLL);
    }
}

/// One line for a sync that did something.
fn tell(report: &Report, took: Duration) {
    let counts = report.counts();
    let kinds: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    info!(
        operations = report.operations(),
        failures = report.failures.len(),
        took = ?took,
        kinds = kinds.join(", "),
        "synced"
    );
}

/// Follows a source, and tells how it goes: health, metrics, events.
pub(crate) struct Loop<'a, P> {
    pub(crate) proxier: Proxier<P>,
    pub(crate) source: &'a mut dyn Source,
    pub(crate) server: HealthServer,
    pub(crate) metrics: Metrics,
    /// When endpoints changed whose change is not in the kernel yet.
    pub(crate) triggers: Vec<Trigger>,
    /// Since when a verification is going on.
    pub(crate) verifying: Option<Instant>,
    /// How many operations failed last.
    pub(crate) failing: usize,
}

impl<P: DataPlane> Loop<'_, P> {
    /// Syncs until SIGTERM or SIGINT, and leaves the kernel's state in place.
    pub(crate) fn forever(&mut self, flags: &Flags) -> Result<()> {
        let modified = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|found| found.modified())
                .ok()
        };
        let stamp = || flags.config_file.as_deref().map(modified);
        let stamp_at_start = stamp();
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        for notice in starting(&self.proxier.model().config().node_name) {
            self.source.tell(notice);
        }
        let mut schedule = Schedule::new(flags.pace()?);
        let mut listed = false;
        let mut next_look = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if stamp() != stamp_at_start {
                bail!("the configuration file has changed: ending, to be started anew");
            }
            self.poll(&mut schedule);
            self.tell_failures(flags.bind_address_hard_fail)?;
            // Without a complete first picture everything that is there would look foreign.
            let wait = if self.source.is_complete() {
                if !std::mem::replace(&mut listed, true) {
                    info!("every object is known");
                }
                self.step(&mut schedule)
            } else {
                // What can be compiled of a list is looked for now and then, not with each of its pages.
                if next_look <= Instant::now() {
                    next_look = Instant::now() + POLL;
                    if let Err(problem) = self.proxier.prepare() {
                        warn!("{problem}; trying again");
                    }
                }
                POLL
            };
            thread::park_timeout(wait.min(POLL));
        }
        info!("stopped; the kernel's state stays in place");
        Ok(())
    }

    fn poll(&mut self, schedule: &mut Schedule) {
        let Polled {
            changes,
            triggers,
            problems,
        } = self.source.poll();
        if !changes.is_empty() {
            self.metrics.changed(&changes, SystemTime::now());
            changes
                .into_iter()
                .for_each(|change| self.proxier.change(change));
            schedule.change();
            self.server.update(|health| health.queued(Moment::now()));
        }
        self.triggers.extend(triggers);
        problems
            .iter()
            .for_each(|problem| error!("{problem}; the last good state stays in force"));
    }

    /// Reads on for some time; what was done, if the verification came to its end.
    fn verify_for(&mut self, time: Duration) -> Result<Progress<Report>, PlaneError> {
        let start = Instant::now();
        loop {
            let progress = self.proxier.verify_some()?;
            if !matches!(progress, Progress::More) || start.elapsed() >= time {
                return Ok(progress);
            }
        }
    }

    /// Ports that could not be listened on.
    fn tell_failures(&mut self, hard: bool) -> Result<()> {
        for failure in self.server.failures() {
            let node = About::Node(self.proxier.model().config().node_name.clone());
            let (about, reason, action) = match &failure.what {
                Listener::Service(name) => (
                    About::Service(name.clone()),
                    "FailedToStartServiceHealthcheck",
                    "Listen",
                ),
                Listener::Health => (node, "FailedToStartProxierHealthcheck", "StartKubeProxy"),
                Listener::Metrics => (node, "FailedToStartMetricServer", "StartKubeProxy"),
            };
            self.source.tell(Notice {
                about,
                is_warning: true,
                reason,
                action,
                note: failure.to_string(),
            });
            if hard && !matches!(failure.what, Listener::Service(_)) {
                // The event is on its way.
                thread::sleep(POLL);
                bail!("{failure}, and --bind-address-hard-fail is set");
            }
        }
        Ok(())
    }

    /// Does what is due; returns how long to wait.
    fn step(&mut self, schedule: &mut Schedule) -> Duration {
        let start = Instant::now();
        let due = schedule.due(start);
        let report = match due {
            Due::Wait(until) => return until.saturating_duration_since(start),
            Due::Sync => self.proxier.sync(),
            Due::Verify => {
                self.verifying.get_or_insert(start);
                match self.verify_for(SLICE) {
                    Ok(Progress::Done(report)) => Ok(report),
                    Ok(Progress::Waiting) => return PAUSE,
                    Ok(Progress::More) => return Duration::ZERO,
                    Err(problem) => Err(problem),
                }
            }
            Due::Drain => self.proxier.drain_some(start),
        };
        let begun = match due {
            Due::Verify => self.verifying.take().unwrap_or(start),
            _ => start,
        };
        let now = SystemTime::now();
        let (succeeded, sound) = match report {
            Ok(report) => {
                let took = begun.elapsed();
                self.metrics
                    .synced(due, now, took, &report, &mut self.triggers);
                // What fails as it did before is no news. A look at draining ones says nothing of the rest.
                let failing = report.failures.len();
                let other = due != Due::Drain && failing != self.failing && failing > 0;
                if report.operations() > failing || other {
                    tell(&report, took);
                }
                if due != Due::Drain {
                    self.failing = failing;
                }
                (report.is_success(), report.is_sound())
            }
            Err(problem) => {
                error!("{problem}; trying again");
                (false, false)
            }
        };
        self.server.follow(self.proxier.model());
        self.metrics
            .follow(self.proxier.model(), self.proxier.draining());
        if sound {
            self.server.update(|health| health.synced(Moment::now()));
        }
        let (now, draining) = (Instant::now(), self.proxier.is_draining());
        match due {
            // The rest is due still.
            Due::Drain if succeeded && self.proxier.drain_goes_on() => {}
            Due::Drain => {
                schedule.drained(now, draining);
                if !succeeded {
                    schedule.done(now, false, draining);
                }
            }
            _ => schedule.done(now, succeeded, draining),
        }
        if due == Due::Verify {
            schedule.verified(now, succeeded);
        }
        // One that has passed and could not be kept must not come again at once.
        if let Some(deadline) = self.proxier.next_deadline().filter(|_| succeeded) {
            schedule.drain_by(deadline);
        }
        Duration::ZERO
    }
}

/// What kube-proxy tells at its start; the second since 1.35.
fn starting(node: &str) -> [Notice; 2] {
    let notice = |is_warning, reason, note: &str| Notice {
        about: About::Node(node.to_owned()),
        is_warning,
        reason,
        action: "StartKubeProxy",
        note: note.to_owned(),
    };
    let deprecated = "Kubernetes 1.43 has no ipvs mode any more; this proxier goes on with it";
    [
        notice(false, "Starting", ""),
        notice(true, "IPVSDeprecation", deprecated),
    ]
}
