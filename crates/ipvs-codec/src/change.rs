//! What it takes to make one table of virtual servers equal to another.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use crate::request::Request;
use crate::types::{Destination, Service, ServiceKey, VirtualServer};

/// A change of the table, as a value of its own: a [`Request`] borrows what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Make a service.
    NewService(Service),
    /// Change a service.
    SetService(Service),
    /// Remove a service with its destinations.
    DelService(ServiceKey),
    /// Make a destination.
    NewDest(ServiceKey, Destination),
    /// Change a destination.
    SetDest(ServiceKey, Destination),
    /// Remove a destination.
    DelDest(ServiceKey, SocketAddr),
}

impl Change {
    /// The request that makes it.
    #[must_use]
    pub const fn request(&self) -> Request<'_> {
        match self {
            Self::NewService(service) => Request::NewService(service),
            Self::SetService(service) => Request::SetService(service),
            Self::DelService(key) => Request::DelService(key),
            Self::NewDest(key, destination) => Request::NewDest(key, destination),
            Self::SetDest(key, destination) => Request::SetDest(key, destination),
            Self::DelDest(key, addr) => Request::DelDest(key, *addr),
        }
    }
}

/// As its [request](Change::request) is displayed.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request().fmt(f)
    }
}

/// The changes that make `observed` equal to `wanted`, in an order in which a virtual server that has a real server before
/// and after has one all the time: real servers are added, then changed, with those that get weight 0 last, then removed.
/// Virtual servers that are not wanted go last, and only where `may_remove` allows it. Of several virtual servers with the
/// same key the last one counts. O(n log n) in all real servers.
///
/// ```
/// use ipvs_codec::{Change, Destination, Protocol, Scheduler, Service, ServiceKey, VirtualServer, diff};
///
/// let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse()?, 80);
/// let server = |address: &str| -> Result<_, std::net::AddrParseError> {
///     let real_servers = vec![Destination::new(address.parse()?)];
///     Ok(VirtualServer::new(Service::new(key, Scheduler::RR), real_servers))
/// };
/// let (observed, wanted) = ([server("10.244.1.5:80")?], [server("10.244.2.7:80")?]);
/// let changes = diff(&observed, &wanted, |_| true);
/// let texts: Vec<String> = changes.iter().map(Change::to_string).collect();
/// assert_eq!(
///     texts,
///     [
///         "add real server 10.96.0.10:80/TCP -> 10.244.2.7:80",
///         "remove real server 10.96.0.10:80/TCP -> 10.244.1.5:80",
///     ]
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn diff(
    observed: &[VirtualServer],
    wanted: &[VirtualServer],
    may_remove: impl Fn(&ServiceKey) -> bool,
) -> Vec<Change> {
    let by_key = |servers: &'_ [VirtualServer]| -> HashMap<ServiceKey, usize> {
        let keys = servers.iter().map(|server| server.service.key);
        keys.zip(0..).collect()
    };
    let (found, counts) = (by_key(observed), by_key(wanted));
    let mut changes = Vec::new();
    for (at, server) in wanted.iter().enumerate() {
        let key = &server.service.key;
        if counts.get(key) != Some(&at) {
            continue;
        }
        match found.get(key).and_then(|at| observed.get(*at)) {
            Some(found) => change(found, server, &mut changes),
            None => {
                changes.push(Change::NewService(server.service));
                let all = server.real_servers().iter();
                changes.extend(all.map(|destination| Change::NewDest(*key, *destination)));
            }
        }
    }
    let left = observed.iter().enumerate().filter(|(at, server)| {
        let key = &server.service.key;
        found.get(key) == Some(at) && !counts.contains_key(key) && may_remove(key)
    });
    changes.extend(left.map(|(_, server)| Change::DelService(server.service.key)));
    changes
}

