//! The Kubernetes API as a source of changes. The client runs on a thread of its own; what it learns waits in a channel.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::access::{Access, ClusterError};
use super::events::publish;
use super::follow::Follower;
use super::polled::{Notice, Polled, Source};
use super::reporter::{Inbox, Reporter, Said, reporter};
use super::selection::{Nodes, Selection};
use super::session::Session;
use crate::api_observer::ApiObserver;
use crate::thread::LastingThread;

/// The Services, EndpointSlices and Nodes of a cluster, as kube-proxy selects them.
///
/// Objects are listed, then watched; a lost watch is resumed. After a new list, what is missing in it is gone: nothing is
/// deleted in between, and nothing while the server is away. `managedFields` and everything else that does not concern a
/// node is dropped as it arrives. Should the client's thread end, [`Polled::ended`] says so.
///
/// Every request has an end, and a connection that is dead is noticed after 17 s. What the server refuses is retried with
/// back-off, 0.8 s at first, 10 s at most.
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
    said: Inbox,
    listed: BTreeSet<&'static str>,
    credentials: Option<String>,
    /// What of the objects cannot be used, by kind.
    unusable: BTreeMap<&'static str, Vec<String>>,
    /// All of that.
    problems: Vec<String>,
    connected: Arc<AtomicBool>,
    /// None once it is dropped.
    notices: Option<mpsc::Sender<Notice>>,
    client: LastingThread,
}

/// The kinds of objects that are watched.
const KINDS: usize = 3;
/// Notices that wait while the server is away; later ones are dropped.
const NOTICES: usize = 256;
/// What the client may take to end. It does so at once, unless it has no time on the processor.
const LAST: Duration = Duration::from_secs(1);

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
        Self::connect_observed(access, nodes, (), wake)
    }

    /// The same, with somebody who learns of every request.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_observed(
        access: &Access,
        nodes: Nodes,
        observer: impl ApiObserver + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let connected = Arc::new(AtomicBool::new(false));
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let (reporter, said) = {
            let wake = Arc::clone(&wake);
            reporter(move || wake())
        };
        let session = Session::open(
            access.clone(),
            Arc::new(observer),
            reporter.clone(),
            Arc::clone(&connected),
        );
        let session = match runtime.block_on(session) {
            Ok(session) => session,
            Err(error) => {
                // To drop it is to wait for files that are still being read.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (notices, published) = mpsc::channel(NOTICES);
        let work = move || {
            // To drop it is to wait for names that are being resolved, which a panic must not do.
            let runtime = ManuallyDrop::new(runtime);
            let why = runtime.block_on(work(&session, nodes, &reporter, published));
            ManuallyDrop::into_inner(runtime).shutdown_background();
            why
        };
        let client = LastingThread::start("kubernetes", work, move || wake())?;
        Ok(Self {
            said,
            listed: BTreeSet::new(),
            credentials: None,
            unusable: BTreeMap::new(),
            problems: Vec::new(),
            connected,
            notices: Some(notices),
            client,
        })
    }

    /// Whether the server answered last. While it does not, the last state stays in force.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Cluster {
    /// Waits for a moment until the client has ended, and with it a plugin that it runs: the process may be about to end.
    fn drop(&mut self) {
        // It ends for want of who tells it anything.
        self.notices = None;
        let begin = Instant::now();
        while self.client.ended().is_none() && begin.elapsed() < LAST {
            sleep(Duration::from_millis(1));
        }
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
        let mut is_other = false;
        while let Some(said) = self.said.next() {
            match said {
                Said::Change(change, trigger) => {
                    polled.changes.push(*change);
                    polled.triggers.extend(trigger);
                }
                Said::Listed(kind) => {
                    self.listed.insert(kind);
                }
                Said::Problem(problem) => polled.problems.push(problem),
                Said::Unusable(kind, problems) => {
                    self.unusable.insert(kind.name(), problems);
                    is_other = true;
                }
                Said::Credentials(problem) => {
                    // The session has logged it.
                    self.credentials = problem.map(|problem| format!("credentials: {problem}"));
                    is_other = true;
                }
            }
        }
        if is_other {
            let unusable = self.unusable.values().flatten();
            self.problems = self.credentials.iter().chain(unusable).cloned().collect();
        }
        polled
    }

    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn wakes(&self) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        self.listed.len() == KINDS
    }

    /// As an Event, if the server takes it.
    fn tell(&mut self, notice: Notice) {
        // A client that has ended is reported by `poll`, and what is told is in the log of who tells it.
        let _ = self
            .notices
            .as_ref()
            .map(|notices| notices.try_send(notice));
    }
}

