use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// One address of several servers, behind which connections may die without anybody being told.
#[derive(Debug, Clone)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The server of new connections; without one they are taken, and nothing is passed on.
    server: Mutex<Option<SocketAddr>>,
    /// Connections from before it pass nothing on any more.
    dead_before: AtomicU64,
    connections: AtomicU64,
}

impl Relay {
    /// Passes on what comes to a free port of 127.0.0.1, until the process ends.
    ///
    /// # Errors
    /// When nothing can be bound.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let relay = Self {
            address: listener.local_addr()?,
            state: Arc::new(State {
                server: Mutex::new(Some(server)),
                dead_before: AtomicU64::new(0),
                connections: AtomicU64::new(0),
            }),
        };
        let serving = relay.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let relay = serving.clone();
                thread::spawn(move || relay.serve(&stream));
            }
        });
        Ok(relay)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have come.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// From now on nothing of the connections that are there is passed on, in either direction, and none is closed; new ones
    /// lead to this server, or nowhere.
    pub fn lose(&self, next: Option<SocketAddr>) {
        *self.server() = next;
        let connections = self.state.connections.load(Ordering::SeqCst);
        self.state.dead_before.store(connections, Ordering::SeqCst);
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        let server = self.state.server.lock();
        server.unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: &TcpStream) {
        let (number, server) = {
            let server = self.server();
            (
                self.state.connections.fetch_add(1, Ordering::SeqCst),
                *server,
            )
        };
        let Some(server) = server else {
            return self.pass(number, client, None);
        };
        let Ok(server) = TcpStream::connect(server) else {
            return;
        };
        // Acknowledged and passed on at once, as by a router.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        thread::scope(|scope| {
            scope.spawn(|| self.pass(number, &server, Some(client)));
            self.pass(number, client, Some(&server));
        });
    }

    /// Until one side closes. Those who have died are read on, and stay open.
    fn pass(&self, number: u64, mut from: &TcpStream, to: Option<&TcpStream>) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let length = match from.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let is_dead = number < self.state.dead_before.load(Ordering::SeqCst);
            let (Some(mut to), false) = (to, is_dead) else {
                continue;
            };
            let part = bytes.get(..length).unwrap_or_default();
            if to.write_all(part).is_err() {
                break;
            }
        }
        if let (Some(to), false) = (to, number < self.state.dead_before.load(Ordering::SeqCst)) {
            // It may be closed already.
            let _ = to.shutdown(std::net::Shutdown::Both);
        }
    }
}
