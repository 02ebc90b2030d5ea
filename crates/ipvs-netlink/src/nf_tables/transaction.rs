use std::fmt;
use std::thread;
use std::time::Duration;

use ipvs_codec::reply::Refusal;
use ipvs_netfilter::nftables::{Batch, Change};

use super::NfTables;
use crate::connection::{Answer, Head, Sent};
use crate::error::{Cause, Error};
use crate::listing::ATTEMPTS;

/// Another transaction came in between.
const ERESTART: i32 = 85;
/// The kernel is at something that ends by itself: a set grows, a module is being loaded.
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
/// How long is waited before each further attempt.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
];

/// Changes that are made together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction<'a> {
    changes: Vec<Change<'a>>,
    generation: Option<u32>,
}

impl<'a> Transaction<'a> {
    /// Changes in order, whatever the rules are by then.
    #[must_use]
    pub const fn new(changes: Vec<Change<'a>>) -> Self {
        Self {
            changes,
            generation: None,
        }
    }

    /// The same, but only while the rules are of the generation that they were read at.
    #[must_use]
    pub fn at(self, generation: u32) -> Self {
        Self {
            generation: Some(generation),
            ..self
        }
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &[Change<'a>] {
        &self.changes
    }
}

/// A change that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RefusedChange {
    /// Its place in the transaction.
    pub index: usize,
    /// What it was, and why. Of several entries it names the one that the kernel blames, where it says so.
    #[source]
    pub error: Error,
}

/// Why a transaction was not made. Nothing of it was, unless it is [`Failed`](Self::Failed) by a broken socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The rules are of another generation than it was made for.
    #[error("others changed rules meanwhile: read them again")]
    Stale,
    /// The kernel refused some changes, and so made none.
    #[error("{}", All(.0))]
    Refused(Vec<RefusedChange>),
    /// It does not fit the socket.
    #[error(
        "a transaction of {bytes} bytes is longer than the {limit} of the socket's send buffer: split it, or raise the sysctl \
         net.core.wmem_default"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The kernel refused it as a whole (`EPERM`, `EOPNOTSUPP`), or the socket broke, and whether it was made is unknown. The
    /// errors of more than some hundred changes do not fit the socket's receive buffer: [`Cause::Lost`].
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The first of several, and how many there are.
struct All<'a>(&'a [RefusedChange]);

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("refused");
        };
        write!(f, "{first}")?;
        match others.len() {
            0 => Ok(()),
            1 => f.write_str(", and one more change was refused"),
            more => write!(f, ", and {more} more changes were refused"),
        }
    }
}

impl TransactionError {
    /// The kernel's error number, of the first change that it refused or of the whole.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Stale => Some(ERESTART),
            Self::Refused(changes) => changes.first()?.error.cause().errno(),
            Self::TooLong { .. } => None,
            Self::Failed(error) => error.cause().errno(),
        }
    }

    /// Every change that was refused may succeed soon.
    fn is_busy(&self) -> bool {
        let busy = |error: &Error| matches!(error.cause().errno(), Some(EBUSY | EAGAIN));
        match self {
            Self::Refused(changes) => changes.iter().all(|change| busy(&change.error)),
            Self::Failed(error) => busy(error),
            Self::Stale | Self::TooLong { .. } => false,
        }
    }
}

type TransactionOutcome = Result<(), TransactionError>;

