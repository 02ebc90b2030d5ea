//! Programs that are given some text and give some back, and that may hang.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, setpriority_pgrp, waitpid};

use super::patience::{BETWEEN_LOOKS, Look, Patience};
use super::process_facts::of_group;
use super::xtables_lock;
use crate::control::Control;
use crate::error::PlaneError;
use crate::own_processes;

/// Between two looks whether the process that waits for a program is to end.
const AT_MOST: Duration = Duration::from_millis(50);
/// Between two looks whether a program that has nothing more to say has ended.
const PAUSE: Duration = Duration::from_millis(1);
/// `RESOURCE_PROBLEM` of iptables.
const RESOURCE_PROBLEM: i32 = 4;
/// The matches of sets ask by a raw socket, also those of iptables-nft, which itself needs none.
const NO_SOCKET_TO_IPSET: &str = "Can't open socket to ipset.";
/// The highest nice value, and the usual one.
const LEAST_URGENT: i32 = 19;
const USUAL: i32 = 0;

/// Programs that were killed and have not ended yet. One that gets no CPU takes its time, and nobody waits for it.
static KILLED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Why a program gave nothing.
pub(super) fn failed(program: &str, reason: String) -> PlaneError {
    PlaneError::Program {
        program: program.to_owned(),
        reason,
    }
}

/// Whether a program is in one of the folders of `PATH`.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What a program prints. Waits for it as long as it does something, or could if it had the CPU, and no longer than until
/// this process is asked to end.
pub(super) fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    control: &Control,
) -> Result<String, PlaneError> {
    let mut running = Running::start(program, arguments, input)?;
    loop {
        if let Some(said) = running.poll()? {
            return Ok(said);
        }
        if control.is_stopping() {
            let program = program.to_owned();
            return Err(PlaneError::Stopped { program });
        }
        running.wait_a_moment()?;
    }
}

/// A program that runs beside this process, and is killed with all that it started when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    program: String,
    child: Child,
    has_ended: bool,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    input: Vec<u8>,
    written: usize,
    said: Vec<u8>,
    complained: Vec<u8>,
    since: Instant,
    looked_at: Instant,
    patience: Patience,
}

impl Running {
    /// Starts it, in a process group of its own.
    pub(super) fn start(
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Self, PlaneError> {
        let io_failed = |error: std::io::Error| failed(program, error.to_string());
        reap_killed();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let number = |child: &Child| Some(child.id());
        let child = own_processes::start(|| command.spawn(), number).map_err(io_failed)?;
        let now = Instant::now();
        let mut running = Self {
            program: program.to_owned(),
            has_ended: false,
            stdin: None,
            stdout: None,
            stderr: None,
            input: input.as_bytes().to_vec(),
            written: 0,
            said: Vec::new(),
            complained: Vec::new(),
            since: now,
            looked_at: now,
            patience: Patience::default(),
            child,
        };
        running.stdin = running.child.stdin.take();
        running.stdout = running.child.stdout.take();
        running.stderr = running.child.stderr.take();
        for pipe in running.pipes() {
            ioctl_fionbio(pipe.0, true).map_err(|error| io_failed(error.into()))?;
        }
        Ok(running)
    }

    /// Lets everything else on the machine go first. Where it may not, nothing is lost.
    pub(super) fn be_least_urgent(&self) {
        let _ = setpriority_pgrp(self.group(), LEAST_URGENT);
    }

    /// Gives it the usual share of the CPU again; whether that is allowed (`CAP_SYS_NICE`).
    pub(super) fn be_usual(&self) -> bool {
        setpriority_pgrp(self.group(), USUAL).is_ok()
    }

    /// For how long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// What it has printed, if it has ended. Waits for nothing.
    pub(super) fn poll(&mut self) -> Result<Option<String>, PlaneError> {
        let program = self.program.clone();
        let io_failed = |error: std::io::Error| failed(&program, error.to_string());
        self.exchange().map_err(io_failed)?;
        if self.pipes().next().is_none() {
            let number = self.child.id();
            let status =
                own_processes::reap(number, || self.child.try_wait()).map_err(io_failed)?;
            if let Some(status) = status {
                self.has_ended = true;
                return self.judge(status).map(Some);
            }
        }
        if self.looked_at.elapsed() >= BETWEEN_LOOKS {
            self.looked_at = Instant::now();
            let (doing, cpu) = of_group(self.child.id());
            let moved = [self.written, self.said.len(), self.complained.len()];
            let look = Look {
                doing,
                cpu,
                moved: moved.into_iter().map(|bytes| bytes as u64).sum(),
            };
            if self.patience.look(self.age(), look) {
                return Err(PlaneError::Hung {
                    program,
                    age: self.age(),
                });
            }
        }
        Ok(None)
    }

    /// Waits until it has something to say or takes more, or for a moment.
    pub(super) fn wait_a_moment(&self) -> Result<(), PlaneError> {
        let mut waiting: Vec<PollFd<'_>> = self
            .pipes()
            .map(|(pipe, flags)| PollFd::from_borrowed_fd(pipe, flags))
            .collect();
        if waiting.is_empty() {
            thread::sleep(PAUSE);
            return Ok(());
        }
        let at_most = Timespec {
            tv_sec: 0,
            tv_nsec: AT_MOST.subsec_nanos().into(),
        };
        match poll(&mut waiting, Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(failed(&self.program, error.to_string())),
        }
    }

    /// The pipes that are open, and what they are waited for.
    fn pipes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let stdin = self.stdin.as_ref().map(|pipe| pipe.as_fd());
        let stdout = self.stdout.as_ref().map(|pipe| pipe.as_fd());
        let stderr = self.stderr.as_ref().map(|pipe| pipe.as_fd());
        let stdin = stdin.map(|pipe| (pipe, PollFlags::OUT));
        let both = [stdout, stderr].into_iter().flatten();
        stdin
            .into_iter()
            .chain(both.map(|pipe| (pipe, PollFlags::IN)))
    }

