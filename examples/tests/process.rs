//! Programs whose output nobody takes, and signals: each test runs itself again as another process.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use ipvs_proxier::{Control, IptablesBackend, Linux};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use support::{limits, log, output, signals, threads};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Longer than any test may take.
const FOR_EVER: Duration = Duration::from_secs(600);
const CHILD: &str = "PROCESS_TEST_CHILD";
const ONCE: &str = "PROCESS_TEST_ONCE";

/// This test again, as a child that does `work` and exits with what it returns.
fn child(test: &str, work: impl FnOnce() -> i32) -> Command {
    if std::env::var_os(CHILD).is_some() {
        std::process::exit(work());
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The end of a pipe that nobody reads any more.
fn closed_pipe() -> Stdio {
    rustix::pipe::pipe().unwrap().1.into()
}

fn status(mut command: Command) -> ExitStatus {
    command.status().unwrap()
}

fn stderr_of(mut command: Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn start_log() -> log::Flush {
    log::start(EnvFilter::new("info")).unwrap()
}

/// Reads lines until one of them is it: others are the test harness's.
fn until(child: &mut Child, wanted: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(wanted)), "{wanted}");
}

#[test]
fn a_log_that_cannot_be_written_harms_nobody() {
    let command = || {
        child("a_log_that_cannot_be_written_harms_nobody", || {
            let _flush = start_log();
            (0..100).for_each(|number| warn!(number, "a line"));
            let panics = thread::spawn(|| panic!("it has no other way to say so"));
            assert!(panics.join().is_err());
            (0..100).for_each(|number| warn!(number, "a line"));
            log::flush(FOR_EVER);
            7
        })
    };
    for stderr in [full_disk().into(), closed_pipe()] {
        let mut command = command();
        command.stderr(stderr);
        assert_eq!(status(command).code(), Some(7));
    }
}

/// 2 MB of lines, of which the pipe and the queue take a part.
#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody() {
    const LINES: usize = 20_000;
    let mut command = child("a_pipe_that_nobody_reads_holds_up_nobody", || {
        let _flush = start_log();
        let more = "and more ".repeat(10);
        (0..LINES).for_each(|number| info!(number, "a line {more}"));
        output::print("all of them\n").unwrap();
        log::flush(FOR_EVER);
        info!("it works again");
        log::flush(FOR_EVER);
        0
    });
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    until(&mut child, "all of them");
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    let dropped = text.lines().filter_map(|line| {
        let (_, number) = line.split_once("log lines could not be written dropped=")?;
        number.parse::<usize>().ok()
    });
    let dropped: usize = dropped.sum();
    assert!(dropped > 0, "they all fit");
    assert_eq!(count("a line and more") + dropped, LINES);
    assert_eq!(count("it works again"), 1);
}

/// That of the log, or of signals.
#[test]
fn a_thread_that_is_needed_takes_the_process_along() {
    let mut command = child("a_thread_that_is_needed_takes_the_process_along", || {
        let _flush = start_log();
        threads::spawn("needed", || panic!("a fault")).unwrap();
        loop {
            thread::park();
        }
    });
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("a thread panicked: a fault thread=\"needed\""),
        "{log}"
    );
}

