//! `--cleanup`: removes what a proxier makes and what kube-proxy leaves, and tells what cannot go and why.

use anyhow::{Result, bail};
use ipvs_filter::CleanUpReport;
use ipvs_model::Config;
use ipvs_proxier::{Control, LinuxCleanUp, clean_up, rehearse_clean_up};
use tracing::{debug, info, warn};

use crate::flags::Flags;

/// Fails if something of ours is left.
pub(crate) fn run(flags: &Flags, config: &Config, control: &Control) -> Result<()> {
    let mut plane = LinuxCleanUp::new(flags.iptables(), control);
    if flags.dry_run {
        let report = rehearse_clean_up(&mut plane, config);
        tell(&report);
        return crate::print(&report.plan, flags.output);
    }
    let report = clean_up(&mut plane, config, |pause| control.wait(pause));
    for operation in &report.plan {
        debug!("{operation}");
    }
    tell(&report);
    if report.left.is_empty() {
        info!(operations = report.plan.len(), "cleaned up");
        return Ok(());
    }
    bail!(
        "{} operations done, {} things are left, the first: {}",
        report.plan.len(),
        report.left.len(),
        report.left[0]
    )
}

fn tell(report: &CleanUpReport) {
    for (part, reason) in &report.absent {
        info!(%part, %reason, "nothing to remove here");
    }
    for left in &report.left {
        warn!("not removed: {left}");
    }
}
