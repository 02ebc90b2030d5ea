//! What the measurements share.

use std::time::{Duration, Instant};

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
