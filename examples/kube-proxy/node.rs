//! What the node needs before the first sync: sysctls, IPVS timeouts, and everything that `preflight` checks.

#[path = "../preflight/attempt.rs"]
mod attempt;

use std::fs;
use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use ipvs_codec::{Request, Scheduler};
use ipvs_filter::FilterKind;
use ipvs_model::{Config, Foreign, VipBinding};
use ipvs_netlink::{Cause, Ipvs};
use ipvs_probe::{
    Facts, Filter, Finding, HostPrograms, ModuleState, Needs, NoPrograms, Remedy, Root, RuleTrial,
    Severity, Step, Sysctls, TrialOutcome, Verdict, check, mend, parse, steps_at_start,
};
use ipvs_proxier::{FilterBackend, IptablesBackend, Linux, PlaneError};
use tracing::{debug, info, warn};

use crate::flags::Flags;

/// kube-proxy's limit for the share that grows with the number of CPUs.
const CONNTRACK_MAX: u32 = 1_048_576;

const IPVS: &str = "ip_vs";
const CONNTRACK_LIMIT: &str = "net.netfilter.nf_conntrack_max";
/// The tracked connections that kube-proxy allows for each bucket of their hash table.
const PER_BUCKET: u32 = 4;
const HASH_TABLE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A run that ends by itself waits so long for others who hold the lock of iptables.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Loads IPVS, as kube-proxy does: only since 6.1 the kernel does it by itself for who asks. Where that fails, opening it
/// tells what is missing.
pub(crate) fn load_ipvs() {
    let root = Root::host();
    let facts = Facts::gather(&root, &mut NoPrograms);
    let state = facts.modules.get(IPVS).map(|module| module.state);
    if state != Some(ModuleState::Loadable) {
        return;
    }
    let step = Step::Load(IPVS.to_owned());
    match mend(&root, &mut HostPrograms, &step) {
        Ok(()) => info!("{step}: without it there are no virtual servers"),
        Err(error) => debug!("{error}"),
    }
}

/// Sets what kube-proxy sets. An IPVS sysctl that cannot be set is an error.
pub(crate) fn prepare(flags: &Flags, needs: &Needs, ipvs: &mut Ipvs) -> Result<()> {
    let root = Root::host();
    let facts = Facts::gather(&root, &mut NoPrograms);
    if facts.release().is_none() {
        bail!("cannot read sysctl kernel.osrelease: is /proc mounted?");
    }
    let score = flags.oom_score_adj.to_string();
    if let Err(error) = fs::write(OOM_SCORE, score) {
        debug!("{OOM_SCORE}: {error}; it stays as it is");
    }
    conntrack(flags, &Sysctls::default());
    for (step, reason) in steps_at_start(&facts, needs) {
        mend(&root, &mut HostPrograms, &step)?;
        info!("{step}: {reason}");
    }
    if let Some(timeouts) = flags.timeouts() {
        ipvs.request(&Request::SetConfig(timeouts))?;
    }
    Ok(())
}

/// What this proxier needs of the node. IPv6 is left out where the node has none, as kube-proxy does.
pub(crate) fn needs(config: &Config, flags: &Flags) -> Needs {
    Needs {
        scheduler: config.scheduler.to_string(),
        strict_arp: flags.ipvs_strict_arp,
        filter: match flags.filter() {
            FilterBackend::Auto => Filter::Auto,
            FilterBackend::Iptables(IptablesBackend::Auto) => Filter::Iptables,
            FilterBackend::Iptables(IptablesBackend::Legacy) => Filter::IptablesLegacy,
            FilterBackend::Iptables(IptablesBackend::Nft) => Filter::IptablesNft,
            FilterBackend::Nftables => Filter::Nftables,
        },
        dummy_link: config.vip_binding == VipBinding::Address,
        masquerade_all: config.masquerade_all,
        alone: config.foreign == Foreign::Remove,
        ..Needs::default()
    }
}

