//! Answers health questions over HTTP, on a thread of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipvs_model::Model;
use ipvs_model::input::ObjectName;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::timeout;
use tracing::warn;

use crate::Metrics;
use crate::clock::Moment;
use crate::controller::Status;
use crate::health::{Health, HealthAnswer};
use crate::thread::LastingThread;

/// A listener that cannot be opened is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a request may take to come in.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a [`HealthServer`] serves, and where.
#[derive(Debug)]
pub struct Serve {
    /// Answered by `/healthz` and `/livez`.
    pub health: Health,
    /// Answered by `/metrics`.
    pub metrics: Metrics,
    /// Answered by `/configz`: JSON.
    pub configuration: String,
    /// Where the health is served; nowhere without.
    pub health_address: Option<SocketAddr>,
    /// Where everything else is served; nowhere without.
    pub metrics_address: Option<SocketAddr>,
}

/// An address that could not be listened on. It is tried again every few seconds, and said once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {reason}")]
pub struct ListenFailure {
    /// The address.
    pub address: SocketAddr,
    /// For what.
    pub what: Listener,
    /// Why.
    pub reason: String,
}

/// The thread that serves is gone: nobody learns of the node's health any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server of health and metrics has ended: {reason}")]
pub struct ServerEnded {
    /// Why.
    pub reason: String,
}

/// What is listened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// The proxier's own health.
    Health,
    /// Metrics and what is served beside them.
    Metrics,
    /// The load balancer of a Service.
    Service(ObjectName),
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Health => f.write_str("health"),
            Self::Metrics => f.write_str("metrics"),
            Self::Service(name) => write!(f, "Service {name}"),
        }
    }
}

/// What is served at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Served {
    /// `/healthz` and `/livez`.
    Proxier,
    /// `/metrics`, `/metrics/slis`, `/proxyMode`, `/configz` and a plain `/healthz`.
    Metrics,
    /// A Service, whatever the path.
    Service(ObjectName),
}

/// What is listened on, each by a task of its own.
#[derive(Debug, Default)]
struct Listeners(BTreeMap<(SocketAddr, Served), JoinHandle<()>>);

