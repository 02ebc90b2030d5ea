//! The reference proxier as a process that follows an API server with a generated cluster: one JSON line for a size.
//!
//! `cargo xtask bench proxier` builds it and runs it in the lab. The server is in this process, on the same processor: what
//! it costs is part of the start.

mod churn;
mod cluster;
mod process;
mod resync;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benches::Size;
use clap::{Parser, ValueEnum};
use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_netlink::Ipvs;
use ipvs_proxier::{IptablesBackend, Linux, observe};
use ipvs_test_support::{ApiServer, NetNs};

use crate::process::Process;

/// How long endpoints come, one after the other: a resync is among it.
const CHANGES: Duration = Duration::from_secs(17);
/// Between two looks: each takes from the one processor what the proxier could have.
const SELDOM: Duration = Duration::from_millis(10);
const OFTEN: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    size: Size,
    /// How addresses are bound.
    #[arg(long, value_enum, default_value = "address")]
    vip_binding: Binding,
    /// Instead: change so many endpoints a second …
    #[arg(long, requires = "seconds")]
    churn: Option<u32>,
    /// … for so long.
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Binding {
    Address,
    Route,
}

impl Binding {
    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Route => "route",
        }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    // The first proxier of a kernel loads some twenty modules, which is not what is measured.
    NetNs::new("bench-warm")?.run(|| warm_up(&options))??;
    let namespace = NetNs::new("bench-proxier")?;
    let line = namespace.run(|| match (options.churn, options.seconds) {
        (Some(rate), Some(seconds)) => churn::measure(&options, rate, Duration::from_secs(seconds)),
        _ => measure(&options),
    })??;
    println!("{line}");
    Ok(())
}

fn warm_up(options: &Options) -> Result<()> {
    let server = ApiServer::start()?;
    cluster::put_all(&server, 2, 1)?;
    let process = Process::start(&server.url(), options.vip_binding.name(), "0s")?;
    until(process.started(), SELDOM, || {
        process.has_said("synced activity=")
    })?;
    process.stop()
}

fn measure(options: &Options) -> Result<serde_json::Value> {
    let Size {
        services,
        endpoints,
    } = options.size;
    let server = ApiServer::start()?;
    cluster::put_all(&server, services, endpoints)?;
    let mut ipvs = Ipvs::open()?;
    let binding = options.vip_binding.name();
    let process = Process::start(&server.url(), binding, "0s")?;
    let start = process.started();
    let listed = until(start, SELDOM, || process.has_said("initial list complete"))?;
    let kubernetes = key([10, 96, 0, 1], 443);
    let first_usable = until(start, SELDOM, || {
        Ok(!ipvs.destinations(&kubernetes)?.is_empty())
    })?;
    let complete = until(start, SELDOM, || process.has_said("synced activity="))?;
    ensure!(
        ipvs.services()?.len() == services as usize + 1,
        "all of them"
    );
    let cpu_after_start = process.cpu()?;
    let mut changes = Vec::new();
    let first = Instant::now();
    let mut service = 0;
    while first.elapsed() < CHANGES {
        std::thread::sleep(Duration::from_millis(20));
        service = (service + 1) % services;
        let before = key(cluster::address_of(service), 80);
        let wanted = ipvs.destinations(&before)?.len() + 1;
        let start = Instant::now();
        server.put(&cluster::slice(service, endpoints, u32::try_from(wanted)?))?;
        let count = || Ok(ipvs.destinations(&before)?.len() == wanted);
        changes.push(until(start, OFTEN, count)?);
    }
    changes.sort_unstable();
    let one_endpoint = changes.get(changes.len() / 2).context("no change")?;
    let slow = changes.get(changes.len() * 99 / 100).context("no change")?;
    let slowest = changes.last().context("no change")?;
    let resync = process.next_resync(PATIENCE)?;
    let bare_read = bare_read()?;
    let peak = process.peak_bytes()?;
    let cpu = process.cpu()?;
    process.stop()?;
    let parts = resync::parts(options)?;
    let part = |index: usize| {
        let part = parts.get(index).context("so many parts")?;
        anyhow::Ok(part.as_secs_f64() * 1e3)
    };
    Ok(serde_json::json!({
        "bench": "proxier", "services": services, "endpoints": endpoints, "vip_binding": binding,
        "listed_s": listed.as_secs_f64(),
        "first_usable_s": first_usable.as_secs_f64(), "complete_s": complete.as_secs_f64(),
        "one_endpoint_ms": one_endpoint.as_secs_f64() * 1e3,
        "p99_endpoint_ms": slow.as_secs_f64() * 1e3,
        "slowest_endpoint_ms": slowest.as_secs_f64() * 1e3, "resync_s": resync.as_secs_f64(), "bare_read_s": bare_read.as_secs_f64(),
        "longest_parts_ms": [part(0)?, part(1)?, part(2)?], "p99_part_ms": part(parts.len() / 100)?,
        "cpu_start_s": cpu_after_start.as_secs_f64(), "cpu_s": cpu.as_secs_f64(), "peak_bytes": peak,
    }))
}

/// How long it takes to read the whole state once, without comparing it: the second time, when the memory is there.
fn bare_read() -> Result<Duration> {
    let mut plane = Linux::open(IptablesBackend::Auto)?;
    observe(&mut plane, &Family::ALL)?;
    let start = Instant::now();
    observe(&mut plane, &Family::ALL)?;
    Ok(start.elapsed())
}

fn key(address: [u8; 4], port: u16) -> ServiceKey {
    let address = SocketAddr::from((address, port));
    ServiceKey::endpoint(Protocol::TCP, address.ip(), address.port())
}

/// How long it takes from `start` until something is so.
fn until(
    start: Instant,
    pause: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "not in time");
        std::thread::sleep(pause);
    }
    Ok(start.elapsed())
}
