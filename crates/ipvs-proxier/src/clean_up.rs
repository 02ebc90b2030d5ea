//! Clean-up, carried out: what the model says is read and removed.

use std::time::Duration;

use ipvs_filter::{
    CleanUp, CleanUpOperation, CleanUpPart, CleanUpReport, CleanUpStep, FilterKind, Refusal,
    Remains, Unreadable,
};
use ipvs_model::Config;
use ipvs_netfilter::ipset;

use crate::dataplane::Outcome;
use crate::error::PlaneError;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EACCES: i32 = 13;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

/// Where clean-up reads and removes: Linux itself ([`LinuxCleanUp`](crate::LinuxCleanUp)) or a simulation of it
/// ([`Simulated`](crate::Simulated)). Unlike a [`DataPlane`](crate::DataPlane) it may lack any of its parts.
pub trait CleanUpPlane {
    /// Reads one part. What is returned of others is not looked at.
    ///
    /// # Errors
    /// [`Unreadable`], with the reason, when there is no such thing here, or when it cannot be read.
    fn look(&mut self, part: CleanUpPart) -> Result<Remains, Unreadable>;

    /// Does the operations in order and returns one outcome for each. A failed one neither stops nor undoes others.
    fn remove(&mut self, operations: &[CleanUpOperation]) -> Vec<Outcome>;
}

/// Removes what a proxier makes and what kube-proxy leaves, as [`CleanUp`] says. `pause` waits; all waits together are not
/// longer than two seconds.
///
/// ```
/// use ipvs_model::{Config, Known, Model};
/// use ipvs_proxier::{DataPlane as _, Simulated, clean_up};
///
/// let config = Config::default();
/// let plan = Model::new(config.clone()).plan_everything(&Known::default());
/// let mut plane = Simulated::default();
/// assert!(plane.apply(plan.operations()).iter().all(Result::is_ok));
/// let report = clean_up(&mut plane, &config, std::thread::sleep);
/// assert!(report.left.is_empty() && report.plan.len() > 34, "{report:?}");
/// ```
pub fn clean_up<P: CleanUpPlane + ?Sized>(
    plane: &mut P,
    config: &Config,
    pause: impl FnMut(Duration),
) -> CleanUpReport {
    carry_out(CleanUp::new(config), plane, pause)
}

/// Removes what other filters left, where one has taken over and is complete: kube-proxy's nftables mode in any case, and
/// our own tables, or all that kube-proxy makes with iptables and ipset. Virtual servers and VIPs stay.
///
/// ```
/// use ipvs_filter::{FilterKind, NftablesTable};
/// use ipvs_codec::Family;
/// use ipvs_model::Config;
/// use ipvs_proxier::{Simulated, clean_up_other_filters};
///
/// let mut plane = Simulated::default();
/// plane.add_nftables_table(NftablesTable::KubeProxy, Family::Ipv4);
/// let kept = FilterKind::Iptables;
/// let report = clean_up_other_filters(&mut plane, &Config::default(), kept, std::thread::sleep);
/// assert!(report.left.is_empty() && report.plan.len() == 1);
/// ```
pub fn clean_up_other_filters<P: CleanUpPlane + ?Sized>(
    plane: &mut P,
    config: &Config,
    kept: FilterKind,
    pause: impl FnMut(Duration),
) -> CleanUpReport {
    carry_out(CleanUp::of_other_filters(config, kept), plane, pause)
}

fn carry_out<P: CleanUpPlane + ?Sized>(
    mut clean_up: CleanUp,
    plane: &mut P,
    mut pause: impl FnMut(Duration),
) -> CleanUpReport {
    while let Some(step) = clean_up.next_step() {
        match step {
            CleanUpStep::Read(part) => clean_up.found(plane.look(part)),
            CleanUpStep::Remove(operations) => {
                let outcomes = plane.remove(operations).into_iter();
                let outcomes = outcomes.map(|outcome| outcome.map_err(|error| refusal(&error)));
                clean_up.done(outcomes.collect());
            }
            CleanUpStep::Wait(time) => pause(time),
        }
    }
    clean_up.report()
}

/// What [`clean_up`] would do, in order, and what would be left. Changes nothing.
///
/// ```
/// use ipvs_model::Config;
/// use ipvs_proxier::{Simulated, rehearse_clean_up};
///
/// let report = rehearse_clean_up(&mut Simulated::default(), &Config::default());
/// assert!(report.plan.is_empty());
/// ```
pub fn rehearse_clean_up<P: CleanUpPlane + ?Sized>(
    plane: &mut P,
    config: &Config,
) -> CleanUpReport {
    let mut clean_up = CleanUp::rehearsal(config);
    while let Some(step) = clean_up.next_step() {
        match step {
            CleanUpStep::Read(part) => clean_up.found(plane.look(part)),
            CleanUpStep::Remove(operations) => {
                let outcomes = operations.iter().map(|_| Ok(()));
                let outcomes = outcomes.collect();
                clean_up.done(outcomes);
            }
            CleanUpStep::Wait(_) => {}
        }
    }
    clean_up.report()
}

fn refusal(error: &PlaneError) -> Refusal {
    let errno = error.errno();
    Refusal {
        text: error.to_string(),
        is_gone: matches!(errno, Some(ENOENT | ESRCH | ENODEV | EADDRNOTAVAIL)),
        is_set_busy: errno == Some(ipset::BUSY),
        may_pass: !matches!(errno, Some(EPERM | EACCES)),
    }
}
