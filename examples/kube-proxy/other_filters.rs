//! What other filters left is removed once ours is complete, so that there is always one: kube-proxy's nftables mode, which
//! would go on sending traffic its own way, and our own other back end.

use std::thread;

use ipvs_filter::FilterKind;
use ipvs_model::Config;
use ipvs_model::input::Change;
use ipvs_proxier::{
    Control, Controller, IptablesBackend, LinuxCleanUp, Moment, Monitor, MonitorError, Notice,
    Report, clean_up_other_filters,
};
use tracing::{debug, info, warn};

/// Removes it. What cannot go is told.
pub(crate) fn remove(config: &Config, kept: FilterKind, control: &Control) {
    let mut plane = LinuxCleanUp::new(IptablesBackend::Auto, control);
    let report = clean_up_other_filters(&mut plane, config, kept, |pause| control.wait(pause));
    for (part, reason) in &report.absent {
        debug!(%part, %reason, "nothing to remove here");
    }
    for operation in &report.plan {
        info!("removed what another filter left: {operation}");
    }
    for left in &report.left {
        warn!("another filter left something that stays: {left}");
    }
}

/// Does so beside everything else after the first sync that was complete.
#[derive(Debug)]
pub(crate) struct RemovedWhenComplete<M> {
    monitor: M,
    kept: FilterKind,
    control: Control,
    is_due: bool,
}

impl<M> RemovedWhenComplete<M> {
    pub(crate) fn new(monitor: M, kept: FilterKind, control: &Control) -> Self {
        Self {
            monitor,
            kept,
            control: control.clone(),
            is_due: true,
        }
    }
}

impl<M: Monitor> Monitor for RemovedWhenComplete<M> {
    fn changed(&mut self, changes: &[Change], now: Moment) {
        self.monitor.changed(changes, now);
    }

    fn source_problems(&mut self, problems: &[String]) {
        self.monitor.source_problems(problems);
    }

    fn stepped(&mut self, report: &Report, controller: &Controller) {
        self.monitor.stepped(report, controller);
        let is_synced = report.ended.as_ref().is_some_and(|ended| ended.is_synced);
        if !is_synced || !std::mem::take(&mut self.is_due) {
            return;
        }
        let config = controller.model().config().clone();
        let (kept, control) = (self.kept, self.control.clone());
        let work = move || remove(&config, kept, &control);
        if let Err(error) = thread::Builder::new().name("clean-up".into()).spawn(work) {
            warn!(%error, "what other filters left stays until the next start");
        }
    }

    fn check(&mut self, controller: &Controller) -> Result<Vec<Notice>, MonitorError> {
        self.monitor.check(controller)
    }
}
