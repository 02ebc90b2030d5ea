//! Signals, from the first step of `main` on: SIGTERM and SIGINT end the process, SIGHUP has the source and the
//! kernel's state read again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipvs_proxier::{Control, end_programs};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tracing::warn;

use crate::{log, threads};

/// How long the program may take to end by itself. Whoever stopped it waits for two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long the log may take then.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Whether there is something to do to its end.
static IS_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on there is something to do to its end: a process that a signal ends before has failed, with status 1.
pub fn unfinished_is_failure() {
    IS_ONCE.store(true, Ordering::SeqCst);
}

/// Has signals ask `control`: SIGTERM and SIGINT to stop, SIGHUP to reload. A process that has not ended 1.5 s after the
/// first of the two, whatever it waits for, ends with status 0 all the same, and with the second signal at once: what is
/// in the kernel stays in place, and each step of a sync can be the last. Programs that it has started end with it. See
/// [`unfinished_is_failure`].
///
/// # Errors
/// When the handlers cannot be installed, or there can be no thread.
pub fn follow(control: &Control) -> io::Result<()> {
    follow_for(control, PATIENCE)
}

/// The same with another patience.
///
/// # Errors
/// As [`follow`].
pub fn follow_for(control: &Control, patience: Duration) -> io::Result<()> {
    // The first handler takes the default action away: a signal that comes before all are there must not be lost.
    let came = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(&came))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let mut ending = Ending {
        control: control.clone(),
        patience,
        has_begun: false,
    };
    let work = move || {
        if came.load(Ordering::SeqCst) {
            // It may be heard of twice.
            for _ in signals.pending() {}
            ending.asked();
        }
        for signal in &mut signals {
            match signal {
                SIGHUP => ending.control.reload(),
                _ => ending.asked(),
            }
        }
    };
    threads::spawn("signals", work)?;
    Ok(())
}

/// The end of this process.
struct Ending {
    control: Control,
    patience: Duration,
    has_begun: bool,
}

impl Ending {
    /// Asks for the end, and ends the process if it does not come. The next time it ends at once.
    fn asked(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            leave();
        }
        self.control.stop();
        let patience = self.patience;
        let wait = move || {
            thread::sleep(patience);
            warn!("still waiting for something: ended by force; the kernel's state stays in place");
            log::flush(LAST_LINES);
            leave();
        };
        // Without a thread nobody would wait for the end.
        if threads::spawn("end", wait).is_err() {
            leave();
        }
    }
}

/// Ends the process, and what it has started.
fn leave() -> ! {
    end_programs();
    signal_hook::low_level::exit(i32::from(IS_ONCE.load(Ordering::SeqCst)))
}
