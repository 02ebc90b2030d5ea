use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::NetNs;

/// The program of an example: in `$IPVS_EXAMPLES`, else where `cargo build --examples` puts it.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let built = || workspace().join("target/debug/examples");
    std::env::var_os("IPVS_EXAMPLES")
        .map_or_else(built, PathBuf::from)
        .join(name)
}

/// The reference proxier's program.
#[must_use]
pub fn kube_proxy() -> PathBuf {
    example("kube-proxy")
}

/// The repository.
#[must_use]
pub fn workspace() -> &'static Path {
    // crates/ipvs-test-support is two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| Path::new("."))
}

/// Set by `cargo xtask lab --filter`: what the filter of proxiers is made with that do not ask for one.
const FILTER: &str = "IPVS_LAB_FILTER";

/// Whether proxiers make their filter with nftables.
#[must_use]
pub fn filter_is_nftables() -> bool {
    std::env::var_os(FILTER).is_some_and(|filter| filter == "nftables")
}

/// The command line of the reference proxier as `node-0`.
pub fn command(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(kube_proxy());
    let asks = |argument: &OsStr| {
        let text = argument.to_string_lossy();
        text.starts_with("--filter=") || text.starts_with("--iptables-backend=")
    };
    if let Ok(filter) = std::env::var(FILTER)
        && !arguments.iter().any(|argument| asks(argument.as_ref()))
    {
        command.arg(format!("--filter={filter}"));
    }
    // Not a test of connection tracking, whose limit belongs to the whole machine.
    command
        .args(["--hostname-override=node-0", "--conntrack-max-per-core=0"])
        .args(arguments);
    command
}

/// Runs the reference proxier to its end in a namespace, as `node-0`.
///
/// # Errors
/// When it cannot be run; its own failure is in the output.
pub fn run_kube_proxy(namespace: &NetNs, arguments: &[impl AsRef<OsStr> + Sync]) -> Result<Output> {
    namespace.run(|| {
        command(arguments)
            .output()
            .with_context(|| format!("run {}", kube_proxy().display()))
    })?
}

/// It takes two seconds at the most where it has the CPU.
const STOP: Duration = Duration::from_secs(10);

/// A reference proxier that runs in a namespace, and is killed when it is dropped.
#[derive(Debug)]
pub struct RunningProxier {
    child: Child,
}

impl RunningProxier {
    /// Starts it, as `node-0`; its log goes to `log`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(
        namespace: &NetNs,
        arguments: &[impl AsRef<OsStr> + Sync],
        log: &Path,
    ) -> Result<Self> {
        Self::start_command(namespace, command(arguments), log)
    }

    /// Starts it by a command line of the caller's own.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start_command(namespace: &NetNs, mut command: Command, log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log).with_context(|| format!("make {}", log.display()))?;
        let child = namespace.run(move || {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        })?;
        Ok(Self {
            child: child.with_context(|| format!("run {}", kube_proxy().display()))?,
        })
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not stop within ten seconds, or longer on a busy machine.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        eventually(STOP, || {
            let status = self.child.try_wait()?;
            status.context("kube-proxy did not stop on SIGTERM")
        })
    }
}

impl Drop for RunningProxier {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// So many attempts are made for each second of patience, however long they take.
const ATTEMPTS_A_SECOND: u64 = 4;

/// Tries until `attempt` succeeds, for at least `patience`; then its last error. On a busy machine what is waited for is as
/// slow as the attempts are: it is given a number of them, and the clock alone ends nothing.
///
/// # Errors
/// The last error of `attempt`.
pub fn eventually<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    let least = patience.as_secs().saturating_mul(ATTEMPTS_A_SECOND);
    let mut attempts = 0_u64;
    loop {
        attempts = attempts.saturating_add(1);
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if attempts > least && Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
