//! The loop: changes of the manifests in, syncs out, until a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ipvs_proxier::{DataPlane, Due, Manifests, Pace, PlaneError, Proxier, Report, Schedule};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{error, info};

/// How often the manifests are looked at.
const POLL: Duration = Duration::from_millis(250);

/// Syncs once. Fails if a manifest cannot be used or an operation failed.
pub(crate) fn once<P: DataPlane>(
    proxier: &mut Proxier<P>,
    manifests: &mut Manifests,
) -> Result<()> {
    load(proxier, manifests)?;
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

/// Brings the manifests into the model.
pub(crate) fn load<P: DataPlane>(
    proxier: &mut Proxier<P>,
    manifests: &mut Manifests,
) -> Result<()> {
    match manifests.poll() {
        Ok(changes) => {
            changes
                .into_iter()
                .for_each(|change| proxier.change(change));
            Ok(())
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("{}", lines.join("\n"))
        }
    }
}

/// Syncs until SIGTERM or SIGINT, and leaves the kernel's state in place.
pub(crate) fn forever<P: DataPlane>(
    proxier: &mut Proxier<P>,
    manifests: &mut Manifests,
    pace: Pace,
) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut schedule = Schedule::new(pace);
    // Without a complete first picture everything that is there would look foreign.
    let mut loaded = false;
    while !stop.load(Ordering::Relaxed) {
        match manifests.poll() {
            Ok(changes) if !changes.is_empty() || !loaded => {
                loaded |= !manifests.is_refused();
                changes
                    .into_iter()
                    .for_each(|change| proxier.change(change));
                schedule.change();
            }
            Ok(_) => {}
            Err(errors) => errors
                .iter()
                .for_each(|problem| error!("{problem}; the last good state stays in force")),
        }
        let wait = if loaded {
            step(proxier, &mut schedule)
        } else {
            POLL
        };
        thread::park_timeout(wait.min(POLL));
    }
    info!("stopped; the kernel's state stays in place");
    Ok(())
}

/// Does what is due; returns how long to wait.
fn step<P: DataPlane>(proxier: &mut Proxier<P>, schedule: &mut Schedule) -> Duration {
    let due = schedule.due(Instant::now());
    let report = match due {
        Due::Wait(until) => return until.saturating_duration_since(Instant::now()),
        Due::Sync => proxier.sync(),
        Due::Verify => proxier.verify(),
        Due::Drain => proxier.drain(Instant::now()),
    };
    let succeeded = judge(report);
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