impl Listeners {
    /// Ends the tasks that are not wanted, starts those that are missing. A task never ends by itself, so that one that is
    /// finished has panicked.
    fn follow(
        &mut self,
        wanted: &[(SocketAddr, Served)],
        start: impl Fn(&(SocketAddr, Served)) -> JoinHandle<()>,
    ) {
        self.0.retain(|key, task| {
            let stays = wanted.contains(key) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for key in wanted {
            self.0.entry(key.clone()).or_insert_with(|| start(key));
        }
    }
}

/// What every answer is made of.
#[derive(Debug)]
struct Shared {
    health: Mutex<Health>,
    metrics: Metrics,
    configuration: Bytes,
    failures: Sender<ListenFailure>,
}

impl Shared {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves [`Health`]: `/healthz` and `/livez` at one address, [`Metrics`] at another, and for each Service with a
/// `healthCheckNodePort` what its load balancer asks for, on that port.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use ipvs_codec::Family;
/// use ipvs_proxier::{Health, HealthServer, Metrics, Serve, Status};
///
/// let server = HealthServer::start(Serve {
///     health: Health::new(Family::ALL.to_vec(), Duration::from_secs(30)),
///     metrics: Metrics::new(&Family::ALL, SystemTime::now()),
///     configuration: "{}".to_owned(),
///     health_address: Some("0.0.0.0:10256".parse().unwrap()),
///     metrics_address: None,
/// })?;
/// server.update(|health| health.follow(&Status::default()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HealthServer {
    shared: Arc<Shared>,
    /// What is to be listened on, whenever that changes.
    wanted: UnboundedSender<Vec<(SocketAddr, Served)>>,
    fixed: Vec<(SocketAddr, Served)>,
    failures: Receiver<ListenFailure>,
    thread: LastingThread,
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
        work: impl FnOnce(Arc<Shared>, UnboundedReceiver<Vec<(SocketAddr, Served)>>) -> F
        + Send
        + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, failures) = channel();
        let shared = Arc::new(Shared {
            health: Mutex::new(serve.health),
            metrics: serve.metrics,
            configuration: serve.configuration.into(),
            failures: sender,
        });
        let (wanted, receiver) = unbounded_channel();
        let served = Arc::clone(&shared);
        let work = move || {
            LocalSet::new().block_on(&runtime, work(served, receiver));
            "nobody needs it any more".to_owned()
        };
        let thread = LastingThread::start("health", work, || {})?;
        let health = serve
            .health_address
            .map(|address| (address, Served::Proxier));
        let metrics = serve
            .metrics_address
            .map(|address| (address, Served::Metrics));
        let server = Self {
            shared,
            wanted,
            fixed: health.into_iter().chain(metrics).collect(),
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
        change(&mut self.shared.health());
    }

    /// Follows a controller and its Services: what is answered, and on which ports. O(Services with a health check port).
    pub fn follow(&self, status: &Status, model: &Model) {
        let mut wanted = self.fixed.clone();
        let mut health = self.shared.health();
        health.follow(status);
        health.follow_model(model);
        for (name, check) in health.checks() {
            let at = |ip: &IpAddr| {
                let address = SocketAddr::new(*ip, check.port);
                (address, Served::Service(name.clone()))
            };
            wanted.extend(health.addresses().iter().map(at));
        }
        drop(health);
        self.listen(wanted);
    }

    /// Whether the thread is gone is asked elsewhere.
    fn listen(&self, wanted: Vec<(SocketAddr, Served)>) {
        let _ = self.wanted.send(wanted);
    }
}

async fn keep_listening(
    shared: Arc<Shared>,
    mut wanted: UnboundedReceiver<Vec<(SocketAddr, Served)>>,
) {
    let mut listeners = Listeners::default();
    let mut last = Vec::new();
    loop {
        match timeout(RETRY, wanted.recv()).await {
            Ok(Some(wanted)) => last = wanted,
            Ok(None) => return,
            // To see whether all of them are still there.
            Err(_) => {}
        }
        listeners.follow(&last, |(address, served)| {
            spawn_local(listen(*address, served.clone(), Arc::clone(&shared)))
        });
    }
}

async fn listen(address: SocketAddr, served: Served, shared: Arc<Shared>) {
    let mut said = false;
    loop {
        match bind(address).await {
            Ok(listener) => {
                said = false;
                serve(&listener, &served, &shared).await;
            }
            Err(error) if !said => {
                said = true;
                let failure = ListenFailure {
                    address,
                    what: match &served {
                        Served::Proxier => Listener::Health,
                        Served::Metrics => Listener::Metrics,
                        Served::Service(name) => Listener::Service(name.clone()),
                    },
                    reason: error.to_string(),
                };
                warn!("{failure}; trying again");
                // Nobody asks any more when the process ends.
                let _ = shared.failures.send(failure);
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `[::]` takes IPv4 too; without IPv6 it is 0.0.0.0.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    match bound {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            let any = std::net::Ipv4Addr::UNSPECIFIED;
            TcpListener::bind((any, address.port())).await
        }
        bound => bound,
    }
}

async fn serve(listener: &TcpListener, served: &Served, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (served, shared) = (served.clone(), Arc::clone(shared));
        let answer = service_fn(move |request| answer(request, &served, &shared));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .keep_alive(false)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), answer);
        spawn_local(async move {
            // A client that goes away early is its own affair.
            let _ = connection.await;
        });
    }
}