#[test]
fn the_last_lines_before_the_end_are_written() {
    let command = child("the_last_lines_before_the_end_are_written", || {
        let flush = start_log();
        info!("on the way");
        let panics = thread::Builder::new().name("work".into());
        let panics = panics.spawn(move || {
            let _flush = flush;
            panic!("gone\n2026-11-28T00:00:00Z  INFO all is well")
        });
        assert!(panics.unwrap().join().is_err());
        0
    });
    let text = stderr_of(command);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        matches!(lines[..], [first, last] if first.ends_with("INFO on the way")
        && last.contains(r"ERROR a thread panicked: gone\n2026-11-28T00:00:00Z  INFO all is well")
        && last.contains(r#"thread="work""#)),
        "{text}"
    );
}

/// An annotation with the end of a line could say anything about the node.
#[test]
fn nobodys_text_ends_its_line() {
    let command = child("nobodys_text_ends_its_line", || {
        let _flush = start_log();
        let (hidden, forged) = ("\u{202e}lla\x1b[2K", "5s\n2026 ERROR gone\r");
        info!(hidden, quoted = ?forged, shown = %forged, "Service {forged}: {hidden}");
        log::flush(FOR_EVER);
        0
    });
    let text = stderr_of(command);
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains(ipvs_model::Escaped::applies_to), "{line:?}");
    let end = r#"Service 5s\n2026 ERROR gone\r: \u{202e}lla\u{1b}[2K hidden="\u{202e}lla\u{1b}[2K" quoted="5s\n2026 ERROR gone\r" shown=5s\n2026 ERROR gone\r"#;
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn a_reader_that_is_gone_ends_the_process_quietly() {
    let mut command = child("a_reader_that_is_gone_ends_the_process_quietly", || {
        let (_, end) = rustix::pipe::pipe().unwrap();
        rustix::stdio::dup2_stdout(end).unwrap();
        let _ = output::print("a line\n");
        0
    });
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let broken_pipe = Signal::PIPE.as_raw();
    assert_eq!(output.status.signal(), Some(broken_pipe));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_an_error() {
    let command = child("a_full_disk_is_an_error", || {
        rustix::stdio::dup2_stdout(full_disk()).unwrap();
        for printed in [
            output::print("no end of the line"),
            output::print_json(&[1]),
        ] {
            output::complain(printed.unwrap_err());
        }
        0
    });
    let line = "cannot write to standard output: No space left on device (os error 28)\n";
    assert_eq!(stderr_of(command), line.repeat(2));
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn what_waits_for_something_else_ends_all_the_same() {
    for (sent, status) in [(Signal::TERM, 0), (Signal::INT, 1)] {
        let mut command = child("what_waits_for_something_else_ends_all_the_same", || {
            signals::follow(&Control::new()).unwrap();
            if std::env::var_os(ONCE).is_some() {
                signals::unfinished_is_failure();
            }
            let _flush = start_log();
            output::print("ready\n").unwrap();
            loop {
                thread::park();
            }
        });
        if status == 1 {
            command.env(ONCE, "1");
        }
        let mut child = command.spawn().unwrap();
        until(&mut child, "ready");
        signal(&child, sent);
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

/// It comes before there are handlers, while they are installed one after the other, or when all are there.
#[test]
fn a_signal_that_comes_while_handlers_are_installed_is_not_lost() {
    for round in 0..40 {
        let mut command = child(
            "a_signal_that_comes_while_handlers_are_installed_is_not_lost",
            || {
                println!("ready");
                let control = Control::new();
                signals::follow_for(&control, FOR_EVER).unwrap();
                while !control.is_stopping() {
                    control.wait(FOR_EVER);
                }
                0
            },
        );
        let mut child = command.spawn().unwrap();
        until(&mut child, "ready");
        thread::sleep(Duration::from_micros(10 * round));
        signal(&child, Signal::TERM);
        let start = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() < Duration::from_secs(60) => thread::yield_now(),
                None => {
                    child.kill().unwrap();
                    panic!("round {round}: the signal was lost");
                }
            }
        };
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        assert!(by_signal || status.code() == Some(0), "{status}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for status in [0, 1] {
        let mut command = child("a_second_signal_ends_it_at_once", || {
            let control = Control::new();
            signals::follow_for(&control, Duration::MAX).unwrap();
            if std::env::var_os(ONCE).is_some() {
                signals::unfinished_is_failure();
            }
            output::print("ready\n").unwrap();
            while !control.is_stopping() {
                control.wait(FOR_EVER);
            }
            output::print("stopping\n").unwrap();
            loop {
                thread::park();
            }
        });
        if status == 1 {
            command.env(ONCE, "1");
        }
        let mut child = command.spawn().unwrap();
        until(&mut child, "ready");
        signal(&child, Signal::TERM);
        until(&mut child, "stopping");
        signal(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

/// An iptables that hangs, and what it has started: with a second signal, and when the time for the first one is over.
#[test]
fn programs_end_with_the_process_that_started_them() {
    for is_patient in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("iptables");
        let script = "#!/bin/sh\nexec 9>\"${0%/*}/fifo\"\nsleep 1000 &\nsleep 1000\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let fifo = folder.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let mut command = child("programs_end_with_the_process_that_started_them", || {
            let patience = match std::env::var_os(ONCE) {
                Some(_) => Duration::MAX,
                None => Duration::ZERO,
            };
            let control = Control::new();
            signals::follow_for(&control, patience).unwrap();
            // Nobody asks it to stop.
            let waits = thread::spawn(|| Linux::open(IptablesBackend::Auto));
            while !control.is_stopping() {
                control.wait(FOR_EVER);
            }
            output::print("stopping\n").unwrap();
            waits.join().unwrap().map_or(7, |_| 8)
        });
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.path().display()));
        if is_patient {
            command.env(ONCE, "1");
        }
        let mut child = command.spawn().unwrap();
        // Opened by both as soon as the program runs.
        let mut held = File::open(&fifo).unwrap();
        signal(&child, Signal::TERM);
        if is_patient {
            until(&mut child, "stopping");
            signal(&child, Signal::TERM);
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
        // It comes to its end when nobody has the other end any more.
        let (sender, all_ended) = channel();
        thread::spawn(move || sender.send(held.read_to_end(&mut Vec::new()).unwrap()));
        assert_eq!(all_ended.recv_timeout(Duration::from_secs(60)), Ok(0));
    }
}

#[test]
fn a_hangup_has_files_read_again() {
    let mut command = child("a_hangup_has_files_read_again", || {
        let control = Control::new();
        signals::follow_for(&control, Duration::MAX).unwrap();
        output::print("ready\n").unwrap();
        while !control.is_stopping() {
            control.wait(FOR_EVER);
            if control.take_reload() {
                output::print("reading\n").unwrap();
            }
        }
        7
    });
    let mut child = command.spawn().unwrap();
    until(&mut child, "ready");
    for _ in 0..2 {
        signal(&child, Signal::HUP);
        until(&mut child, "reading");
    }
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(7), "it ends by itself");
}

#[test]
fn all_files_that_may_be_open_may_be() {
    let command = child("all_files_that_may_be_open_may_be", || {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let current = Some(64);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        limits::raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        7
    });
    assert_eq!(status(command).code(), Some(7));
}
