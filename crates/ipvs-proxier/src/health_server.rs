//! Answers health questions over HTTP, on a thread of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

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
use tracing::warn;

use crate::health::{Health, HealthAnswer};

/// A listener that cannot be opened is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);
/// How long a request may take to come in.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is served at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Served {
    /// `/healthz` and `/livez`.
    Proxier,
    /// `/proxyMode` and a plain `/healthz`.
    Mode,
    /// A Service, whatever the path.
    Service(ObjectName),
}

type Listeners = BTreeMap<(SocketAddr, Served), JoinHandle<()>>;

/// Serves [`Health`]: `/healthz` and `/livez` at one address, `/proxyMode` at another, and for each Service with a
/// `healthCheckNodePort` what its load balancer asks for, on that port.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use ipvs_codec::Family;
/// use ipvs_proxier::{Health, HealthServer};
///
/// let health = Health::new(Family::ALL.to_vec(), Duration::from_secs(30));
/// let server = HealthServer::start(health, Some("0.0.0.0:10256".parse().unwrap()), None)?;
/// server.update(|health| health.synced(SystemTime::now()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct HealthServer {
    health: Arc<Mutex<Health>>,
    /// What is to be listened on, whenever that changes.
    wanted: UnboundedSender<Vec<(SocketAddr, Served)>>,
    fixed: Vec<(SocketAddr, Served)>,
}

impl HealthServer {
    /// Starts to serve; an address that cannot be listened on is tried again every few seconds, with a warning.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        health: Health,
        proxier: Option<SocketAddr>,
        mode: Option<SocketAddr>,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let health = Arc::new(Mutex::new(health));
        let (wanted, receiver) = unbounded_channel();
        let shared = Arc::clone(&health);
        let serve = move || LocalSet::new().block_on(&runtime, keep_listening(shared, receiver));
        std::thread::Builder::new()
            .name("health".into())
            .spawn(serve)?;
        let proxier = proxier.map(|address| (address, Served::Proxier));
        let mode = mode.map(|address| (address, Served::Mode));
        let server = Self {
            health,
            wanted,
            fixed: proxier.into_iter().chain(mode).collect(),
        };
        server.listen(server.fixed.clone());
        Ok(server)
    }

    /// Changes what is answered.
    pub fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut lock(&self.health));
    }

    /// Follows the Services of a model: what is answered, and on which ports. O(Services with a health check port).
    pub fn follow(&self, model: &Model) {
        let mut wanted = self.fixed.clone();
        let mut health = lock(&self.health);
        health.follow(model);
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

    /// The thread lives for as long as the process.
    fn listen(&self, wanted: Vec<(SocketAddr, Served)>) {
        let _ = self.wanted.send(wanted);
    }
}

fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep_listening(
    health: Arc<Mutex<Health>>,
    mut wanted: UnboundedReceiver<Vec<(SocketAddr, Served)>>,
) {
    let mut listeners = Listeners::new();
    while let Some(wanted) = wanted.recv().await {
        listeners.retain(|key, task| {
            let stays = wanted.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for (address, served) in wanted {
            let health = Arc::clone(&health);
            let task = || spawn_local(listen(address, served.clone(), health));
            listeners
                .entry((address, served.clone()))
                .or_insert_with(task);
        }
    }
}

async fn listen(address: SocketAddr, served: Served, health: Arc<Mutex<Health>>) {
    loop {
        match bind(address).await {
            Ok(listener) => serve(&listener, &served, &health).await,
            Err(error) => warn!("health: cannot listen on {address}: {error}; trying again"),
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

async fn serve(listener: &TcpListener, served: &Served, health: &Arc<Mutex<Health>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (served, health) = (served.clone(), Arc::clone(health));
        let answer = service_fn(move |request| answer(request, &served, &health));
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
    health: &Mutex<Health>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
    let now = SystemTime::now();
    let response = match (served, request.uri().path()) {
        (Served::Proxier, "/healthz") => json(lock(health).healthz(now)),
        (Served::Proxier, "/livez") => json(lock(health).livez(now)),
        (Served::Service(name), _) => match lock(health).service(name, now) {
            Some(answer) => json(answer),
            None => text(404, "gone\n"),
        },
        (Served::Mode, "/proxyMode") => text(200, "ipvs"),
        (Served::Mode, "/healthz") => text(200, "ok"),
        _ => text(404, "404 page not found\n"),
    };
    std::future::ready(Ok(response))
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
