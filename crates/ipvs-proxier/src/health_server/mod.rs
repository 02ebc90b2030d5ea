//! Answers health questions over HTTP, on a thread of its own.

mod answers;
mod bounds;
mod connections;
mod jobs;
mod listening;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use ipvs_model::Model;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

pub use self::listening::{ListenFailure, Listener};

use self::answers::{Answers, Served, flagz};
use self::bounds::Bounds;
use self::jobs::Jobs;
use self::listening::{Listeners, Place, RETRY, Serving, Wanted};
use crate::Metrics;
use crate::controller::Status;
use crate::health::Health;
use crate::thread::LastingThread;

/// What a [`HealthServer`] serves, and where.
#[derive(Debug)]
pub struct Serve {
    /// Answered by `/healthz` and `/livez`.
    pub health: Health,
    /// Answered by `/metrics`.
    pub metrics: Metrics,
    /// Answered by `/configz`: JSON.
    pub configuration: String,
    /// Told by `/flagz`: values of flags, by their names.
    pub flags: BTreeMap<String, String>,
    /// Told by `/statusz`: the version of the program.
    pub version: String,
    /// Where the health is served; nowhere without. `0.0.0.0` and `::` both mean all addresses of both families.
    pub health_address: Option<SocketAddr>,
    /// Where everything else is served, likewise.
    pub metrics_address: Option<SocketAddr>,
}

/// The thread that serves is gone: nobody learns of the node's health any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server of health and metrics has ended: {reason}")]
pub struct ServerEnded {
    /// Why.
    pub reason: String,
}

/// Serves [`Health`]: `/healthz` and `/livez` at one address, [`Metrics`] at another, and for each Service with a
/// `healthCheckNodePort` what its load balancer asks for, on that port.
///
/// Clients are not authenticated, so limits keep them from affecting the sync. Connections are at most an eighth of the files
/// that the process may have open when the server starts (`RLIMIT_NOFILE`), and at most 512. For one more, the client that has
/// most loses the one that rested longest. A connection that rests for 10 s, or takes as long for a request, ends. Sockets
/// that listen are at most half of the files. Metrics are read for one client at a time. What remains is for the sync.
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use std::time::{Duration, SystemTime};
/// use ipvs_codec::Family;
/// use ipvs_proxier::{Health, HealthServer, Metrics, Serve, Status};
///
/// let server = HealthServer::start(Serve {
///     health: Health::new(Family::ALL.to_vec(), Duration::from_secs(30)),
///     metrics: Metrics::new(&Family::ALL, SystemTime::now()),
///     configuration: "{}".to_owned(),
///     flags: BTreeMap::from([("v".to_owned(), "2".to_owned())]),
///     version: "0.1.0".to_owned(),
///     health_address: Some("0.0.0.0:10256".parse().unwrap()),
///     metrics_address: None,
/// })?;
/// server.update(|health| health.follow(&Status::default()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HealthServer {
    answers: Arc<Answers>,
    /// What is to be listened on, whenever that changes.
    wanted: UnboundedSender<Wanted>,
    fixed: Wanted,
    failures: Receiver<ListenFailure>,
    thread: LastingThread,
}

/// What the thread works with.
struct Work {
    answers: Arc<Answers>,
    wanted: UnboundedReceiver<Wanted>,
    failures: Sender<ListenFailure>,
}

