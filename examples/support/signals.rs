//! Signals, from the first step of `main` on: SIGTERM and SIGINT end the process, SIGHUP has the source and the
//! kernel's state read again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipvs_proxier::Control;
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
/// in the kernel stays in place, and each step of a sync can be the last. See [`unfinished_is_failure`].
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
    // By exit status: what the next signal ends the process with.
    let next = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for signal in [SIGTERM, SIGINT] {
        for (status, is_next) in (0..).zip(&next) {
            flag::register_conditional_shutdown(signal, status, Arc::clone(is_next))?;
        }
    }
    // After those that end the process: else the thread could have them end it by the signal that it hears of first.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let came = came.load(Ordering::SeqCst);
    let control = control.clone();
    let work = move || {
        if came {
            end(&control, patience, &next);
        }
        obey(signals, &control, patience, &next);
    };
    threads::spawn("signals", work)?;
    Ok(())
}

fn obey(mut signals: Signals, control: &Control, patience: Duration, next: &[Arc<AtomicBool>; 2]) {
    for signal in &mut signals {
        if signal == SIGHUP {
            control.reload();
        } else {
            end(control, patience, next);
        }
    }
}

/// Asks for the end, and ends the process if it does not come. The next signal ends it at once.
fn end(control: &Control, patience: Duration, [succeeds, fails]: &[Arc<AtomicBool>; 2]) {
    let is_once = IS_ONCE.load(Ordering::SeqCst);
    let is_next = if is_once { fails } else { succeeds };
    is_next.store(true, Ordering::SeqCst);
    control.stop();
    thread::sleep(patience);
    warn!("still waiting for something: ended by force; the kernel's state stays in place");
    log::flush(LAST_LINES);
    signal_hook::low_level::exit(i32::from(is_once));
}