fn change(found: &VirtualServer, wanted: &VirtualServer, changes: &mut Vec<Change>) {
    let key = wanted.service.key;
    if !found.service.same_config(&wanted.service) {
        changes.push(Change::SetService(wanted.service));
    }
    let all = wanted.real_servers();
    let is_new = |destination: &&Destination| found.real_server(destination.addr).is_none();
    let new = all.iter().filter(is_new);
    changes.extend(new.map(|destination| Change::NewDest(key, *destination)));
    let differs = |destination: &&Destination| {
        let there = found.real_server(destination.addr);
        there.is_some_and(|there| there != *destination)
    };
    let differing = || all.iter().filter(differs);
    let serving = differing().filter(|destination| destination.weight > 0);
    let quiesced = differing().filter(|destination| destination.weight == 0);
    changes.extend(
        serving
            .chain(quiesced)
            .map(|destination| Change::SetDest(key, *destination)),
    );
    let gone = found.real_servers().iter().map(|there| there.addr);
    let gone = gone.filter(|addr| wanted.real_server(*addr).is_none());
    changes.extend(gone.map(|addr| Change::DelDest(key, addr)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Protocol, Scheduler};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn server() -> impl Strategy<Value = VirtualServer> {
        let scheduler = prop::sample::select(&[Scheduler::RR, Scheduler::WLC][..]);
        let real_servers = prop::collection::vec((1..5_u8, 0..3_u32), 0..4);
        (1..5_u8, scheduler, real_servers).prop_map(|(last, scheduler, real_servers)| {
            let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, last].into(), 80);
            let destination = |(last, weight)| {
                let addr = ([10, 244, 0, last], 80).into();
                Destination::new(addr).with_weight(weight).unwrap()
            };
            let real_servers = real_servers.into_iter().map(destination).collect();
            VirtualServer::new(Service::new(key, scheduler), real_servers)
        })
    }

    fn servers() -> impl Strategy<Value = Vec<VirtualServer>> {
        prop::collection::vec(server(), 0..6)
    }

    type Table = BTreeMap<ServiceKey, VirtualServer>;

    fn table(servers: &[VirtualServer]) -> Table {
        let servers = servers.iter().cloned();
        servers.map(|server| (server.service.key, server)).collect()
    }

    /// As the kernel does it, and panics where it refuses.
    fn apply(table: &mut Table, change: &Change) {
        match *change {
            Change::NewService(service) => {
                let server = VirtualServer::new(service, Vec::new());
                assert!(table.insert(service.key, server).is_none());
            }
            Change::SetService(service) => table.get_mut(&service.key).unwrap().service = service,
            Change::DelService(key) => assert!(table.remove(&key).is_some()),
            Change::NewDest(key, destination) => {
                let server = table.get_mut(&key).unwrap();
                assert!(server.real_server(destination.addr).is_none());
                server.set_real_server(destination);
            }
            Change::SetDest(key, destination) => {
                let server = table.get_mut(&key).unwrap();
                assert!(server.real_server(destination.addr).is_some());
                server.set_real_server(destination);
            }
            Change::DelDest(key, addr) => {
                let server = table.get_mut(&key).unwrap();
                assert!(server.real_server(addr).is_some());
                server.remove_real_server(addr);
            }
        }
    }

    fn serves(table: &Table, key: &ServiceKey) -> bool {
        let real_servers = table.get(key).into_iter().flat_map(|s| s.real_servers());
        real_servers.into_iter().any(|server| server.weight > 0)
    }

    proptest! {
        #[test]
        fn the_changes_make_what_is_wanted_and_no_client_is_without_a_server(
            observed in servers(), wanted in servers(), mine in 1..6_u8,
        ) {
            let bound = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, mine].into(), 80);
            let (mut now, wanted_table) = (table(&observed), table(&wanted));
            let served = |key: &&ServiceKey| serves(&now, key) && serves(&wanted_table, key);
            let served: Vec<ServiceKey> = wanted_table.keys().filter(served).copied().collect();
            let mut expected = wanted_table.clone();
            for (key, server) in &now {
                if *key >= bound {
                    expected.entry(*key).or_insert_with(|| server.clone());
                }
            }
            let changes = diff(&observed, &wanted, |key| *key < bound);
            for change in &changes {
                apply(&mut now, change);
                for key in &served {
                    prop_assert!(serves(&now, key), "{change}");
                }
            }
            prop_assert_eq!(&now, &expected);
            let now: Vec<VirtualServer> = now.into_values().collect();
            prop_assert_eq!(diff(&now, &wanted, |key| *key < bound), []);
        }
    }
}
