use std::fmt;

use ipvs_netfilter::nftables::{Change, Entries, Entry, Set};

use super::{NfTables, Transaction, TransactionError};
use crate::connection::Answered;
use crate::error::{Cause, Error, Outcome};

/// Entries of a set that are added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRun<'a> {
    /// These are added. One that is there is left.
    Add(&'a Set, &'a [Entry]),
    /// These are removed.
    Delete(&'a Set, &'a [Entry]),
}

impl<'a> EntryRun<'a> {
    const fn entries(&self) -> &'a [Entry] {
        match self {
            Self::Add(_, entries) | Self::Delete(_, entries) => entries,
        }
    }

    const fn change(&self, entries: Entries<'a>) -> Change<'a> {
        match self {
            Self::Add(set, _) => Change::AddEntries(set, entries),
            Self::Delete(set, _) => Change::DeleteEntries(set, entries),
        }
    }
}

impl fmt::Display for EntryRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(set, _) => write!(f, "add an entry to set {}", set.id),
            Self::Delete(set, _) => write!(f, "delete an entry from set {}", set.id),
        }
    }
}

/// Entries of a run that go in one message.
#[derive(Debug, Clone, Copy)]
struct Piece {
    run: usize,
    first: usize,
    count: usize,
}

impl NfTables {
    /// How long the transactions of [`change_entries`](Self::change_entries) are at most, in bytes: the kernel makes no
    /// other change while it works on one. A third of the socket's send buffer (70 KB) unless it is set; at most two thirds
    /// count. An entry of an IPv4 address, a protocol and a port has 24 bytes.
    pub fn set_transaction_bytes(&mut self, bytes: usize) {
        let third = self.connection.limits().bytes;
        self.transaction_bytes = bytes.min(third.saturating_mul(2)).max(1);
    }

