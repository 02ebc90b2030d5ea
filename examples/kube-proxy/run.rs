//! The loop: changes of the objects in, syncs out, until a signal.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use ipvs_proxier::{
    DataPlane, Due, HealthServer, PlaneError, Polled, Proxier, Report, Schedule, Source,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{error, info};

use crate::flags::Flags;

/// How often manifests are looked at; the Kubernetes API wakes.
const POLL: Duration = Duration::from_millis(250);

/// Syncs once. Fails if a manifest cannot be used or an operation failed.
pub(crate) fn once<P: DataPlane>(proxier: &mut Proxier<P>, source: &mut dyn Source) -> Result<()> {
    load(proxier, source)?;
    let mut failures = proxier.sync()?.failures;
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
        let Polled { changes, problems } = source.poll();
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

/// Syncs until SIGTERM or SIGINT, and leaves the kernel's state in place.
pub(crate) fn forever<P: DataPlane>(
    proxier: &mut Proxier<P>,
    source: &mut dyn Source,
    health: &HealthServer,
    flags: &Flags,
) -> Result<()> {
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
    let mut schedule = Schedule::new(flags.pace()?);
    while !stop.load(Ordering::Relaxed) {
        if stamp() != stamp_at_start {
            bail!("the configuration file has changed: ending, to be started anew");
        }
        let Polled { changes, problems } = source.poll();
        if !changes.is_empty() {
            changes
                .into_iter()
                .for_each(|change| proxier.change(change));
            schedule.change();
            health.update(|health| health.queued(SystemTime::now()));
        }
        problems
            .iter()
            .for_each(|problem| error!("{problem}; the last good state stays in force"));
        // Without a complete first picture everything that is there would look foreign.
        let wait = if source.is_complete() {
            step(proxier, &mut schedule, health)
        } else {
            POLL
        };
        thread::park_timeout(wait.min(POLL));
    }
    info!("stopped; the kernel's state stays in place");
    Ok(())
}

/// Does what is due; returns how long to wait.
fn step<P: DataPlane>(
    proxier: &mut Proxier<P>,
    schedule: &mut Schedule,
    health: &HealthServer,
) -> Duration {
    let due = schedule.due(Instant::now());
    let report = match due {
        Due::Wait(until) => return until.saturating_duration_since(Instant::now()),
        Due::Sync => proxier.sync(),
        Due::Verify => proxier.verify(),
        Due::Drain => proxier.drain(Instant::now()),
    };
    let succeeded = judge(report);
    health.follow(proxier.model());
    if succeeded {
        health.update(|health| health.synced(SystemTime::now()));
    }
    let (now, draining) = (Instant::now(), proxier.is_draining());
    match due {
        Due::Drain if succeeded => schedule.drained(now, draining),
        _ => schedule.done(now, succeeded, draining),
    }
    if due == Due::Verify {
        schedule.verified(now);
    }
    if let Some(deadline) = proxier.next_deadline() {
        schedule.drain_by(deadline);
    }
    Duration::ZERO
}

fn judge(report: Result<Report, PlaneError>) -> bool {
    match report {
        Ok(report) => report.failures.is_empty(),
        Err(problem) => {
            error!("{problem}; trying again");
            false
        }
    }
}
