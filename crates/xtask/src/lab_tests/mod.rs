//! The tests that need the lab, dealt out to as many guests as this machine can run.

mod program;
mod report;

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

pub(crate) use self::report::Report;
use crate::demo::{build_examples, examples_variable};
use crate::lab::{self, Kernel, LabOptions};
use crate::workspace::target;

/// For each guest that runs beside others: enough that none has much more to do, few enough that booting is cheap.
const HANDS: usize = 4;
/// What the tests start their proxiers with, where they do not ask for a filter.
const FILTER: &str = "IPVS_LAB_FILTER";
/// Tests of the start on a kernel that has loaded nothing yet.
const COLD: &[u8] = b"cold::";

/// The lab tests, built.
#[derive(Debug)]
pub(crate) struct LabTests {
    program: PathBuf,
    examples: PathBuf,
}

/// Some tests, for a guest of their own.
struct Hand {
    names: Vec<OsString>,
    is_cold: bool,
}

impl LabTests {
    /// Builds them and the programs that they run.
    ///
    /// # Errors
    /// If something does not build.
    pub(crate) fn build() -> Result<Self> {
        Ok(Self {
            examples: build_examples(false, &[])?,
            program: program::build()?,
        })
    }

    /// Runs those that `words` select, with more in their environment. The lab must be there.
    ///
    /// # Errors
    /// If the lab cannot be run; tests that fail are in the report.
    pub(crate) fn run(
        &self,
        options: &LabOptions,
        environment: &[OsString],
        words: &[OsString],
    ) -> Result<Report> {
        let mut command = vec![OsString::from("env"), examples_variable(&self.examples)];
        command.extend_from_slice(environment);
        let filter = options
            .filter
            .map(|filter| format!("{FILTER}={}", filter.name()));
        command.extend(filter.map(OsString::from));
        command.push(self.program.clone().into());
        // What a test says of its requests and failures stands on its line.
        command.extend(["--test-threads=1", "--nocapture", "--exact"].map(OsString::from));
        let is_flag = |word: &&OsString| word.as_bytes().starts_with(b"--");
        command.extend(words.iter().filter(is_flag).cloned());
        let guests = guests(options.kernel());
        let names = program::names(&self.program, words)?;
        let has_guests = options.kernel() != Kernel::Native;
        let (cold, warm): (Vec<OsString>, Vec<OsString>) = names
            .into_iter()
            .partition(|name| has_guests && name.as_bytes().starts_with(COLD));
        let count = if guests > 1 { guests * HANDS } else { 1 };
        let count = count.min(warm.len());
        // In turn: neighbours are alike, so each gets as much of each kind.
        let hands = (0..count).map(|first| Hand {
            names: warm.iter().skip(first).step_by(count).cloned().collect(),
            is_cold: false,
        });
        let cold = (!cold.is_empty()).then_some(Hand {
            names: cold,
            is_cold: true,
        });
        let hands: Vec<Hand> = hands.chain(cold).collect();
        run_beside(options, guests, &command, &hands)
    }
}

/// How many run at a time.
fn guests(kernel: Kernel) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    match kernel {
        // It stays the same one, and its modules and sysctls with it.
        Kernel::Native => 1,
        // Each has one processor, and its tests wait for a third of the time (32 s of CPU in 45 s).
        Kernel::Uml => processors.saturating_add(1),
        // Each has two processors.
        Kernel::Debian(_) => (processors / 2).max(1),
    }
}

/// Runs each hand in a guest of its own, so many at a time. What one says is seen when it has ended.
fn run_beside(
    options: &LabOptions,
    guests: usize,
    command: &[OsString],
    hands: &[Hand],
) -> Result<Report> {
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let mut report = Report::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(hand) = hands.get(number) else {
                return anyhow::Ok(report);
            };
            let words: Vec<OsString> = command.iter().chain(&hand.names).cloned().collect();
            let options = LabOptions {
                cold: options.cold || hand.is_cold,
                ..options.clone()
            };
            let file = target().join(format!("lab-tests-{number}.txt"));
            let status = lab::run_into(&options, &words, &file);
            let said = fs::read(&file)?;
            std::io::stdout().write_all(&said)?;
            let said = String::from_utf8_lossy(&said);
            report += Report::of(&said, hand.names.len(), status?);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..guests.min(hands.len()))
            .map(|_| scope.spawn(one_after_the_other))
            .collect();
        let mut report = Report::default();
        for thread in threads {
            report += thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(report)
    })
}