/// Follows every kind, and publishes. Says why it has ended all the same: with one kind of objects less, nothing is right.
async fn work(
    session: &Session,
    nodes: Nodes,
    reporter: &Reporter,
    notices: mpsc::Receiver<Notice>,
) -> String {
    let follow = |selection| Box::pin(Follower::new(session, selection, reporter).run());
    let publish = async {
        publish(session, notices).await;
        "nobody follows it any more".to_owned()
    };
    let renew = async { session.follow_credentials().await };
    first([
        follow(Selection::services()),
        follow(Selection::slices()),
        follow(Selection::nodes(nodes)),
        Box::pin(publish),
        Box::pin(renew),
    ])
    .await
}

/// The result of the one that ends first.
async fn first(mut all: [Pin<Box<dyn Future<Output = String> + '_>>; 5]) -> String {
    poll_fn(|context| {
        let mut polled = all.iter_mut().map(|one| one.as_mut().poll(context));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::{current, park_timeout};

    use super::*;

    /// The server is away all the while.
    #[test]
    fn credentials_that_cannot_be_used_are_a_problem_for_as_long_as_they_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let good = "{current-context: a, clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], \
            contexts: [{name: a, context: {cluster: a}}]}";
        fs::write(&path, good).unwrap();
        let access = Access {
            kubeconfig: Some(path.clone()),
            ..Access::default()
        };
        let this = current();
        let mut cluster = Cluster::connect(&access, Nodes::All, move || this.unpark()).unwrap();
        let mut until = |is_well: bool| {
            while cluster.poll().ended.is_none() && cluster.problems().is_empty() != is_well {
                park_timeout(Duration::from_millis(100));
            }
            cluster.problems().to_vec()
        };
        assert!(until(true).is_empty());
        for wrong in [Some("{"), None] {
            match wrong {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let problems = until(false);
            let start = format!("credentials: {}: ", path.display());
            assert!(problems[0].starts_with(&start), "{problems:?}");
            assert_eq!(problems.len(), 1);
            fs::write(&path, good).unwrap();
            assert!(until(true).is_empty());
        }
    }

    #[test]
    fn a_plugin_ends_with_the_client() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let script = format!(
            "cd {} && mkdir first 2>/dev/null && exec cat credential; echo $$ > id; exec sleep 1000",
            folder.path().display()
        );
        // It is over at once, so that the plugin is asked again.
        let credential = r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "status": {"token": "one", "expirationTimestamp": "2020-01-01T00:00:00Z"}}"#;
        fs::write(at("credential"), credential).unwrap();
        let text = format!(
            "{{current-context: a, contexts: [{{name: a, context: {{cluster: a, user: a}}}}], \
             clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:1'}}}}], \
             users: [{{name: a, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: [-c, '{script}'], interactiveMode: Never}}}}}}]}}"
        );
        fs::write(at("kubeconfig"), text).unwrap();
        let access = Access {
            kubeconfig: Some(at("kubeconfig")),
            ..Access::default()
        };
        let cluster = Cluster::connect(&access, Nodes::All, || {}).unwrap();
        let id = loop {
            let id = fs::read_to_string(at("id")).unwrap_or_default();
            match id.strip_suffix('\n') {
                Some(id) => break id.to_owned(),
                None => park_timeout(Duration::from_millis(10)),
            }
        };
        drop(cluster);
        let stat = format!("/proc/{id}/stat");
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            park_timeout(Duration::from_millis(10));
        }
    }
}