impl HealthServer {
    /// Starts to serve; an address that cannot be listened on is tried again every few seconds, with a warning.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(serve: Serve) -> std::io::Result<Self> {
        Self::start_with(serve, keep_listening)
    }

    fn start_with<F: Future<Output = ()>>(
        serve: Serve,
        work: impl FnOnce(Work) -> F + Send + 'static,
    ) -> std::io::Result<Self> {
        // What takes long, as reading counters from the kernel, is done beside, one after the other.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()?;
        let answers = Arc::new(Answers {
            health: Mutex::new(serve.health),
            metrics: serve.metrics,
            jobs: Jobs::default(),
            configuration: serve.configuration.into(),
            flags: flagz(&serve.flags).into(),
            version: serve.version,
        });
        let (sender, failures) = channel();
        let (wanted, receiver) = unbounded_channel();
        let given = Work {
            answers: Arc::clone(&answers),
            wanted: receiver,
            failures: sender,
        };
        let work = move || {
            LocalSet::new().block_on(&runtime, work(given));
            "nobody needs it any more".to_owned()
        };
        let thread = LastingThread::start("health", work, || {})?;
        let fixed = [
            (Served::Proxier, serve.health_address),
            (Served::Metrics, serve.metrics_address),
        ];
        let at = |(served, address): (_, Option<_>)| Some((served, Place::of_flag(address?)));
        let server = Self {
            answers,
            wanted,
            fixed: fixed.into_iter().filter_map(at).collect(),
            failures,
            thread,
        };
        server.listen(server.fixed.clone());
        Ok(server)
    }

    /// The addresses that could not be listened on since this was last asked.
    pub fn failures(&self) -> impl Iterator<Item = ListenFailure> {
        self.failures.try_iter()
    }

    /// Whether it still serves. Whoever asks for the health of the node learns nothing from a server that is gone, so that
    /// this is an error of the process.
    ///
    /// # Errors
    /// [`ServerEnded`] with the reason, as a panic.
    pub fn is_alive(&self) -> Result<(), ServerEnded> {
        match self.thread.ended() {
            None => Ok(()),
            Some(reason) => Err(ServerEnded {
                reason: reason.to_owned(),
            }),
        }
    }

    /// Changes what is answered.
    pub fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.answers.health());
    }

    /// Follows a controller and its Services: what is answered, and on which ports. O(n log n) in Services with a health check
    /// port.
    pub fn follow(&self, status: &Status, model: &Model) {
        let mut wanted = self.fixed.clone();
        let mut health = self.answers.health();
        health.follow(status);
        health.follow_model(model);
        for (name, check) in health.checks() {
            let at = |ip: &IpAddr| {
                let place = Place::At(SocketAddr::new(*ip, check.port));
                (Served::Service(name.clone()), place)
            };
            wanted.extend(health.addresses().iter().map(at));
        }
        drop(health);
        self.listen(wanted);
    }

    /// Whether the thread is gone is asked elsewhere.
    fn listen(&self, wanted: Wanted) {
        let _ = self.wanted.send(wanted);
    }
}

async fn keep_listening(mut work: Work) {
    let bounds = Bounds::of_process();
    let serving = Serving::new(work.answers, bounds, work.failures);
    let mut listeners = Listeners::new(bounds.listeners);
    let mut last = Wanted::new();
    loop {
        match timeout(RETRY, work.wanted.recv()).await {
            Ok(Some(wanted)) => last = wanted,
            Ok(None) => return,
            // To see whether all of them are still there.
            Err(_) => {}
        }
        let left_out = listeners.follow(&last, |(served, place)| {
            spawn_local(serving.clone().listen(served.clone(), *place))
        });
        for (served, place) in left_out {
            serving.failed(&served, place, bounds.too_many_listeners());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::{Duration, Instant, SystemTime};

    use ipvs_codec::Family;

    use super::*;

    impl HealthServer {
        /// One whose thread dies.
        pub(crate) fn that_panics(serve: Serve) -> Self {
            Self::start_with(serve, |_| async { panic!("a fault") }).unwrap()
        }
    }

    impl Serve {
        /// Nowhere, for tests.
        pub(crate) fn nowhere(metrics: Metrics) -> Self {
            Self {
                health: Health::new(Family::ALL.to_vec(), Duration::from_secs(30)),
                metrics,
                configuration: String::new(),
                flags: BTreeMap::new(),
                version: String::new(),
                health_address: None,
                metrics_address: None,
            }
        }
    }

    fn serve() -> Serve {
        Serve::nowhere(Metrics::new(&Family::ALL, SystemTime::now()))
    }

    /// What is answered, and who learns of failures: nobody.
    pub(super) fn answers() -> (Arc<Answers>, Sender<ListenFailure>) {
        let serve = serve();
        let answers = Answers {
            health: Mutex::new(serve.health),
            metrics: serve.metrics,
            jobs: Jobs::default(),
            configuration: serve.configuration.into(),
            flags: Default::default(),
            version: serve.version,
        };
        (Arc::new(answers), channel().0)
    }

    /// An answer by HTTP.
    pub(super) fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_server_that_is_gone_says_why() {
        let (go, told) = tokio::sync::oneshot::channel::<()>();
        let server = HealthServer::start_with(serve(), |_| async {
            let _ = told.await;
            panic!("a fault");
        });
        let server = server.unwrap();
        assert_eq!(server.is_alive(), Ok(()));
        drop(go);
        let start = Instant::now();
        let ended = loop {
            match server.is_alive() {
                Err(ended) => break ended,
                Ok(()) => std::thread::yield_now(),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nobody says so");
        };
        assert_eq!(ended.reason, "its thread panicked: a fault");
        server.listen(Wanted::new());
    }
}
