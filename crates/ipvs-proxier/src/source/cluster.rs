//! The Kubernetes API as a source of changes. The client runs on a thread of its own; what it learns waits in a channel.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use ipvs_model::input::Change;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::watch::{Reporter, client, watch};
use super::{Notice, Polled, Source, Trigger};

/// How to reach the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file: certificates, tokens and exec plugins.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL, instead of the kubeconfig's. Without either, the service account of the pod is used.
    pub master: Option<String>,
}

impl Access {
    /// What an error is about.
    fn name(&self) -> String {
        match (&self.kubeconfig, &self.master) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(url)) => server(url),
            (None, None) => "service account".to_owned(),
        }
    }
}

/// Which Nodes are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// The one of this name: this node's.
    Only(String),
    /// All: for weights by node, and where the addresses of other nodes are protected.
    All,
}

/// Why the API cannot be used. Problems that may pass, as a server that is away, are none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The kubeconfig, or the service account, cannot be used.
    #[error("{what}: {reason}")]
    Access {
        /// The file, the server, or `service account`.
        what: String,
        /// Why.
        reason: String,
    },
    /// No thread for the client.
    #[error("cannot start the client: {0}")]
    Start(#[from] std::io::Error),
}

/// The Services, EndpointSlices and Nodes of a cluster, as kube-proxy selects them.
///
/// Objects are listed, then watched; a lost watch is resumed. After a new list, what is missing in it is gone: nothing is
/// deleted in between, and nothing while the server is away. `managedFields` and everything else that does not concern a
/// node is dropped as it arrives.
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
}

/// The kinds of objects that are watched.
const KINDS: usize = 3;

/// What the client's thread says.
#[derive(Debug)]
pub(super) enum Said {
    Change(Box<Change>, Option<Trigger>),
    /// A list of a kind is complete.
    Listed(&'static str),
    Problem(String),
}

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
        let reporter = Reporter {
            sender,
            wake: Arc::new(wake),
            connected: Arc::clone(&connected),
        };
        let client = runtime.block_on(async {
            let config = configuration(access).await?;
            client(config, &reporter).map_err(|error| unusable(access.name(), &error))
        })?;
        let (notices, told) = unbounded_channel();
        let work = move || runtime.block_on(watch(client, nodes, reporter, told));
        std::thread::Builder::new()
            .name("kubernetes".into())
            .spawn(work)?;
        Ok(Self {
            said,
            listed: BTreeSet::new(),
            connected,
            notices,
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
        let mut polled = Polled::default();
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
        // The client lives for as long as the process.
        let _ = self.notices.send(notice);
    }
}

async fn configuration(access: &Access) -> Result<Config, ClusterError> {
    let mut config = match (&access.kubeconfig, &access.master) {
        (Some(path), _) => {
            let file =
                Kubeconfig::read_from(path).map_err(|error| unusable(access.name(), &error))?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|error| unusable(access.name(), &error))?
        }
        (None, Some(_)) => Config::new(Default::default()),
        (None, None) => Config::incluster().map_err(|error| unusable(access.name(), &error))?,
    };
    if let Some(master) = &access.master {
        config.cluster_url = match master.parse() {
            Ok(url) => url,
            Err(error) => return Err(unusable(server(master), &error)),
        };
    }
    if config.cluster_url.scheme_str() == Some("http") {
        // Otherwise the client reads all that the system trusts, which is hundreds of files.
        config.root_cert.get_or_insert_default();
    }
    Ok(config)
}

fn server(url: &str) -> String {
    format!("server {url}")
}

fn unusable(what: String, error: &dyn std::error::Error) -> ClusterError {
    ClusterError::Access {
        what,
        reason: with_causes(error),
    }
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
