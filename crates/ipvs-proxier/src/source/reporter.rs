//! From those who follow to whoever polls: what is learnt waits here, within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use ipvs_model::input::{Change, ObjectKind};
use tokio::sync::Notify;

use super::polled::Trigger;

/// What may wait to be polled, in bytes, about. Whoever reads more from the server waits, and with it the server.
const MOST: usize = 64 << 20;

/// What the client's thread says.
#[derive(Debug)]
pub(super) enum Said {
    Change(Box<Change>, Option<Trigger>),
    /// A list of a kind is complete.
    Listed(&'static str),
    /// For the log, once.
    Problem(String),
    /// What of a kind cannot be used now, if anything.
    Unusable(ObjectKind, Vec<String>),
    /// What is wrong with the credentials now, if anything.
    Credentials(Option<String>),
}

/// Where those who follow tell what they learn.
#[derive(Clone)]
pub(super) struct Reporter {
    sender: Sender<(usize, Said)>,
    wake: Arc<dyn Fn() + Send + Sync>,
    waiting: Arc<Waiting>,
}

/// What was said and not yet taken.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver<(usize, Said)>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    taken: Notify,
}

/// Both ends. `wake` is called whenever there is something to take.
pub(super) fn reporter(wake: impl Fn() + Send + Sync + 'static) -> (Reporter, Inbox) {
    let (sender, receiver) = channel();
    let waiting = Arc::<Waiting>::default();
    let reporter = Reporter {
        sender,
        wake: Arc::new(wake),
        waiting: Arc::clone(&waiting),
    };
    (reporter, Inbox { receiver, waiting })
}

impl Reporter {
    /// Nobody listens any more once the source is dropped: the client ends with the process.
    pub(super) fn say(&self, said: Said) {
        self.mention(said);
        (self.wake)();
    }

    /// Says it without waking anybody: more is coming.
    pub(super) fn mention(&self, said: Said) {
        self.mention_of(0, said);
    }

    /// The same of something of this weight.
    pub(super) fn mention_of(&self, weight: usize, said: Said) {
        self.waiting.bytes.fetch_add(weight, Ordering::Relaxed);
        // As above.
        let _ = self.sender.send((weight, said));
    }

    /// Wakes whoever polls.
    pub(super) fn wake(&self) {
        (self.wake)();
    }

    /// Waits until there is room for more.
    pub(super) async fn room(&self) {
        loop {
            // It hears of what is taken from now on.
            let taken = self.waiting.taken.notified();
            if self.waiting.bytes.load(Ordering::Relaxed) < MOST {
                return;
            }
            (self.wake)();
            taken.await;
        }
    }
}

impl Inbox {
    /// What was said next, if anything.
    pub(super) fn next(&self) -> Option<Said> {
        let (weight, said) = self.receiver.try_recv().ok()?;
        if weight > 0 {
            let before = self.waiting.bytes.fetch_sub(weight, Ordering::Relaxed);
            if before >= MOST {
                self.waiting.taken.notify_waiters();
            }
        }
        Some(said)
    }

    /// Everything that was said so far.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = Said> {
        std::iter::from_fn(|| self.next())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn who_reads_waits_while_much_is_not_taken() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let (reporter, inbox) = reporter(|| {});
        let say = || reporter.mention_of(MOST / 2, Said::Listed("Node"));
        runtime.block_on(async {
            let hour = Duration::from_secs(3600);
            say();
            reporter.room().await;
            say();
            say();
            assert!(timeout(hour, reporter.room()).await.is_err());
            let taking = async {
                tokio::time::sleep(hour).await;
                assert_eq!(inbox.all().take(2).count(), 2);
            };
            let both = futures_util::future::join(reporter.room(), taking);
            assert!(timeout(hour * 2, both).await.is_ok());
        });
    }
}
