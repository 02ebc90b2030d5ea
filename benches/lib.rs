//! What the measurements share.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The size of a generated cluster.
#[derive(Debug, clap::Parser)]
pub struct Size {
    /// Number of services.
    #[arg(long)]
    pub services: u32,
    /// Endpoints of each service.
    #[arg(long)]
    pub endpoints: u32,
}

/// What `work` returns, and how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// The middle one of some times; nothing of none.
#[must_use]
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The most memory that a process has had, in bytes; `self` for this one.
///
/// # Errors
/// When there is no such process.
pub fn peak_bytes(process: &str) -> Result<u64> {
    bytes(process, "VmHWM:")
}

/// A line of `/proc/PROCESS/status` that is in kilobytes, in bytes.
///
/// # Errors
/// When there is no such process or line.
pub fn bytes(process: &str, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name));
    let mut words = line.context("no such line")?.split_whitespace();
    let kilobytes: u64 = words.nth(1).context("no number")?.parse()?;
    Ok(kilobytes * 1024)
}
