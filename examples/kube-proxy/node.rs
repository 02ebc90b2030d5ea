//! What the node needs before the first sync: sysctls, IPVS timeouts, a scheduler that the kernel has.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ipvs_codec::{Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netlink::Ipvs;
use ipvs_probe::{KernelRelease, Sysctls, requirements};
use tracing::{info, warn};

use crate::flags::Flags;

/// kube-proxy's limit for the share that grows with the number of CPUs.
const CONNTRACK_MAX: u32 = 1_048_576;

pub(crate) fn prepare(flags: &Flags, ipvs: &mut Ipvs) -> Result<()> {
    let sysctls = Sysctls::default();
    let release = sysctls
        .get("kernel.osrelease")?
        .context("no sysctl kernel.osrelease: is /proc mounted?")?;
    let kernel: KernelRelease = release.parse()?;
    conntrack(flags, &sysctls);
    for requirement in requirements(kernel, flags.ipvs_strict_arp) {
        if requirement.ensure(&sysctls)? {
            info!(
                "sysctl {} = {}: {}",
                requirement.name, requirement.value, requirement.reason
            );
        }
    }
    if let Some(timeouts) = flags.timeouts() {
        for outcome in ipvs.batch(&[Request::SetConfig(timeouts)]) {
            outcome.context("set IPVS timeouts")?;
        }
    }
    Ok(())
}

fn conntrack(flags: &Flags, sysctls: &Sysctls) {
    let seconds = |duration: Duration| duration.as_secs().to_string();
    let mut wanted = Vec::new();
    if flags.conntrack_max_per_core > 0 {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let scaled = flags
            .conntrack_max_per_core
            .saturating_mul(u32::try_from(cpus).unwrap_or(u32::MAX));
        let max = scaled.min(CONNTRACK_MAX).max(flags.conntrack_min);
        wanted.push(("net.netfilter.nf_conntrack_max", max.to_string()));
    }
    for (name, timeout) in [
        (
            "net.netfilter.nf_conntrack_tcp_timeout_established",
            flags.conntrack_tcp_timeout_established,
        ),
        (
            "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
            flags.conntrack_tcp_timeout_close_wait,
        ),
    ] {
        if !timeout.is_zero() {
            wanted.push((name, seconds(timeout)));
        }
    }
    // Traffic flows without them, and the limit belongs to the whole machine: another namespace cannot set it.
    for (name, value) in wanted {
        match sysctls.ensure(name, &value) {
            Ok(true) => info!("sysctl {name} = {value}"),
            Ok(false) => {}
            Err(error) => warn!("{error}; going on without"),
        }
    }
}

/// Shows that IPVS takes virtual servers with this scheduler, as kube-proxy does: with one on an address that is
/// reserved for documentation. Where one is in use already, it is known to.
pub(crate) fn probe_scheduler(ipvs: &mut Ipvs, scheduler: Scheduler) -> Result<()> {
    let in_use = ipvs
        .services()?
        .iter()
        .any(|observed| observed.service.scheduler == scheduler);
    if in_use {
        return Ok(());
    }
    let key = ServiceKey::endpoint(Protocol::TCP, [198, 51, 100, 0].into(), 20_000);
    match ipvs.probe(&Service::new(key, scheduler)) {
        Ok(()) => Ok(()),
        Err(error) if error.cause().is_not_found() => {
            bail!(
                "{error}: the kernel has no scheduler {scheduler}: load it with `modprobe ip_vs_{scheduler}`"
            )
        }
        Err(error) if error.cause().is_exists() => bail!(
            "the virtual server {key} that is tried is there already: remove it (`ipvsadm -D -t 198.51.100.0:20000`)"
        ),
        Err(error) => Err(error.into()),
    }
}
