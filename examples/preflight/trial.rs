//! Tries nftables: the kernel's answer to a table with everything that the filter of a proxier needs.

use ipvs_netlink::Cause;
use ipvs_probe::{RuleTrial, TrialOutcome};
use ipvs_proxier::{FilterBackend, Linux, PlaneError};

/// What the proxier finds when it starts: it makes and removes a table of each family, whole in one transaction, and empty for a
/// moment. The proxier opens IPVS as well, which loads it: try nothing where it is not loaded.
pub(crate) fn try_nftables() -> Vec<RuleTrial> {
    let error = match Linux::open(FilterBackend::Nftables) {
        Ok(linux) => return linux.trials(),
        Err(error) => error,
    };
    let outcome = match cause(&error) {
        // Of what is missing then there are rules.
        Some(cause) if cause.is_permission() => TrialOutcome::NotTried(error.to_string()),
        Some(Cause::NoFamily(_)) => TrialOutcome::NotTried(error.to_string()),
        _ if error.is_passing() => TrialOutcome::NotTried(error.to_string()),
        _ => TrialOutcome::Refused(error.to_string()),
    };
    vec![RuleTrial::by_netlink(ipvs_probe::Family::Ipv4, outcome)]
}

fn cause(error: &PlaneError) -> Option<&Cause> {
    match error {
        PlaneError::Netlink(error) => Some(error.cause()),
        PlaneError::Refused(cause) => Some(cause),
        _ => None,
    }
}
