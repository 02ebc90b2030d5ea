//! Tries IPVS: the kernel's answer to a virtual server with the scheduler.

use ipvs_codec::{Protocol, Scheduler, Service, ServiceKey};
use ipvs_netlink::{Cause, Error, Ipvs};
use ipvs_probe::Attempt;

/// Makes and removes a virtual server on an address that is reserved for documentation, as kube-proxy does. Where one with
/// the scheduler is in use already, it is known to work.
pub(crate) fn attempt(ipvs: &mut Ipvs, scheduler: Scheduler) -> Attempt {
    let services = match ipvs.services() {
        Ok(services) => services,
        Err(error) => return refused(&error),
    };
    let in_use = services
        .iter()
        .any(|observed| observed.service.scheduler == scheduler);
    if !in_use {
        let key = ServiceKey::endpoint(Protocol::TCP, [198, 51, 100, 0].into(), 20_000);
        match ipvs.probe(&Service::new(key, scheduler)) {
            Ok(()) => {}
            Err(error) if error.cause().is_not_found() => {
                return Attempt::NoScheduler(error.to_string());
            }
            Err(error) if error.cause().is_exists() => {
                return Attempt::Failed(format!(
                    "the virtual server {key} that is tried is there already: remove it (`ipvsadm -D -t 198.51.100.0:20000`)"
                ));
            }
            Err(error) => return refused(&error),
        }
    }
    match ipvs.timeouts() {
        Ok(timeouts) => Attempt::Works {
            tcp_timeout: timeouts.tcp,
        },
        Err(error) => Attempt::Failed(error.to_string()),
    }
}

/// What follows from the kernel's refusal to be asked at all. Its own words advise a module that it may not have: the rules about
/// modules know better.
pub(crate) fn refused(error: &Error) -> Attempt {
    match error.cause() {
        Cause::NoFamily(name) => Attempt::NoFamily(format!("no family {name}")),
        cause if cause.is_permission() => Attempt::NotPermitted(error.to_string()),
        _ => Attempt::Failed(error.to_string()),
    }
}
