//! The Kubernetes API as a source of changes. The client runs on a thread of its own; what it learns waits in a channel.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::access::{Access, ClusterError, configuration, unusable};
use super::polled::{Notice, Polled, Source};
use super::reporter::{Reporter, Said};
use super::watch::{Nodes, client, watch};
use crate::thread::LastingThread;

/// The Services, EndpointSlices and Nodes of a cluster, as kube-proxy selects them.
///
/// Objects are listed, then watched; a lost watch is resumed. After a new list, what is missing in it is gone: nothing is
/// deleted in between, and nothing while the server is away. `managedFields` and everything else that does not concern a
/// node is dropped as it arrives. Should the client's thread end, [`Polled::ended`] says so.
///
/// ```no_run
/// use ipvs_proxier::{Access, Cluster, Nodes, Source as _};
///
/// let this = std::thread::current();
/// let wake = move || this.unpark();
/// let mut cluster = Cluster::connect(&Access::default(), Nodes::Only("node-0".into()), wake)?;
/// while !cluster.is_complete() {
///     std::thread::park_timeout(std::time::Duration::from_secs(1));
///     let changes = cluster.poll().changes;
/// }
/// # Ok::<(), ipvs_proxier::ClusterError>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    said: Receiver<Said>,
    listed: BTreeSet<&'static str>,
    connected: Arc<AtomicBool>,
    notices: UnboundedSender<Notice>,
    client: LastingThread,
}

/// The kinds of objects that are watched.
const KINDS: usize = 3;

impl Cluster {
    /// Reads the access, and starts to list and watch. `wake` is called whenever there is something to poll.
    ///
    /// # Errors
    /// [`ClusterError`] when the access cannot be used. A server that does not answer is waited for.
    pub fn connect(
        access: &Access,
        nodes: Nodes,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, said) = channel();
        let connected = Arc::new(AtomicBool::new(false));
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let reporter = Reporter {
            sender,
            wake: Arc::clone(&wake),
            connected: Arc::clone(&connected),
        };
        let client = runtime.block_on(async {
            let config = configuration(access).await?;
            client(config, &reporter).map_err(|error| unusable(access.name(), &error))
        })?;
        let (notices, published) = unbounded_channel();
        let work = move || {
            // To drop it is to wait for names that are being resolved, which a panic must not do.
            let runtime = ManuallyDrop::new(runtime);
            let why = runtime.block_on(watch(client, nodes, reporter, published));
            ManuallyDrop::into_inner(runtime).shutdown_background();
            why
        };
        let client = LastingThread::start("kubernetes", work, move || wake())?;
        Ok(Self {
            said,
            listed: BTreeSet::new(),
            connected,
            notices,
            client,
        })
    }

    /// Whether the server answered last. While it does not, the last state stays in force.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Source for Cluster {
    fn poll(&mut self) -> Polled {
        // Asked first: what it said before its end is in the channel then.
        let ended = self.client.ended();
        let mut polled = Polled {
            ended: ended.map(|why| format!("the client of the Kubernetes API has ended: {why}")),
            ..Polled::default()
        };
        for said in self.said.try_iter() {
            match said {
                Said::Change(change, trigger) => {
                    polled.changes.push(*change);
                    polled.triggers.extend(trigger);
                }
                Said::Listed(kind) => {
                    self.listed.insert(kind);
                }
                Said::Problem(problem) => polled.problems.push(problem),
            }
        }
        polled
    }

    fn is_complete(&self) -> bool {
        self.listed.len() == KINDS
    }

    /// As an Event, if the server takes it.
    fn tell(&mut self, notice: Notice) {
        // A client that has ended is reported by `poll`.
        let _ = self.notices.send(notice);
    }
}
