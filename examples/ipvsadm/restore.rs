//! Changes, one or many: `-R` sends them as batches.

use std::io::Read as _;

use ipvs_netlink::Ipvs;

use crate::change::Change;
use crate::command::{self, Action};
use crate::failure::Failure;
use crate::names::Names;
use crate::show;

/// Makes the changes that standard input says, a command line in each line. What the kernel refuses is reported and
/// passed over; a line that makes no sense ends the restoring behind those before it.
pub(crate) fn restore(program: &str, ipvs: &mut Ipvs, names: &mut Names) -> Result<(), Failure> {
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    read.map_err(|error| Failure::refused(format!("cannot read standard input: {error}")))?;
    let text = String::from_utf8_lossy(&text);
    let mut changes = Vec::new();
    let mut last = Ok(());
    for line in text.lines() {
        let words: Vec<String> = line
            .split_whitespace()
            .filter(|word| *word != "ipvsadm")
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            continue;
        }
        report(std::mem::replace(&mut last, Ok(())));
        let other = match command::read(program, &words, names) {
            Ok(Action::Change(change)) => {
                changes.push(change);
                continue;
            }
            other => other,
        };
        // All before it is done first.
        report(apply(ipvs, &std::mem::take(&mut changes)));
        last = match other {
            Ok(Action::Restore) => Err(Failure::try_help(program)),
            Ok(action @ (Action::Help | Action::Version)) => {
                return show::show(program, ipvs, action, names);
            }
            Ok(action) => show::show(program, ipvs, action, names),
            Err(failure) => Err(failure),
        };
        if matches!(&last, Err(failure) if !failure.passed_over) {
            return last;
        }
    }
    if changes.is_empty() {
        last
    } else {
        apply(ipvs, &changes)
    }
}

/// Makes changes in their order, all of them whatever becomes of one. Refusals are reported; that of the last change is
/// the result.
pub(crate) fn apply(ipvs: &mut Ipvs, changes: &[Change]) -> Result<(), Failure> {
    let requests: Vec<_> = changes.iter().map(Change::request).collect();
    let mut last = Ok(());
    for (change, outcome) in changes.iter().zip(ipvs.batch(&requests)) {
        report(last);
        last = outcome.map_err(|error| Failure::refused(change.meaning(error.cause())));
    }
    last
}

fn report(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        failure.report();
    }
}
