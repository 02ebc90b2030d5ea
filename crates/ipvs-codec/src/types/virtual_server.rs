use std::net::SocketAddr;

use super::destination::Destination;
use super::service::Service;

/// A virtual server: a service with its real servers, which IPVS calls destinations.
///
/// ```
/// use ipvs_codec::{Destination, Protocol, Scheduler, Service, ServiceKey, VirtualServer};
///
/// let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse()?, 80);
/// let addresses = ["10.244.2.7:8080", "10.244.1.5:8080"];
/// let real_servers = addresses.map(|address| address.parse().map(Destination::new));
/// let real_servers = real_servers.into_iter().collect::<Result<_, _>>()?;
/// let server = VirtualServer::new(Service::new(key, Scheduler::RR), real_servers);
/// assert_eq!(server.real_servers()[0].addr, addresses[1].parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualServer {
    /// The service.
    pub service: Service,
    /// Sorted by address.
    real_servers: Vec<Destination>,
}

impl VirtualServer {
    /// A virtual server; of several real servers with the same address the last one counts. O(n log n).
    #[must_use]
    pub fn new(service: Service, mut real_servers: Vec<Destination>) -> Self {
        real_servers.sort_by_key(|real_server| real_server.addr);
        real_servers.reverse();
        real_servers.dedup_by_key(|real_server| real_server.addr);
        real_servers.reverse();
        Self {
            service,
            real_servers,
        }
    }

    /// The real servers, sorted by address.
    #[must_use]
    pub fn real_servers(&self) -> &[Destination] {
        &self.real_servers
    }

    /// The real server of an address. O(log n).
    #[must_use]
    pub fn real_server(&self, addr: SocketAddr) -> Option<&Destination> {
        let at = self.position(addr).ok()?;
        self.real_servers.get(at)
    }

    /// Adds a real server, or replaces the one of its address. O(n), or O(log n) if it is there.
    pub fn set_real_server(&mut self, real_server: Destination) {
        match self.position(real_server.addr) {
            Ok(at) => {
                if let Some(place) = self.real_servers.get_mut(at) {
                    *place = real_server;
                }
            }
            Err(at) => self.real_servers.insert(at, real_server),
        }
    }

    /// Removes the real server of an address, if there is one. O(n).
    pub fn remove_real_server(&mut self, addr: SocketAddr) {
        if let Ok(at) = self.position(addr) {
            self.real_servers.remove(at);
        }
    }

    fn position(&self, addr: SocketAddr) -> Result<usize, usize> {
        self.real_servers
            .binary_search_by_key(&addr, |real_server| real_server.addr)
    }
}
