use std::cmp::Reverse;

use ipvs_codec::{ObservedDestination, ObservedService};

use crate::error::{Cause, Error};
use crate::ipvs::Ipvs;
use crate::listing::{ATTEMPTS, agree, once};
use crate::namespace::NetworkNamespace;

/// A service with its destinations, as the kernel reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVirtualServer {
    /// The service.
    pub service: ObservedService,
    /// Its destinations with their connection counts, in the kernel's order, the newest first.
    pub destinations: Vec<ObservedDestination>,
}

/// What one step of an [`IpvsReader`] gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slice {
    /// A part of the list of services was read; nothing to compare yet.
    Listing,
    /// Services with their destinations, each as it was when it was read.
    Servers(Vec<ObservedVirtualServer>),
    /// Everything was read; the next step starts over.
    Complete,
}

/// Reads the whole table in small steps on a socket of its own, so that changes are sent meanwhile: one step is one
/// chunk of the list of services (at most 32 KiB), or the destinations of a bounded number of services.
///
/// The table may change between the steps. A service that goes is left out; one that never comes up may be new, or may
/// have been passed over as the list shifted: ask [`Ipvs::service`] before believing that it is not there.
///
/// ```no_run
/// use ipvs_netlink::{IpvsReader, Slice};
///
/// let mut reader = IpvsReader::open()?;
/// loop {
///     match reader.step(100)? {
///         Slice::Listing => {}
///         Slice::Servers(servers) => println!("{} services", servers.len()),
///         Slice::Complete => break,
///     }
/// }
/// # Ok::<(), ipvs_netlink::Error>(())
/// ```
#[derive(Debug)]
pub struct IpvsReader {
    ipvs: Ipvs,
    at: At,
}

#[derive(Debug)]
enum At {
    Start,
    /// Within a list whose services are with the caller.
    List,
    Listing(Vec<ObservedService>),
    /// What is still to be read, the next one last.
    Servers(Vec<ObservedService>),
}

impl IpvsReader {
    /// Opens a socket in this thread's network namespace.
    ///
    /// # Errors
    /// As [`Ipvs::open`].
    pub fn open() -> Result<Self, Error> {
        Ipvs::open().map(Self::over)
    }

    /// Opens a socket in another network namespace.
    ///
    /// # Errors
    /// As [`Ipvs::open_in`].
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Ipvs::open_in(namespace).map(Self::over)
    }

    const fn over(ipvs: Ipvs) -> Self {
        Self {
            ipvs,
            at: At::Start,
        }
    }

    /// Reads on: a chunk of the list, or the destinations of at most `services` services.
    ///
    /// # Errors
    /// Whatever the kernel refuses. The next step starts over.
    pub fn step(&mut self, services: usize) -> Result<Slice, Error> {
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => {
                self.ipvs.begin_listing().map_err(listing)?;
                self.list_all(Vec::new()).map_err(listing)
            }
            At::List => {
                self.at = At::List;
                self.restart()?;
                self.step(services)
            }
            At::Listing(found) => self.list_all(found).map_err(listing),
            At::Servers(left) if left.is_empty() => Ok(Slice::Complete),
            At::Servers(mut left) => {
                let keep = left.len().saturating_sub(services.max(1));
                let mut servers = Vec::with_capacity(left.len().saturating_sub(keep));
                for service in left.split_off(keep).into_iter().rev() {
                    servers.extend(self.server(service)?);
                }
                self.at = At::Servers(left);
                Ok(Slice::Servers(servers))
            }
        }
    }

    /// Reads the next chunk of the list of services alone; whether it was the last. The next call starts over then. Where a
    /// list takes several chunks and the table changes meanwhile, it may pass over some and name others twice.
    ///
    /// # Errors
    /// Whatever the kernel refuses. The next call starts over.
    pub fn list(&mut self, found: &mut Vec<ObservedService>) -> Result<bool, Error> {
        if !matches!(self.at, At::List) {
            self.restart()?;
            self.ipvs.begin_listing().map_err(listing)?;
        }
        self.at = At::Start;
        let done = self.ipvs.next_chunk(found).map_err(listing)?;
        if !done {
            self.at = At::List;
        }
        Ok(done)
    }

    /// Starts over, wherever it is: a list that was begun is read to its end, since a socket has but one at a time.
    ///
    /// # Errors
    /// Whatever the kernel refuses.
    pub fn restart(&mut self) -> Result<(), Error> {
        if let At::List | At::Listing(_) = std::mem::replace(&mut self.at, At::Start) {
            let mut rest = Vec::new();
            while !self.ipvs.next_chunk(&mut rest).map_err(listing)? {
                rest.clear();
            }
        }
        Ok(())
    }

    fn list_all(&mut self, mut found: Vec<ObservedService>) -> Result<Slice, Cause> {
        let done = self.ipvs.next_chunk(&mut found)?;
        self.at = if done {
            // The list may name one twice after it shifted.
            found.sort_unstable_by_key(|observed| Reverse(observed.service.key));
            found.dedup_by_key(|observed| observed.service.key);
            At::Servers(found)
        } else {
            At::Listing(found)
        };
        Ok(Slice::Listing)
    }

    fn server(&mut self, service: ObservedService) -> Result<Option<ObservedVirtualServer>, Error> {
        let key = service.service.key;
        let destinations = self.ipvs.destinations(&key)?;
        // The kernel does not tell a service without destinations from none at all.
        let service = if destinations.is_empty() {
            self.ipvs.service(&key)?
        } else {
            Some(service)
        };
        Ok(service.map(|service| ObservedVirtualServer {
            service,
            destinations,
        }))
    }
}

fn listing(cause: Cause) -> Error {
    Error::new("list virtual servers", cause)
}

impl Ipvs {
    /// All services with all their destinations: the services are listed again behind the destinations, and all is read
    /// again if they differ, so that none is missing and none is double.
    ///
    /// Costs a request for each service, as the kernel has none for all destinations.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when the services keep changing; whatever the kernel refuses.
    pub fn snapshot(&mut self) -> Result<Vec<ObservedVirtualServer>, Error> {
        let key = |observed: &ObservedService| observed.service.key;
        let same = |a: &ObservedService, b: &ObservedService| a.service == b.service;
        for _ in 0..ATTEMPTS {
            let (services, _) = once(|found| self.dump_services(found), key).map_err(listing)?;
            let mut destinations = Vec::with_capacity(services.len());
            for service in &services {
                destinations.push(self.destinations(&service.service.key)?);
            }
            let (again, shape) = once(|found| self.dump_services(found), key).map_err(listing)?;
            if !shape.interrupted && agree(&services, &again, key, same) {
                let servers = services.into_iter().zip(destinations);
                return Ok(servers
                    .map(|(service, destinations)| ObservedVirtualServer {
                        service,
                        destinations,
                    })
                    .collect());
            }
        }
        Err(listing(Cause::Unstable(ATTEMPTS)))
    }
}
