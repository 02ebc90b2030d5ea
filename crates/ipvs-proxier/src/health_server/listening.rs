//! Sockets that listen, each with a task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipvs_model::input::ObjectName;
use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::answers::{Answers, Served};
use super::bounds::Bounds;
use super::connections::{Connections, Used};

/// A listener that cannot be opened is tried again after this long.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// How long a request may take to come in, and a connection rest between two of them.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this long a connection ends with the answer that it is at, also for a client that takes it byte by byte.
const LIFE: Duration = Duration::from_secs(60);
/// What of a request is held at most; more is refused.
const LONGEST_REQUEST: usize = 16 << 10;
const BACKLOG: u32 = 1024;
/// The pauses after one connection that could not be accepted, and after many.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// That connections cannot be accepted is said no more often.
const QUIET: Duration = Duration::from_secs(60);

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

/// Where one socket listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// At this address, of its own family alone.
    At(SocketAddr),
    /// At all addresses of both families, however that was written.
    Anywhere(SocketAddr),
}

impl Place {
    /// As kube-proxy reads its flags: either unspecified address means all addresses of both families.
    pub(super) const fn of_flag(address: SocketAddr) -> Self {
        if address.ip().is_unspecified() {
            Self::Anywhere(address)
        } else {
            Self::At(address)
        }
    }

    const fn address(self) -> SocketAddr {
        match self {
            Self::At(address) | Self::Anywhere(address) => address,
        }
    }

    fn bind(self) -> io::Result<TcpListener> {
        match self {
            Self::At(address) => bind(address, true),
            Self::Anywhere(address) => {
                let port = address.port();
                match bind((Ipv6Addr::UNSPECIFIED, port).into(), false) {
                    Err(error) if lacks_ipv6(&error) => {
                        bind((Ipv4Addr::UNSPECIFIED, port).into(), true)
                    }
                    bound => bound,
                }
            }
        }
    }
}

fn bind(address: SocketAddr, is_alone: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        let socket = TcpSocket::new_v6()?;
        set_ipv6_v6only(&socket, is_alone)?;
        socket
    } else {
        TcpSocket::new_v4()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let lacks = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// What is served, and where.
pub(super) type Wanted = BTreeSet<(Served, Place)>;

/// What is listened on, each by a task of its own.
#[derive(Debug)]
pub(super) struct Listeners {
    tasks: BTreeMap<(Served, Place), JoinHandle<()>>,
    /// Those that there was no room for.
    left_out: Wanted,
    most: usize,
}

impl Listeners {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            tasks: BTreeMap::new(),
            left_out: Wanted::new(),
            most,
        }
    }

    /// Ends the tasks that are not wanted, starts those that are missing, and returns those that there is no room for, each
    /// once. A task never ends by itself, so that one that is finished has panicked. O(wanted).
    pub(super) fn follow(
        &mut self,
        wanted: &Wanted,
        start: impl Fn(&(Served, Place)) -> JoinHandle<()>,
    ) -> Vec<(Served, Place)> {
        self.tasks.retain(|key, task| {
            let stays = wanted.contains(key) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        self.left_out.retain(|key| wanted.contains(key));
        let mut news = Vec::new();
        for key in wanted {
            if self.tasks.contains_key(key) {
            } else if self.tasks.len() < self.most {
                self.left_out.remove(key);
                self.tasks.insert(key.clone(), start(key));
            } else if self.left_out.insert(key.clone()) {
                news.push(key.clone());
            }
        }
        news
    }
}

/// Serves at some places.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    answers: Arc<Answers>,
    connections: Rc<Connections>,
    failures: Sender<ListenFailure>,
}

impl Serving {
    pub(super) fn new(
        answers: Arc<Answers>,
        bounds: Bounds,
        failures: Sender<ListenFailure>,
    ) -> Self {
        Self {
            answers,
            connections: Rc::new(Connections::new(bounds.connections)),
            failures,
        }
    }

    /// Listens for ever: a place that cannot be listened on is tried again and again.
    pub(super) async fn listen(self, served: Served, place: Place) {
        let mut said = false;
        loop {
            match place.bind() {
                Ok(listener) => {
                    let accept = || listener.accept();
                    match self.accept_all(accept, &served, place).await {}
                }
                Err(error) if !said => {
                    said = true;
                    self.failed(&served, place, error.to_string());
                }
                Err(_) => {}
            }
            sleep(RETRY).await;
        }
    }

    /// Tells of a place that is not listened on.
    pub(super) fn failed(&self, served: &Served, place: Place, reason: String) {
        let failure = ListenFailure {
            address: place.address(),
            what: match served {
                Served::Proxier => Listener::Health,
                Served::Metrics => Listener::Metrics,
                Served::Service(name) => Listener::Service(name.clone()),
            },
            reason,
        };
        warn!("{failure}; trying again");
        // Nobody asks any more when the process ends.
        let _ = self.failures.send(failure);
    }

