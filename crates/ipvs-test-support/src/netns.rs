use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use rustix::net::{Shutdown, shutdown};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace that is removed when it is dropped, and its servers with it.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    servers: Mutex<Vec<Server>>,
}

/// A socket that a thread waits on.
type Server = Arc<dyn Socket>;

/// Any kind of socket.
trait Socket: AsFd + Send + Sync + std::fmt::Debug {}

impl<T: AsFd + Send + Sync + std::fmt::Debug> Socket for T {}

impl NetNs {
    /// A fresh namespace with `lo` up.
    ///
    /// # Errors
    /// When `ip netns add` fails: it needs root.
    pub fn new(name: &str) -> Result<Self> {
        let namespace = Self {
            name: name.to_owned(),
            servers: Mutex::default(),
        };
        ip(&format!("netns add {name}"))?;
        // Without an address every IPv4 real server would be refused.
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, for `ip -n` and `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` commands in the namespace, in one process.
    ///
    /// # Errors
    /// With what `ip` says.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.run(|| ip(lines))?
    }

    /// Runs `work` on a thread in the namespace: sockets and processes that it makes belong there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                anyhow::Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Errors
    /// When the namespace is gone, or without root.
    pub fn enter(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("cannot enter network namespace {}", self.name))
    }

    /// Serves from `socket` on a thread of its own, until `work` is done with it. When the namespace goes the socket is shut
    /// down, which wakes whoever waits on it: `work` ends at the first error. An open socket would keep the namespace.
    pub fn serve<S>(&self, socket: S, work: impl FnOnce(&S) + Send + 'static)
    where
        S: AsFd + Send + Sync + std::fmt::Debug + 'static,
    {
        let socket = Arc::new(socket);
        self.servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::<S>::clone(&socket));
        thread::spawn(move || work(&socket));
    }

    /// The output of a program in the namespace.
    ///
    /// # Errors
    /// When it cannot be run or fails, with its own words.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run(|| {
            let output = Command::new(program)
                .args(arguments)
                .output()
                .with_context(|| format!("run {program}"))?;
            if !output.status.success() {
                bail!(
                    "{program} {}: {}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })?
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        for server in &*self.servers.lock().unwrap_or_else(PoisonError::into_inner) {
            // ENOTCONN of a UDP socket: it is woken none the less.
            let _ = shutdown(server, Shutdown::Both);
        }
        // A namespace that is left over harms nobody: it has a name of its own, and the lab ends.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(lines: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (package iproute2)")?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip: {} in:\n{lines}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
