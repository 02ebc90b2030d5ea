//! Log lines to standard error. Whoever logs never waits: lines go into a queue with bounded room, from which a thread of
//! its own writes them. What finds no room or cannot be written is dropped and counted, and the count is logged when
//! writing works again.
//!
//! `tracing-appender` has such a queue too, but keeps its count to itself, drops what cannot be written without a word,
//! and at the end complains with `eprintln!`, which panics where standard error is a closed pipe or a full disk and waits
//! for ever where nobody reads.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::log_text::EscapedFields;
use crate::threads;

/// Bytes that may wait to be written.
const ROOM: usize = 1 << 20;

/// How long the end of a program waits for the last lines to be written, where nobody reads them.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// The lines of this process.
static OF_PROCESS: OnceLock<Lines> = OnceLock::new();

/// The queue of lines: a writer for `tracing_subscriber`.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is a line, or the last one is written.
    changed: Condvar,
    room: usize,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Lines that nobody will see, and nobody knows of yet.
    dropped: u64,
    /// Whether a line is on its way that stands in the queue no more.
    is_writing: bool,
    /// What it logs always finds room: it tells of dropped lines.
    writer: Option<ThreadId>,
}

/// Waits for the last lines when it goes out of scope, at most for [`LAST_LINES`].
#[derive(Debug)]
#[must_use]
pub struct Flush(Lines);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

/// Logs text to standard error from now on, what `filter` lets through; panics too.
///
/// # Errors
/// When there can be no thread, or standard error cannot be used at all.
pub fn start(filter: EnvFilter) -> io::Result<Flush> {
    let (lines, flush) = to_stderr()?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .log_internal_errors(false)
        .fmt_fields(EscapedFields)
        .with_ansi(colours)
        .with_target(false)
        .init();
    Ok(flush)
}

/// The lines of this process, for a subscriber of another format than [`start`] has. It must not print errors of its own
/// (`log_internal_errors(false)`). Panics are logged from now on.
///
/// # Errors
/// As [`start`].
pub fn to_stderr() -> io::Result<(Lines, Flush)> {
    // A descriptor of its own: the lock of `io::stderr` would be held for as long as nobody reads.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let lines = Lines::start(stderr, ROOM)?;
    let _ = OF_PROCESS.set(lines.clone());
    std::panic::set_hook(Box::new(report));
    Ok((lines.clone(), Flush(lines)))
}

/// Waits until all lines of this process are written, at most for so long.
pub fn flush(at_most: Duration) {
    if let Some(lines) = OF_PROCESS.get() {
        lines.flush(at_most);
    }
}

/// The usual hook waits for standard error, however long that takes.
fn report(panic: &PanicHookInfo<'_>) {
    let this = thread::current();
    let thread = this.name().unwrap_or("unnamed");
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        error!(thread, place, %trace, "a thread panicked: {message}");
    } else {
        error!(thread, place, "a thread panicked: {message}");
    }
    // Its process may end with it.
    flush(LAST_LINES);
}

/// Where lines go.
trait Sink: Write + AsFd + Send + 'static {}

impl<S: Write + AsFd + Send + 'static> Sink for S {}

impl Lines {
    /// Starts the thread that writes.
    fn start<S: Sink>(sink: S, room: usize) -> io::Result<Self> {
        let lines = Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            room,
        }));
        let written = lines.clone();
        let thread = threads::spawn("log", move || written.write_all(sink))?;
        lines.queue().writer = Some(thread.id());
        Ok(lines)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        let queue = self.0.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        let bytes = queue.bytes.saturating_add(line.len());
        let is_own = queue.writer == Some(thread::current().id());
        if bytes > self.0.room && queue.bytes > 0 && !is_own {
            queue.dropped = queue.dropped.saturating_add(1);
            return;
        }
        queue.bytes = bytes;
        queue.lines.push_back(line.into());
        self.0.changed.notify_all();
    }

    fn flush(&self, at_most: Duration) {
        let start = Instant::now();
        let mut queue = self.queue();
        while queue.is_writing || !queue.lines.is_empty() {
            let left = at_most.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write_all<S: Sink>(&self, mut sink: S) {
        // Whether the last line ends in its middle.
        let mut is_torn = false;
        loop {
            let line = self.next();
            let written = write_line(&mut sink, &line, &mut is_torn);
            let mut queue = self.queue();
            queue.bytes = queue.bytes.saturating_sub(line.len());
            let dropped = match written {
                Ok(()) => std::mem::take(&mut queue.dropped),
                Err(_) => {
                    queue.dropped = queue.dropped.saturating_add(1);
                    0
                }
            };
            drop(queue);
            if dropped > 0 {
                warn!(dropped, "log lines could not be written");
            }
            self.queue().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    /// Waits for a line.
    fn next(&self) -> Box<[u8]> {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.is_writing = true;
                return line;
            }
            let waited = self.0.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A line on a line of its own, also where the disk was full in the middle of the one before.
fn write_line<S: Sink>(sink: &mut S, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        write_bytes(sink, b"\n", &mut false)?;
        *is_torn = false;
    }
    write_bytes(sink, line, is_torn)
}

fn write_bytes<S: Sink>(sink: &mut S, mut bytes: &[u8], is_torn: &mut bool) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                *is_torn = true;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares the file made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(sink, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    *is_torn = false;
    Ok(())
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Puts a line into the queue. Never fails.
#[derive(Debug)]
pub struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;

    /// Longer than any test may take.
    const FOR_EVER: Duration = Duration::from_secs(600);

    /// A disk: each write takes what the script says, or has no room.
    struct Disk {
        script: VecDeque<usize>,
        content: Arc<Mutex<Vec<u8>>>,
        file: File,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.script.pop_front().unwrap_or(usize::MAX) {
                0 => Err(ErrorKind::StorageFull.into()),
                room => self
                    .content
                    .lock()
                    .unwrap()
                    .write(&bytes[..room.min(bytes.len())]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Disk {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    fn written(script: &[usize], lines: &[&str]) -> (String, u64) {
        let content = Arc::<Mutex<Vec<u8>>>::default();
        let disk = Disk {
            script: script.iter().copied().collect(),
            content: Arc::clone(&content),
            file: File::open("/dev/null").unwrap(),
        };
        let queue = Lines::start(disk, ROOM).unwrap();
        for line in lines {
            queue.make_writer().write_all(line.as_bytes()).unwrap();
            queue.flush(FOR_EVER);
        }
        let text = String::from_utf8(content.lock().unwrap().clone()).unwrap();
        (text, queue.queue().dropped)
    }

    #[test]
    fn what_finds_no_room_on_the_disk_is_counted_and_tears_no_other_line() {
        let (text, dropped) = written(&[3, 0, 0], &["one line\n", "two\n", "three\n"]);
        assert_eq!(
            (text.as_str(), dropped),
            ("one\nthree\n", 0),
            "told of by then"
        );
        let (text, dropped) = written(&[usize::MAX, 0, 0], &["one\n", "two\n", "three\n"]);
        assert_eq!((text.as_str(), dropped), ("one\n", 2));
        let (text, dropped) = written(&[1, 1, 1, 1], &["one\n", "two\n"]);
        assert_eq!((text.as_str(), dropped), ("one\ntwo\n", 0), "slowly");
    }
}