fn answer(
    request: Request<Incoming>,
    served: &Served,
    shared: &Shared,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
    let now = Moment::now();
    let response = match (served, request.uri().path()) {
        (Served::Proxier, "/healthz") => {
            let answer = shared.health().healthz(now);
            shared.metrics.answered_healthz(answer.status);
            json(answer)
        }
        (Served::Proxier, "/livez") => {
            let answer = shared.health().livez(now);
            shared.metrics.answered_livez(answer.status);
            json(answer)
        }
        (Served::Service(name), _) => match shared.health().service(name, now) {
            Some(answer) => json(answer),
            None => text(404, "gone\n"),
        },
        (Served::Metrics, "/metrics") => respond(200, OPEN_METRICS, shared.metrics.text()),
        (Served::Metrics, "/metrics/slis") => {
            respond(200, OPEN_METRICS, healthchecks(&shared.health(), now))
        }
        (Served::Metrics, "/proxyMode") => text(200, "ipvs"),
        (Served::Metrics, "/configz") => {
            respond(200, "application/json", shared.configuration.clone())
        }
        (Served::Metrics, "/healthz") => text(200, "ok"),
        _ => text(404, "404 page not found\n"),
    };
    std::future::ready(Ok(response))
}

/// The indicators of components of Kubernetes. kube-proxy serves the page, and nothing on it.
fn healthchecks(health: &Health, now: Moment) -> String {
    let is_well = |answer: HealthAnswer| u8::from(answer.status == 200);
    let (healthz, livez) = (is_well(health.healthz(now)), is_well(health.livez(now)));
    format!(
        "# HELP kubernetes_healthcheck Whether a health check succeeds.\n# TYPE kubernetes_healthcheck gauge\n\
         kubernetes_healthcheck{{name=\"proxier\",type=\"healthz\"}} {healthz}\n\
         kubernetes_healthcheck{{name=\"proxier\",type=\"livez\"}} {livez}\n# EOF\n"
    )
}

fn json(answer: HealthAnswer) -> Response<Full<Bytes>> {
    let mut response = respond(answer.status, "application/json", answer.body);
    if let Some(weight) = answer.weight {
        let name = "x-load-balancing-endpoint-weight";
        response.headers_mut().insert(name, weight.into());
    }
    response
}

fn text(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert("content-type", value(content_type));
    headers.insert("x-content-type-options", value("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Instant, SystemTime};

    use ipvs_codec::Family;

    use super::*;

    impl HealthServer {
        /// One whose thread dies.
        pub(crate) fn that_panics(serve: Serve) -> Self {
            Self::start_with(serve, |_, _| async { panic!("a fault") }).unwrap()
        }
    }

    #[test]
    fn a_server_that_is_gone_says_why() {
        let serve = Serve {
            health: Health::new(Family::ALL.to_vec(), RETRY),
            metrics: Metrics::new(&Family::ALL, SystemTime::now()),
            configuration: String::new(),
            health_address: None,
            metrics_address: None,
        };
        let (go, told) = tokio::sync::oneshot::channel::<()>();
        let server = HealthServer::start_with(serve, |_, _| async {
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
        server.listen(Vec::new());
    }

    #[test]
    fn a_listener_that_died_is_started_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let (dies, lives) = (Cell::new(true), Served::Metrics);
        let wanted = [Served::Proxier, lives].map(|served| (([127, 0, 0, 1], 0).into(), served));
        let started = Cell::new(0);
        let work = async {
            let mut listeners = Listeners::default();
            let follow = |listeners: &mut Listeners, wanted: &[_]| {
                listeners.follow(wanted, |(_, served)| {
                    started.set(started.get() + 1);
                    let dies = dies.get() && *served == Served::Proxier;
                    spawn_local(async move {
                        assert!(!dies, "a fault");
                        std::future::pending::<()>().await;
                    })
                });
            };
            follow(&mut listeners, &wanted);
            tokio::task::yield_now().await;
            dies.set(false);
            follow(&mut listeners, &wanted);
            assert_eq!(started.get(), 3, "one anew, the other stays");
            tokio::task::yield_now().await;
            follow(&mut listeners, &wanted);
            follow(&mut listeners, &wanted[1..]);
            assert_eq!((started.get(), listeners.0.len()), (3, 1));
        };
        LocalSet::new().block_on(&runtime.unwrap(), work);
    }
}
