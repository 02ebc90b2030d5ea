//! Reading the rules of a family with `iptables-save`, on a thread beside everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use ipvs_codec::Family;
use ipvs_netfilter::iptables::SavedRules;

use super::program::{Running, failed};
use crate::control::Control;
use crate::error::PlaneError;

/// A program that yields to everything else gets so much time. On a busy node it might never come to its end.
const STARVED: Duration = Duration::from_secs(5);

/// Rules that are being read. The program is killed soon after this is dropped.
#[derive(Debug)]
pub(super) struct Saving {
    family: Family,
    saved: Receiver<Saved>,
    is_dropped: Arc<AtomicBool>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) rules: Result<SavedRules, PlaneError>,
    /// The program yielded to everything else, and the node was too busy for it to come to its end that way.
    pub(super) was_starved: bool,
}

impl Saving {
    /// Starts it. To start a process takes longer than a change should wait, and so does looking at one again and again: the
    /// thread waits for the program, and then wakes the run.
    pub(super) fn start(
        family: Family,
        program: &str,
        is_least_urgent: bool,
        control: &Control,
    ) -> Result<Self, PlaneError> {
        let is_dropped = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            program: program.to_owned(),
            is_least_urgent,
            control: control.clone(),
            is_dropped: Arc::clone(&is_dropped),
        };
        let (sender, saved) = sync_channel(1);
        let read = move || {
            let control = reader.control.clone();
            // Nobody takes it if it was dropped.
            let _ = sender.send(reader.read());
            control.wake();
        };
        let thread = thread::Builder::new().name("save".into()).spawn(read);
        thread.map_err(|error| failed(program, error.to_string()))?;
        Ok(Self {
            family,
            saved,
            is_dropped,
        })
    }

    /// Whose rules.
    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// What was read, once it is there.
    pub(super) fn poll(&self) -> Option<Saved> {
        match self.saved.try_recv() {
            Ok(saved) => Some(saved),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Saved {
                rules: Err(failed("iptables-save", "its thread panicked".to_owned())),
                was_starved: false,
            }),
        }
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

/// What the thread does.
struct Reader {
    program: String,
    is_least_urgent: bool,
    control: Control,
    is_dropped: Arc<AtomicBool>,
}

impl Reader {
    fn read(mut self) -> Saved {
        let was_least_urgent = self.is_least_urgent;
        let rules = self.run().map(|text| SavedRules::parse(&text));
        Saved {
            rules,
            was_starved: was_least_urgent && !self.is_least_urgent,
        }
    }

    fn run(&mut self) -> Result<String, PlaneError> {
        let mut running = self.start()?;
        loop {
            if let Some(text) = running.poll()? {
                return Ok(text);
            }
            if self.is_dropped.load(Ordering::Relaxed) || self.control.is_stopping() {
                let program = self.program.clone();
                return Err(PlaneError::Stopped { program });
            }
            if self.is_least_urgent && running.age() > STARVED {
                self.is_least_urgent = false;
                // Only some processes may take back what they gave away; others start anew.
                if !running.be_usual() {
                    running = self.start()?;
                }
            }
            running.wait_a_moment()?;
        }
    }

    fn start(&self) -> Result<Running, PlaneError> {
        let running = Running::start(&self.program, &[], "")?;
        if self.is_least_urgent {
            running.be_least_urgent();
        }
        Ok(running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell reads its script from its standard input, which is empty: it prints nothing and ends.
    const SAYS_NOTHING: &str = "sh";

    fn saved(program: &str) -> Saved {
        let control = Control::new();
        let saving = Saving::start(Family::Ipv4, program, true, &control).unwrap();
        loop {
            if let Some(saved) = saving.poll() {
                return saved;
            }
            // It wakes whoever waits.
            control.wait(Duration::MAX);
        }
    }

    #[test]
    fn whoever_waits_is_woken_when_the_rules_are_there() {
        let saved = saved(SAYS_NOTHING);
        assert_eq!(saved.rules.unwrap().chains().count(), 0);
        assert!(!saved.was_starved);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = saved("no-such-program").rules.unwrap_err().to_string();
        assert!(error.starts_with("no-such-program: "), "{error}");
    }

    #[test]
    fn it_ends_when_nobody_wants_the_rules_any_more() {
        let control = Control::new();
        // `yes` never ends.
        let saving = Saving::start(Family::Ipv4, "yes", false, &control).unwrap();
        drop(saving);
        control.wait(Duration::MAX);
    }
}