    /// Writes and reads what can be written and read at once.
    fn exchange(&mut self) -> std::io::Result<()> {
        if let Some(pipe) = &mut self.stdin
            && written(pipe, &self.input, &mut self.written)?
        {
            self.stdin = None;
        }
        if let Some(pipe) = &mut self.stdout
            && read_to_end(pipe, &mut self.said)?
        {
            self.stdout = None;
        }
        if let Some(pipe) = &mut self.stderr
            && read_to_end(pipe, &mut self.complained)?
        {
            self.stderr = None;
        }
        Ok(())
    }

    /// It has ended and said all.
    fn judge(&mut self, status: ExitStatus) -> Result<String, PlaneError> {
        if status.success() {
            let said = std::mem::take(&mut self.said);
            return Ok(String::from_utf8(said)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
        }
        let words = String::from_utf8_lossy(&self.complained);
        let words: Vec<&str> = words
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        Err(refusal(&self.program, status, &words.join("; ")))
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        own_processes::ended(self.child.id());
        if self.has_ended {
            return;
        }
        if let Some(group) = self.group() {
            // One that has ended by itself is not there to be killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Ok(None) = self.child.try_wait() {
            let mut killed = KILLED.lock().unwrap_or_else(PoisonError::into_inner);
            killed.extend(self.group());
        }
    }
}

/// Takes leave of programs that have ended since they were killed.
fn reap_killed() {
    let mut killed = KILLED.lock().unwrap_or_else(PoisonError::into_inner);
    killed.retain(|program| matches!(waitpid(Some(*program), WaitOptions::NOHANG), Ok(None)));
}

/// An exit status and the words on standard error.
fn refusal(program: &str, status: ExitStatus, words: &str) -> PlaneError {
    if xtables_lock::is_held(words) {
        return xtables_lock::held();
    }
    let passes = [
        "Resource temporarily unavailable",
        "Interrupted system call",
    ];
    let is_busy = status.code() == Some(RESOURCE_PROBLEM);
    let mut reason = format!("{status}: {words}");
    if words.contains(NO_SOCKET_TO_IPSET) {
        reason.push_str("; it takes CAP_NET_RAW");
    }
    if is_busy && passes.iter().any(|passing| words.contains(passing)) {
        let program = program.to_owned();
        return PlaneError::Busy { program, reason };
    }
    failed(program, reason)
}

/// Whether all is written. A program that ends early says why on its standard error.
fn written(pipe: &mut impl Write, input: &[u8], done: &mut usize) -> std::io::Result<bool> {
    while let Some(rest) = input.get(*done..).filter(|rest| !rest.is_empty()) {
        match pipe.write(rest) {
            Ok(count) => *done = done.saturating_add(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether the other end is closed.
fn read_to_end(pipe: &mut impl Read, into: &mut Vec<u8>) -> std::io::Result<bool> {
    match pipe.read_to_end(into) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::patience::Doing;
    use super::*;

    fn sh(script: &str, input: &str) -> Result<String, PlaneError> {
        run("sh", &["-c", script], input, &Control::new())
    }

    #[test]
    fn more_goes_in_and_out_than_a_pipe_holds() {
        let text = "0123456789abcdef\n".repeat(20_000);
        assert_eq!(sh("cat", &text).unwrap(), text);
        assert_eq!(sh("cat >&2; echo done", &text).unwrap(), "done\n");
        assert_eq!(sh("echo early", &text).unwrap(), "early\n");
    }

    #[test]
    fn what_failed_is_said_in_its_own_words() {
        let error = sh("echo one >&2; echo ' two' >&2; exit 3", "").unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 3: one; two");
        let error = sh("echo \"x: Can't open socket to ipset.\" >&2; exit 1", "").unwrap_err();
        assert!(error.to_string().ends_with("CAP_NET_RAW"), "{error}");
        let error = run("no-such-program", &[], "", &Control::new()).unwrap_err();
        assert!(
            error.to_string().starts_with("no-such-program: "),
            "{error}"
        );
    }

    #[test]
    fn a_lock_that_others_hold_is_no_failure_like_others() {
        let held = "Another app is currently holding the xtables lock. Stopped waiting after 1s.";
        let error = sh(&format!("echo '{held}' >&2; exit 4"), "").unwrap_err();
        assert!(matches!(error, PlaneError::Locked { .. }), "{error}");
        let error = sh("echo 'x: Resource temporarily unavailable' >&2; exit 4", "").unwrap_err();
        assert!(matches!(error, PlaneError::Busy { .. }), "{error}");
        assert!(error.is_busy());
        for script in [
            "echo \"Fatal: can't open lock file /run/xtables.lock: No space left on device\" >&2; exit 4",
            "echo 'no room left' >&2; exit 4",
            "echo 'Resource temporarily unavailable' >&2; exit 1",
        ] {
            let error = sh(script, "").unwrap_err();
            assert!(!error.is_busy(), "{error}");
        }
    }

    /// With or without open ends, and with a program of its own that has them.
    const HANGS: [&str; 3] = [
        "exec sleep 1000",
        "exec sleep 1000 <&- >&- 2>&-",
        "sleep 1000 & wait",
    ];

    #[test]
    fn waiting_ends_as_soon_as_this_process_is_to_end() {
        for script in HANGS {
            let control = Control::new();
            control.stop();
            let error = run("sh", &["-c", script], "text", &control).unwrap_err();
            assert!(matches!(error, PlaneError::Stopped { .. }), "{error}");
        }
    }

    #[test]
    fn one_that_is_dropped_is_killed_with_all_that_it_started() {
        for script in ["exec sleep 1000", "sleep 1000 & wait"] {
            let mut running = Running::start("sh", &["-c", script], "").unwrap();
            let mut pipe = running.stdout.take().unwrap();
            drop(running);
            // It ends when nobody has its other end any more.
            while !read_to_end(&mut pipe, &mut Vec::new()).unwrap() {
                thread::sleep(PAUSE);
            }
        }
    }

    #[test]
    fn one_that_hangs_is_told_apart_from_one_that_runs() {
        let doing = |script| {
            let running = Running::start("sh", &["-c", script], "").unwrap();
            running.be_least_urgent();
            let wanted = if script.contains("while") {
                Doing::Runs
            } else {
                Doing::Sleeps
            };
            while of_group(running.child.id()).0 != wanted {
                thread::sleep(PAUSE);
            }
        };
        HANGS.into_iter().for_each(doing);
        doing("while :; do :; done");
        doing("(while :; do :; done) & wait");
    }
}