    /// Changes entries, in as many transactions as it takes: one outcome for each entry of each run, in order. An entry that
    /// the kernel refuses stops no other one: the others of its transaction are sent again without it.
    ///
    /// No entry may be in two runs: in which order they are changed is left open.
    pub fn change_entries(&mut self, runs: &[EntryRun<'_>]) -> Vec<Vec<Outcome>> {
        let named = |(outcomes, run): (Vec<Answered>, &EntryRun<'_>)| {
            let failed = |cause| Error::new(run.to_string(), cause);
            let outcomes = outcomes.into_iter();
            outcomes.map(|outcome| outcome.map_err(failed)).collect()
        };
        let outcomes = self.change_all(runs).into_iter();
        outcomes.zip(runs).map(named).collect()
    }

    fn change_all(&mut self, runs: &[EntryRun<'_>]) -> Vec<Vec<Answered>> {
        let mut outcomes: Vec<Vec<Answered>> = Vec::with_capacity(runs.len());
        for run in runs {
            outcomes.push(run.entries().iter().map(|_| Ok(())).collect());
        }
        let pieces = cut(runs, self.transaction_bytes);
        let changes = pieces.iter().map(|pieces| {
            let changes = pieces.iter().filter_map(|piece| {
                let run = runs.get(piece.run)?;
                let entries = run.entries().get(piece.first..)?.get(..piece.count)?;
                Some(run.change(Entries::split(entries, usize::MAX).0))
            });
            Transaction::new(changes.collect())
        });
        let transactions: Vec<_> = changes.collect();
        let made = self.transact_all(&transactions);
        for (pieces, made) in pieces.iter().zip(made) {
            let Err(error) = made else { continue };
            let singles = pieces.iter().flat_map(|piece| {
                let end = piece.first.saturating_add(piece.count);
                (piece.first..end).map(|at| (piece.run, at))
            });
            let singles: Vec<_> = singles.collect();
            if let TransactionError::Refused(_) = error {
                // Fewer than a window has, so that all may fail.
                let most = self.connection.limits().messages.saturating_sub(2).max(1);
                for singles in singles.chunks(most) {
                    self.change_each(runs, singles.to_vec(), &mut outcomes);
                }
            } else {
                fail(&singles, error, &mut outcomes);
            }
        }
        outcomes
    }

    /// Changes entries with a message for each, so that the kernel names all that it refuses, and then the others.
    fn change_each(
        &mut self,
        runs: &[EntryRun<'_>],
        mut left: Vec<(usize, usize)>,
        outcomes: &mut [Vec<Answered>],
    ) {
        while !left.is_empty() {
            let changes = left.iter().filter_map(|&(run, at)| {
                let run = runs.get(run)?;
                let entry = run.entries().get(at..)?.get(..1)?;
                Some(run.change(Entries::split(entry, usize::MAX).0))
            });
            let transaction = Transaction::new(changes.collect());
            match self.transact(&transaction) {
                Ok(()) => return,
                Err(TransactionError::Refused(refused)) if !refused.is_empty() => {
                    for change in refused.into_iter().rev() {
                        if change.index < left.len() {
                            let (run, at) = left.remove(change.index);
                            set(outcomes, run, at, Err(change.error.into()));
                        }
                    }
                }
                Err(error) => return fail(&left, error, outcomes),
            }
        }
    }
}

/// Messages for each transaction of at most so many bytes.
fn cut(runs: &[EntryRun<'_>], bytes: usize) -> Vec<Vec<Piece>> {
    let mut transactions: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for (run, entries) in runs.iter().map(EntryRun::entries).enumerate() {
        let mut rest = entries;
        while !rest.is_empty() {
            let (mut entries, mut behind) = Entries::split(rest, room);
            let mut taken = entries.bytes();
            if taken > room {
                transactions.push(Vec::new());
                (entries, behind) = Entries::split(rest, bytes);
                taken = entries.bytes();
                room = bytes;
            }
            room = room.saturating_sub(taken);
            if let Some(pieces) = transactions.last_mut() {
                pieces.push(Piece {
                    run,
                    first: run_length(runs, run).saturating_sub(rest.len()),
                    count: entries.as_slice().len(),
                });
            }
            rest = behind;
        }
    }
    transactions
}

fn run_length(runs: &[EntryRun<'_>], run: usize) -> usize {
    runs.get(run).map_or(0, |run| run.entries().len())
}

fn set(outcomes: &mut [Vec<Answered>], run: usize, at: usize, value: Answered) {
    if let Some(outcome) = outcomes.get_mut(run).and_then(|run| run.get_mut(at)) {
        *outcome = value;
    }
}

/// A transaction that failed as a whole: all of its entries did.
fn fail(singles: &[(usize, usize)], error: TransactionError, outcomes: &mut [Vec<Answered>]) {
    let cause = match error {
        TransactionError::Failed(error) => error.into(),
        error => Cause::Unsupported(error.to_string()),
    };
    let kernel = match &cause {
        Cause::Kernel(error) => Some(error.clone()),
        _ => None,
    };
    let mut cause = Some(cause);
    for &(run, at) in singles {
        let again = || kernel.clone().map_or(Cause::Lost, Cause::Kernel);
        set(outcomes, run, at, Err(cause.take().unwrap_or_else(again)));
    }
}

#[cfg(test)]
mod tests {
    use ipvs_netfilter::nftables::{Family, KeyField, KeyType, TableId, Value};

    use super::*;

    #[test]
    fn runs_are_cut_into_transactions_that_fit() {
        let table = TableId {
            family: Family::IPV4,
            name: "t".parse().unwrap(),
        };
        let key = KeyType::of(&[KeyField::Port]).unwrap();
        let set = Set::new(table.set("s".parse().unwrap()), &key);
        let ports: Vec<Entry> = (0..1000).map(|port| Entry::of(Value::port(port))).collect();
        // Each has 16 bytes.
        let runs = [
            EntryRun::Add(&set, &ports[..300]),
            EntryRun::Delete(&set, &[]),
            EntryRun::Delete(&set, &ports[300..]),
        ];
        for bytes in [1, 16, 100, 1600, 4800, 1_000_000] {
            let transactions = cut(&runs, bytes);
            let mut next = [0; 3];
            for pieces in &transactions {
                let count: usize = pieces.iter().map(|piece| piece.count).sum();
                assert!(count * 16 <= bytes.max(16), "{bytes}");
                for piece in pieces {
                    assert_eq!(piece.first, next[piece.run], "{bytes}");
                    next[piece.run] += piece.count;
                }
            }
            assert_eq!(next, [300, 0, 700], "{bytes}");
        }
        assert_eq!(cut(&runs, 1600).len(), 10);
        assert_eq!(cut(&runs, 1_000_000).len(), 1);
        assert!(cut(&[], 100).is_empty());
    }
}