impl NfTables {
    /// Makes all changes of a transaction, or none. One datagram, and one for the answer. While the kernel says that it is
    /// busy (`EBUSY`, `EAGAIN`), it is sent again, for some 40 ms in all.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn transact(&mut self, transaction: &Transaction<'_>) -> Result<(), TransactionError> {
        let mut outcomes = self.transact_all(std::slice::from_ref(transaction));
        outcomes.pop().unwrap_or(Ok(()))
    }

    /// Makes transactions that do not depend on each other: each by itself, in order, one outcome for each. They are
    /// pipelined: answers are read for many at once. One that fails stops none behind it. Between two of them the kernel
    /// takes transactions of others.
    pub fn transact_all(
        &mut self,
        transactions: &[Transaction<'_>],
    ) -> Vec<Result<(), TransactionError>> {
        let mut outcomes: Vec<TransactionOutcome> = Vec::new();
        outcomes.resize_with(transactions.len(), || Ok(()));
        let mut left: Vec<usize> = (0..transactions.len()).collect();
        let mut pauses = PAUSES.into_iter();
        loop {
            self.send_each(transactions, &left, &mut outcomes);
            left.retain(|index| {
                let outcome = outcomes.get(*index);
                outcome
                    .is_some_and(|outcome| outcome.as_ref().is_err_and(TransactionError::is_busy))
            });
            match pauses.next() {
                Some(pause) if !left.is_empty() => thread::sleep(pause),
                _ => return outcomes,
            }
        }
    }

    /// Calls `attempt`, which reads rules and makes a transaction for their generation, until nobody changed rules in
    /// between.
    ///
    /// ```no_run
    /// use ipvs_netfilter::nftables::{Change, Family, TableId};
    /// use ipvs_netlink::{NfTables, Transaction};
    ///
    /// let id = TableId { family: Family::IPV4, name: "proxy".parse()? };
    /// NfTables::open()?.retry_stale(|tables| match tables.table(&id)? {
    ///     Some(found) if found.chains.is_empty() => {
    ///         tables.transact(&Transaction::new(vec![Change::DeleteTable(&id)]).at(found.generation))
    ///     }
    ///     _ => Ok(()),
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `attempt`; [`TransactionError::Stale`] after eight attempts.
    pub fn retry_stale<A>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<A, TransactionError>,
    ) -> Result<A, TransactionError> {
        for _ in 1..ATTEMPTS {
            match attempt(self) {
                Err(TransactionError::Stale) => {}
                done => return done,
            }
        }
        attempt(self)
    }

    /// Sends the transactions at these places, in windows whose errors fit the receive buffer.
    fn send_each(
        &mut self,
        transactions: &[Transaction<'_>],
        places: &[usize],
        outcomes: &mut [TransactionOutcome],
    ) {
        let limits = self.connection.limits();
        let mut window = Window::default();
        for &place in places {
            let Some(transaction) = transactions.get(place) else {
                continue;
            };
            if window.messages.saturating_add(transaction.changes.len()) > limits.messages {
                self.read_window(transactions, &mut window, outcomes);
            }
            let (sent, bytes) = self.write(transaction);
            let sending = if bytes > limits.longest {
                let limit = limits.longest;
                Err(TransactionError::TooLong { bytes, limit })
            } else {
                let sent = self.connection.send_written();
                sent.map_err(|cause| failed(transaction, cause))
            };
            match sending {
                Ok(()) => window.push(place, sent, transaction),
                Err(error) => {
                    // The answers to those before are lost where the socket broke.
                    if matches!(error, TransactionError::Failed(_)) {
                        window.fail(transactions, outcomes, Cause::Lost);
                    }
                    if let Some(outcome) = outcomes.get_mut(place) {
                        *outcome = Err(error);
                    }
                }
            }
        }
        self.read_window(transactions, &mut window, outcomes);
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> (Sent, usize) {
        let begin = Batch::Begin {
            generation: transaction.generation,
        };
        let edge = |batch: Batch, out: &mut Vec<u8>| {
            batch.emit(out);
            Head::new(batch.message_type())
        };
        self.connection.write_batch(
            |out| edge(begin, out),
            &transaction.changes,
            |change, out| {
                change.emit(out);
                Head {
                    kind: change.message_type(),
                    flags: change.flags(),
                }
            },
            |out| edge(Batch::End, out),
        )
    }

    fn read_window(
        &mut self,
        transactions: &[Transaction<'_>],
        window: &mut Window,
        outcomes: &mut [TransactionOutcome],
    ) {
        if window.sent.is_empty() {
            return;
        }
        match self.connection.answers(&window.sent) {
            Ok(answers) => {
                for (place, answer) in window.places.iter().zip(answers) {
                    let transaction = transactions.get(*place);
                    if let (Some(outcome), Some(transaction)) =
                        (outcomes.get_mut(*place), transaction)
                    {
                        *outcome = outcome_of(transaction, answer);
                    }
                }
                *window = Window::default();
            }
            Err(cause) => window.fail(transactions, outcomes, cause),
        }
    }
}

/// What was sent and not answered yet.
#[derive(Debug, Default)]
struct Window {
    places: Vec<usize>,
    sent: Vec<Sent>,
    messages: usize,
}

impl Window {
    fn push(&mut self, place: usize, sent: Sent, transaction: &Transaction<'_>) {
        self.places.push(place);
        self.sent.push(sent);
        self.messages = self.messages.saturating_add(transaction.changes.len());
    }

    /// What became of them is unknown: the first one says why.
    fn fail(
        &mut self,
        transactions: &[Transaction<'_>],
        outcomes: &mut [TransactionOutcome],
        cause: Cause,
    ) {
        let mut cause = Some(cause);
        for place in std::mem::take(self).places {
            let cause = cause.take().unwrap_or(Cause::Lost);
            if let (Some(outcome), Some(transaction)) =
                (outcomes.get_mut(place), transactions.get(place))
            {
                *outcome = Err(failed(transaction, cause));
            }
        }
    }
}

fn failed(transaction: &Transaction<'_>, cause: Cause) -> TransactionError {
    let operation = match transaction.changes.as_slice() {
        [change] => change.to_string(),
        changes => format!("make {} changes of nf_tables", changes.len()),
    };
    TransactionError::Failed(Error::new(operation, cause))
}

fn outcome_of(transaction: &Transaction<'_>, answer: Answer) -> TransactionOutcome {
    if answer.is_success() {
        return Ok(());
    }
    if !answer.items.is_empty() {
        let refused = answer.items.into_iter();
        let refused = refused.map(|(index, refusal)| RefusedChange {
            index,
            error: error_of(transaction.changes.get(index), refusal),
        });
        return Err(TransactionError::Refused(refused.collect()));
    }
    match answer.whole {
        Some(refusal) if refusal.errno == ERESTART && transaction.generation.is_some() => {
            Err(TransactionError::Stale)
        }
        Some(refusal) => Err(failed(transaction, refusal.into())),
        None => Ok(()),
    }
}

fn error_of(change: Option<&Change<'_>>, refusal: Refusal) -> Error {
    let operation = change.map_or_else(
        || "change nf_tables".to_owned(),
        |change| match refusal.offset.and_then(|offset| change.entry_at(offset)) {
            Some(entry) => change.of_entry(entry),
            None => change.to_string(),
        },
    );
    Error::new(operation, refusal)
}

#[cfg(test)]
mod tests {
    use ipvs_netfilter::nftables::{
        Entries, Entry, Family, KeyField, KeyType, Set, TableId, Value,
    };

    use super::*;

    fn refusal(errno: i32, offset: Option<u32>) -> Refusal {
        Refusal {
            errno,
            text: None,
            offset,
        }
    }

    fn answer(whole: Option<Refusal>, items: Vec<(usize, Refusal)>) -> Answer {
        Answer { whole, items }
    }

    #[test]
    fn what_is_refused_is_named() {
        let id = TableId {
            family: Family::IPV4,
            name: "t".parse().unwrap(),
        };
        let key = KeyType::of(&[KeyField::Port]).unwrap();
        let set = Set::new(id.set("s".parse().unwrap()), &key);
        let ports = [80, 443].map(|port| Entry::of(Value::port(port)));
        let ports = Entries::split(&ports, 1000).0;
        let changes = vec![
            Change::DeleteTable(&id),
            Change::AddEntries(&set, ports),
            Change::DeleteEntries(&set, ports),
        ];
        let transaction = Transaction::new(changes);
        let said = |items| {
            let outcome = outcome_of(&transaction, answer(None, items));
            outcome.unwrap_err().to_string()
        };
        assert_eq!(
            said(vec![(0, refusal(2, Some(20)))]),
            "delete table ip t: No such file or directory (os error 2)"
        );
        // The second entry begins 56 bytes behind the start of the message; elsewhere there is none.
        assert_eq!(
            said(vec![(1, refusal(23, Some(56))), (2, refusal(2, None))]),
            "add entry 443 to set ip t s: Too many open files in system (os error 23), and one more change was refused"
        );
        assert_eq!(
            said(vec![
                (2, refusal(2, Some(4))),
                (0, refusal(2, None)),
                (9, refusal(2, None))
            ]),
            "delete 2 entries from set ip t s: No such file or directory (os error 2), and 2 more changes were refused"
        );
    }

    #[test]
    fn only_a_transaction_for_a_generation_is_stale() {
        let id = TableId {
            family: Family::IPV4,
            name: "t".parse().unwrap(),
        };
        let free = Transaction::new(vec![Change::FlushTable(&id)]);
        let bound = free.clone().at(7);
        let whole = |errno| answer(Some(refusal(errno, None)), Vec::new());
        let stale = outcome_of(&bound, whole(ERESTART));
        assert!(matches!(stale, Err(TransactionError::Stale)));
        let failed = outcome_of(&free, whole(ERESTART)).unwrap_err();
        assert_eq!((failed.errno(), failed.is_busy()), (Some(ERESTART), false));
        let busy = outcome_of(&bound, whole(EBUSY)).unwrap_err();
        assert!(busy.is_busy());
        let one_of_two = vec![(0, refusal(EBUSY, None)), (0, refusal(2, None))];
        let refused = outcome_of(&free, answer(None, one_of_two)).unwrap_err();
        assert!(!refused.is_busy(), "the other one will be refused again");
        assert!(outcome_of(&free, Answer::default()).is_ok());
    }
}