/// Refuses a node that cannot proxy, with what is missing; tells the rest, advice too.
pub(crate) fn inspect(wanted: &Needs, scheduler: Scheduler, linux: &mut Linux) -> Result<()> {
    let mut facts = facts();
    facts.ipvs = attempt::attempt(linux.ipvs(), scheduler);
    let used = match (linux.filter(), wanted.filter) {
        (FilterKind::Nftables, _) => Filter::Nftables,
        (FilterKind::Iptables, Filter::Auto) => Filter::Iptables,
        (FilterKind::Iptables, certain) => certain,
    };
    let needs = &Needs {
        filter: used,
        ..wanted.clone()
    };
    facts.rules = linux.trials();
    let report = check(&facts, needs);
    if report.verdict() == Verdict::Unusable {
        bail!("this node cannot proxy by IPVS\n{}", report.page(false));
    }
    for finding in &report.findings {
        let (id, reason) = (finding.rule.id, finding.rule.reason);
        let Finding {
            evidence, remedy, ..
        } = finding;
        match finding.rule.severity {
            Severity::Advice => info!("{id}: {evidence}: {reason}: {remedy}"),
            _ => warn!("{id}: {evidence}: {reason}: {remedy}"),
        }
    }
    Ok(())
}

/// The error of who could not open the kernel's interfaces, with what is missing where that is known. Of a lock that others
/// hold nothing follows for the node.
pub(crate) fn explain(needs: &Needs, error: PlaneError) -> Error {
    if error.is_passing() {
        return Error::new(error)
            .context("cannot start now, though nothing is wrong with this node");
    }
    let mut facts = facts();
    match &error {
        PlaneError::Netlink(error) if matches!(error.cause(), Cause::NoFamily(_)) => {
            facts.ipvs = attempt::refused(error);
        }
        PlaneError::NoIptables { tried } => {
            let said = parse::refused_rules(&tried.replace("; ", "\n"));
            let refused = TrialOutcome::Refused(said);
            let trial = RuleTrial::new("iptables", ipvs_probe::Family::Ipv4, refused);
            facts.rules = vec![trial];
        }
        _ => {}
    }
    let mut report = check(&facts, needs);
    // Nothing is wrong with what would have been set a moment later.
    let at_start = steps_at_start(&facts, needs);
    let is_set = |sysctl: &str| {
        let mut steps = at_start.iter();
        steps.any(|(step, _)| matches!(step, Step::Set { name, .. } if *name == sysctl))
    };
    report
        .findings
        .retain(|finding| !matches!(&finding.remedy, Remedy::Sysctl { name, .. } if is_set(name)));
    if report.verdict() != Verdict::Unusable {
        return Error::new(error).context("this node cannot proxy by IPVS");
    }
    anyhow!("this node cannot proxy by IPVS\n{}", report.page(false))
}

fn facts() -> Facts {
    Facts::gather(&Root::host(), &mut NoPrograms)
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
        wanted.push((CONNTRACK_LIMIT, max.to_string()));
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
        (
            "net.netfilter.nf_conntrack_udp_timeout",
            flags.conntrack_udp_timeout,
        ),
        (
            "net.netfilter.nf_conntrack_udp_timeout_stream",
            flags.conntrack_udp_timeout_stream,
        ),
    ] {
        if !timeout.is_zero() {
            wanted.push((name, seconds(timeout)));
        }
    }
    if flags.conntrack_tcp_be_liberal {
        wanted.push(("net.netfilter.nf_conntrack_tcp_be_liberal", "1".to_owned()));
    }
    // Traffic flows without them, and the limit belongs to the whole machine: another namespace cannot set it.
    for (name, value) in wanted {
        match sysctls.ensure(name, &value) {
            Ok(true) => info!("sysctl {name} = {value}"),
            Ok(false) => {}
            Err(error) => {
                warn!("{error}; going on without");
                continue;
            }
        }
        if name == CONNTRACK_LIMIT {
            grow_hash_table(value.parse().unwrap_or(0) / PER_BUCKET);
        }
    }
}

/// Long chains make every packet slow. The table is the machine's, and often read-only in a container.
fn grow_hash_table(buckets: u32) {
    let size = fs::read_to_string(HASH_TABLE).ok();
    let size = size.and_then(|text| text.trim().parse::<u32>().ok());
    if size.is_none_or(|size| size >= buckets) {
        return;
    }
    match fs::write(HASH_TABLE, buckets.to_string()) {
        Ok(()) => info!("{HASH_TABLE} = {buckets}"),
        Err(error) => warn!("{HASH_TABLE}: {error}; going on without"),
    }
}
