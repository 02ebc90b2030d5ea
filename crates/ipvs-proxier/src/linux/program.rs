//! Programs that are given some text and give some back, and that may hang.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;

use crate::error::PlaneError;

/// Longer than any of them takes, the five seconds for the lock of iptables included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether a program that has nothing more to say has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// Why a program gave nothing.
pub(super) fn failed(program: &str, reason: String) -> PlaneError {
    PlaneError::Program {
        program: program.to_owned(),
        reason,
    }
}

/// What a program prints. One that has not ended after [`PATIENCE`] is killed.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, PlaneError> {
    let failed = |reason: String| failed(program, reason);
    let io_failed = |error: std::io::Error| failed(error.to_string());
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io_failed)?;
    let mut talk = Talk {
        child,
        said: Vec::new(),
        complained: Vec::new(),
    };
    let deadline = Instant::now() + PATIENCE;
    let Some(status) = talk.until(deadline, input.as_bytes()).map_err(io_failed)? else {
        return Err(failed(format!(
            "it did not end within {} s, and was killed: is another iptables hanging?",
            PATIENCE.as_secs()
        )));
    };
    if !status.success() {
        let words = String::from_utf8_lossy(&talk.complained);
        let words: Vec<&str> = words
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        return Err(failed(format!("{status}: {}", words.join("; "))));
    }
    Ok(String::from_utf8_lossy(&talk.said).into_owned())
}

/// A program that runs, and is killed when this is dropped.
struct Talk {
    child: Child,
    said: Vec<u8>,
    complained: Vec<u8>,
}

impl Talk {
    /// Writes all of `input` and reads all that comes until the program ends; `None` if it has not by then.
    fn until(
        &mut self,
        deadline: Instant,
        mut input: &[u8],
    ) -> std::io::Result<Option<ExitStatus>> {
        let mut stdin = self.child.stdin.take();
        let mut stdout = self.child.stdout.take();
        let mut stderr = self.child.stderr.take();
        for pipe in [
            stdin.as_ref().map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ] {
            pipe.map_or(Ok(()), |pipe| ioctl_fionbio(pipe, true))?;
        }
        while stdin.is_some() || stdout.is_some() || stderr.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut waiting = Vec::with_capacity(3);
            waiting.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
            waiting.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            waiting.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            let left = Timespec::try_from(left).map_err(std::io::Error::other)?;
            match poll(&mut waiting, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            drop(waiting);
            if let Some(pipe) = &mut stdin
                && written(pipe, &mut input)?
            {
                stdin = None;
            }
            if let Some(pipe) = &mut stdout
                && read_to_end(pipe, &mut self.said)?
            {
                stdout = None;
            }
            if let Some(pipe) = &mut stderr
                && read_to_end(pipe, &mut self.complained)?
            {
                stderr = None;
            }
        }
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether all is written. A program that ends early says why on its standard error.
fn written(pipe: &mut impl Write, input: &mut &[u8]) -> std::io::Result<bool> {
    while !input.is_empty() {
        match pipe.write(input) {
            Ok(count) => *input = input.get(count..).unwrap_or_default(),
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
    use super::*;

    fn sh(script: &str, input: &str) -> Result<String, PlaneError> {
        run("sh", &["-c", script], input)
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
        let error = run("no-such-program", &[], "").unwrap_err();
        assert!(
            error.to_string().starts_with("no-such-program: "),
            "{error}"
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_or_without_open_ends() {
        for script in [
            "exec sleep 60",
            "exec sleep 60 <&- >&- 2>&-",
            "sleep 60 & wait",
        ] {
            let child = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut talk = Talk {
                child,
                said: Vec::new(),
                complained: Vec::new(),
            };
            let soon = Instant::now() + Duration::from_millis(50);
            assert!(talk.until(soon, b"text").unwrap().is_none(), "{script}");
        }
    }
}
