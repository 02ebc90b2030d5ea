//! Threads without which a process is not whole.

use std::io;
use std::thread;

use ipvs_proxier::end_programs;

/// Runs `work` on a thread. Should it panic, the process ends with status 1: without the thread it would look well and not
/// be.
///
/// # Errors
/// When there can be no thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::Thread> {
    let all = move || {
        let _whole = Whole;
        work();
    };
    let thread = thread::Builder::new().name(name.into()).spawn(all)?;
    Ok(thread.thread().clone())
}

struct Whole;

impl Drop for Whole {
    fn drop(&mut self) {
        if thread::panicking() {
            end_programs();
            signal_hook::low_level::exit(1);
        }
    }
}
