//! Endpoints that come and go all the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipvs_netlink::Ipvs;
use ipvs_test_support::ApiServer;

use crate::process::Process;
use crate::{Options, PATIENCE, SELDOM, cluster, key, resync, until};

/// Between two batches of changes.
const TICK: Duration = Duration::from_millis(10);
/// Services whose changes are timed; the others change in between.
const TIMED: u32 = 50;
/// Between two changes that are timed.
const PROBE: Duration = Duration::from_millis(250);
/// Many changes at once cost less each, and none may wait for a second.
const MIN_SYNC: &str = "100ms";
/// Between two looks at the memory of the process.
const SAMPLE: Duration = Duration::from_secs(5);

/// A change that is not in the kernel yet.
struct Probe {
    service: u32,
    wanted: u32,
    since: Instant,
}

struct Churn<'a> {
    server: &'a ApiServer,
    options: &'a Options,
    ipvs: Ipvs,
    /// Endpoints of each service.
    counts: Vec<u32>,
    random: fastrand::Rng,
}

impl Churn<'_> {
    /// One endpoint comes or goes; how many there are now.
    fn change(&mut self, service: u32) -> Result<u32> {
        let most = self.options.size.endpoints;
        let count = self
            .counts
            .get_mut(service as usize)
            .context("no such service")?;
        *count = if *count < most { most } else { most - 1 };
        let count = *count;
        self.server.put(&cluster::slice(service, most, count))?;
        Ok(count)
    }

    fn is_there(&mut self, probe: &Probe) -> Result<bool> {
        let found = self
            .ipvs
            .destinations(&key(cluster::address_of(probe.service), 80))?;
        let serving = found.iter().filter(|found| found.destination.weight > 0);
        Ok(serving.count() == probe.wanted as usize)
    }
}

/// Changes `rate` endpoints each second for `time`, and says what became of it.
pub(crate) fn measure(options: &Options, rate: u32, time: Duration) -> Result<serde_json::Value> {
    let server = ApiServer::start()?;
    let services = options.size.services;
    ensure!(services > TIMED, "more than {TIMED} services");
    cluster::put_all(&server, services, options.size.endpoints)?;
    let process = Process::start(&server.url(), options.vip_binding.name(), MIN_SYNC)?;
    until(process.started(), SELDOM, || {
        process.has_said("synced activity=")
    })?;
    let mut churn = Churn {
        server: &server,
        options,
        ipvs: Ipvs::open()?,
        counts: vec![options.size.endpoints; services as usize],
        random: fastrand::Rng::with_seed(1),
    };
    let (start, cpu) = (Instant::now(), process.cpu()?);
    let (mut changes, mut next_probe, mut next_sample) = (0_u32, start, start);
    let (mut waiting, mut took, mut memory) = (VecDeque::new(), Vec::new(), Vec::new());
    while start.elapsed() < time {
        // Those that a slow moment held up come behind it.
        let due = rate * u32::try_from(start.elapsed().as_millis())? / 1000;
        while changes < due {
            let service = churn.random.u32(TIMED..services);
            churn.change(service)?;
            changes += 1;
        }
        if Instant::now() >= next_probe {
            next_probe += PROBE;
            let service = u32::try_from(took.len() + waiting.len())? % TIMED;
            let since = Instant::now();
            let wanted = churn.change(service)?;
            waiting.push_back(Probe {
                service,
                wanted,
                since,
            });
        }
        while let Some(probe) = waiting.front() {
            if !churn.is_there(probe)? {
                break;
            }
            took.push(probe.since.elapsed());
            waiting.pop_front();
        }
        if Instant::now() >= next_sample {
            next_sample += SAMPLE;
            memory.push((start.elapsed(), process.resident_bytes()?));
        }
        std::thread::sleep(TICK);
    }
    let busy = process.cpu()?.saturating_sub(cpu);
    let end = Instant::now();
    for probe in waiting {
        until(end, SELDOM, || churn.is_there(&probe))?;
        took.push(probe.since.elapsed());
    }
    let mut left = resync::left(options, &churn.counts)?;
    while !left.is_empty() && end.elapsed() < PATIENCE / 10 {
        std::thread::sleep(Duration::from_secs(1));
        left = resync::left(options, &churn.counts)?;
    }
    ensure!(
        left.is_empty(),
        "a fresh start would do {}, the first: {}",
        left.len(),
        left[0]
    );
    process.has_said("")?;
    process.stop()?;
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part / 100).min(took.len() - 1));
    let ms = |part| anyhow::Ok(at(part).context("no change was timed")?.as_secs_f64() * 1e3);
    Ok(serde_json::json!({
        "bench": "churn", "services": services, "endpoints": options.size.endpoints,
        "vip_binding": options.vip_binding.name(), "seconds": time.as_secs(), "rate": rate, "changes": changes,
        "p50_ms": ms(50)?, "p99_ms": ms(99)?, "max_ms": ms(100)?, "cpu_s": busy.as_secs_f64(),
        "settled_s": end.elapsed().as_secs_f64(), "resident_bytes": memory.last().map(|(_, bytes)| bytes),
        "bytes_a_minute": slope(memory.get(memory.len() / 2..).unwrap_or_default()),
    }))
}

/// Of the line that fits best: bytes for each minute.
fn slope(samples: &[(Duration, u64)]) -> f64 {
    let count = samples.len() as f64;
    let points = samples
        .iter()
        .map(|(at, bytes)| (at.as_secs_f64() / 60.0, *bytes as f64));
    let (x, y) = points.clone().fold((0.0, 0.0), |sum, (x, y)| {
        (sum.0 + x / count, sum.1 + y / count)
    });
    let (above, below) = points.fold((0.0, 0.0), |sum, point| {
        let off = point.0 - x;
        (sum.0 + off * (point.1 - y), sum.1 + off * off)
    });
    if below > 0.0 { above / below } else { 0.0 }
}