    /// A connection that cannot be accepted, for want of files or memory, is no reason to listen no more.
    async fn accept_all<F: Future<Output = io::Result<(TcpStream, SocketAddr)>>>(
        &self,
        mut accept: impl FnMut() -> F,
        served: &Served,
        place: Place,
    ) -> Infallible {
        let mut pause = PAUSE;
        let mut said: Option<Instant> = None;
        loop {
            match accept().await {
                Ok((stream, client)) => {
                    pause = PAUSE;
                    let (answers, served) = (Arc::clone(&self.answers), served.clone());
                    let serve = |used| converse(stream, served, answers, used);
                    self.connections.admit(client.ip(), serve).await;
                }
                Err(error) => {
                    if said.is_none_or(|said| said.elapsed() > QUIET) {
                        said = Some(Instant::now());
                        let address = place.address();
                        warn!("cannot accept a connection on {address}: {error}; trying again");
                    }
                    // If it is files that are missing, that is one.
                    self.connections.close_one().await;
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Answers the requests of a connection until it rests too long, or has lived long enough.
async fn converse(stream: TcpStream, served: Served, answers: Arc<Answers>, used: Used) {
    let answer = service_fn(move |request| {
        used.again();
        let (answers, served) = (Arc::clone(&answers), served.clone());
        async move { Ok::<_, Infallible>(answers.answer(&request, &served).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(LONGEST_REQUEST)
            .half_close(true)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), answer)
    );
    // A client that goes away early is its own affair.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(PATIENCE, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::{LocalSet, spawn_local};

    use super::super::tests::{answers, ask};
    use super::*;

    fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        LocalSet::new().block_on(&runtime.unwrap(), work)
    }

    fn place(port: u16) -> Place {
        Place::At(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_listener_that_died_is_started_again() {
        let (dies, lives) = (Cell::new(true), Served::Metrics);
        let wanted = Wanted::from([Served::Proxier, lives].map(|served| (served, place(0))));
        let started = Cell::new(0);
        on_a_runtime(async {
            let mut listeners = Listeners::new(2);
            let follow = |listeners: &mut Listeners, wanted: &Wanted| {
                listeners.follow(wanted, |(served, _)| {
                    started.set(started.get() + 1);
                    let dies = dies.get() && *served == Served::Proxier;
                    spawn_local(async move {
                        assert!(!dies, "a fault");
                        std::future::pending::<()>().await;
                    })
                })
            };
            follow(&mut listeners, &wanted);
            tokio::task::yield_now().await;
            dies.set(false);
            follow(&mut listeners, &wanted);
            assert_eq!(started.get(), 3, "one anew, the other stays");
            tokio::task::yield_now().await;
            follow(&mut listeners, &wanted);
            let one = Wanted::from([(Served::Metrics, place(0))]);
            assert!(follow(&mut listeners, &one).is_empty());
            assert_eq!((started.get(), listeners.tasks.len()), (3, 1));
        });
    }

    #[test]
    fn listeners_that_there_is_no_room_for_are_told_once_and_come_when_there_is() {
        let service = |name: &str| Served::Service(ObjectName::new("ns", name));
        let all: Vec<_> = ["a", "b", "c"].map(|name| (service(name), place(1))).into();
        on_a_runtime(async {
            let mut listeners = Listeners::new(2);
            let mut follow = |wanted: &[(Served, Place)]| {
                let wanted = wanted.iter().cloned().collect();
                listeners.follow(&wanted, |_| spawn_local(std::future::pending()))
            };
            assert_eq!(follow(&all), all[2..]);
            assert!(follow(&all).is_empty(), "told twice");
            assert!(follow(&all[1..]).is_empty());
            assert_eq!(follow(&all), all[..1], "those that listen stay");
        });
    }

    /// What a listener is given by a kernel that has no files left, again and again.
    #[test]
    fn a_connection_that_cannot_be_accepted_ends_no_listener() {
        const EMFILE: i32 = 24;
        let answer = on_a_runtime(async {
            let (answers, failures) = answers();
            let serving = Serving::new(answers, Bounds::of_process(), failures);
            let listener = Rc::new(place(0).bind().unwrap());
            let address = listener.local_addr().unwrap();
            let failing = Rc::new(Cell::new(3));
            let accept = move || {
                let (listener, failing) = (Rc::clone(&listener), Rc::clone(&failing));
                async move {
                    if failing.get() > 0 {
                        failing.set(failing.get() - 1);
                        return Err(io::Error::from_raw_os_error(EMFILE));
                    }
                    listener.accept().await
                }
            };
            spawn_local(async move {
                let served = Served::Proxier;
                match serving.accept_all(accept, &served, place(0)).await {}
            });
            let client = std::thread::spawn(move || ask(address, "/livez"));
            while !client.is_finished() {
                sleep(PAUSE).await;
            }
            client.join().unwrap()
        });
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[test]
    fn one_unspecified_address_is_both_families_and_another_its_own_alone() {
        let any = |text: &str| Place::of_flag(text.parse().unwrap());
        for text in ["0.0.0.0:0", "[::]:0"] {
            let found = on_a_runtime(async { any(text).bind().unwrap().local_addr().unwrap() });
            let loopback = |ip: &str| SocketAddr::new(ip.parse().unwrap(), found.port());
            on_a_runtime(async {
                let listener = any(&found.to_string()).bind().unwrap();
                let both = listener.local_addr().unwrap().is_ipv6();
                assert!(TcpStream::connect(loopback("127.0.0.1")).await.is_ok());
                assert_eq!(TcpStream::connect(loopback("::1")).await.is_ok(), both);
                drop(listener);
                let alone = Place::At(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), found.port()));
                let Ok(_listener) = alone.bind() else {
                    assert!(!both, "IPv6 is there");
                    return;
                };
                assert!(TcpStream::connect(loopback("127.0.0.1")).await.is_err());
                assert!(TcpStream::connect(loopback("::1")).await.is_ok());
            });
        }
    }
}
