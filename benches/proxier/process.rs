//! The reference proxier as a process, and what the kernel and its metrics tell of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use benches::{bytes, peak_bytes};

const METRICS: &str = "127.0.0.1:10249";
const RESYNCS: &str = "ipvs_proxier_resync_seconds";
/// `USER_HZ`, which is 100 wherever Linux runs.
const TICKS: f64 = 100.0;

pub(crate) struct Process {
    child: Child,
    started: Instant,
    log: PathBuf,
}

impl Process {
    /// Follows the API at `url`; `min_sync` is the least time between two syncs.
    pub(crate) fn start(url: &str, binding: &str, min_sync: &str) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("examples/kube-proxy");
        let log = std::env::temp_dir().join("bench-proxier.log");
        let output = std::fs::File::create(&log)?;
        let started = Instant::now();
        let child = Command::new(&program)
            .args(["--hostname-override=node-0", "--conntrack-max-per-core=0"])
            // However little the resyncs find: what they cost is measured.
            .args(["--ipvs-sync-period=15s", "--max-sync-period=15s"])
            .args([
                format!("--ipvs-min-sync-period={min_sync}"),
                format!("--master={url}"),
                format!("--vip-binding={binding}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        Ok(Self {
            child,
            started,
            log,
        })
    }

    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn has_said(&self, words: &str) -> Result<bool> {
        let log = std::fs::read_to_string(&self.log)?;
        ensure!(!log.contains("ERROR"), "{log}");
        Ok(log.contains(words))
    }

    /// How long the next resync takes, from the metrics: nothing has changed when it comes.
    pub(crate) fn next_resync(&self, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        let (count, sum) = resyncs()?;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let (now, total) = resyncs()?;
            if now > count {
                return Ok(Duration::from_secs_f64((total - sum) / (now - count)));
            }
            ensure!(start.elapsed() < patience, "no resync came");
        }
    }

    /// The CPU time that it has had.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(')').next().context("no stat")?;
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|number| number.parse::<f64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks / TICKS))
    }

    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        peak_bytes(&self.child.id().to_string())
    }

    /// The memory that it has now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        bytes(&self.child.id().to_string(), "VmRSS:")
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Number and time of the starts and resyncs so far.
fn resyncs() -> Result<(f64, f64)> {
    let mut stream = TcpStream::connect(METRICS)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let value = |kind: &str| {
        let name = format!("{RESYNCS}_{kind} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        anyhow::Ok(line.context("no such metric")?.parse::<f64>()?)
    };
    Ok((value("count")?, value("sum")?))
}
