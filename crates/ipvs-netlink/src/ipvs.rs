use ipvs_codec::{
    Daemon, FAMILY_NAME, FamilyNumber, Info, ObservedDestination, ObservedService, Request,
    Service, ServiceKey, Timeouts, parse_destination, parse_service,
};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::connection::{Answered, Connection, DumpShape, Head};
use crate::error::{Cause, ENOENT, Error, Outcome};
use crate::listing::stable;
use crate::namespace::NetworkNamespace;

/// IPVS in the network namespace of the thread that opened it.
///
/// ```no_run
/// use ipvs_codec::{Destination, Protocol, Request, Scheduler, Service, ServiceKey};
/// use ipvs_netlink::Ipvs;
///
/// let mut ipvs = Ipvs::open()?;
/// let service = Service::new(ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse()?, 80), Scheduler::RR);
/// let destination = Destination::new("10.244.1.5:8080".parse()?);
/// let outcomes = ipvs.batch(&[Request::NewService(&service), Request::NewDest(&service.key, &destination)]);
/// assert!(outcomes.iter().all(Result::is_ok));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ipvs {
    connection: Connection,
    family: u16,
}

impl Ipvs {
    /// Opens a connection and resolves the family, which makes the kernel load `ip_vs`.
    ///
    /// # Errors
    /// [`Cause::NoFamily`] without IPVS in the kernel, [`Cause::Io`] when the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Self::open_at(None)
    }

    /// Opens a connection in another network namespace.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Cause::Namespace`] when it cannot be entered (`EPERM` without `CAP_SYS_ADMIN`).
    pub fn open_in(namespace: &NetworkNamespace) -> Result<Self, Error> {
        Self::open_at(Some(namespace))
    }

    fn open_at(namespace: Option<&NetworkNamespace>) -> Result<Self, Error> {
        let open = || {
            let mut connection = Connection::open(NETLINK_GENERIC, namespace)?;
            let family = resolve(&mut connection)?;
            Ok(Self { connection, family })
        };
        open().map_err(|cause: Cause| Error::new("open IPVS", cause))
    }

    /// The number that the kernel gave the family; it changes when `ip_vs` is loaded again.
    #[must_use]
    pub const fn family(&self) -> u16 {
        self.family
    }

    /// Sends one request that answers with nothing but success or an error.
    ///
    /// # Errors
    /// Whatever the kernel refuses; the text names the object, and says what the error number means for this request.
    pub fn request(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let outcomes = self.batch(std::slice::from_ref(request));
        outcomes.into_iter().collect()
    }

    /// Sends requests that answer with nothing but success or an error: one outcome for each, in order. A failed one does not
    /// stop the others; its error names what it asked for. When `ip_vs` was unloaded and loaded again meanwhile, the requests
    /// that went to its old family number are sent again.
    pub fn batch(&mut self, requests: &[Request<'_>]) -> Vec<Outcome> {
        let mut outcomes = self.send(requests);
        let stale: Vec<usize> = positions(&outcomes, is_enoent);
        // ENOENT is also the answer for a missing destination or scheduler: only a new number tells the difference.
        if !stale.is_empty() && self.family_changed() {
            let again: Vec<Request<'_>> = stale
                .iter()
                .filter_map(|at| requests.get(*at).copied())
                .collect();
            for (at, outcome) in stale.into_iter().zip(self.send(&again)) {
                if let Some(place) = outcomes.get_mut(at) {
                    *place = outcome;
                }
            }
        }
        let failed = |cause: Cause, request: &Request<'_>| {
            Error::new(request.to_string(), cause.of_ipvs(request))
        };
        outcomes
            .into_iter()
            .zip(requests)
            .map(|(outcome, request)| outcome.map_err(|cause| failed(cause, request)))
            .collect()
    }

    fn send(&mut self, requests: &[Request<'_>]) -> Vec<Answered> {
        let head = Head::new(self.family);
        self.connection.batch(requests, |request, out| {
            request.emit(out);
            head
        })
    }

    fn family_changed(&mut self) -> bool {
        match resolve(&mut self.connection) {
            Ok(family) if family != self.family => {
                self.family = family;
                true
            }
            _ => false,
        }
    }

    fn get(
        &mut self,
        request: Request<'_>,
        mut read: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<DumpShape, Cause> {
        let mut ask = |ipvs: &mut Self| {
            let head = Head::new(ipvs.family);
            let write = |out: &mut Vec<u8>| {
                request.emit(out);
                head
            };
            if request.is_dump() {
                ipvs.connection.dump(write, &mut read)
            } else {
                ipvs.connection
                    .request(write, &mut read)
                    .map(|()| DumpShape {
                        chunks: 1,
                        interrupted: false,
                    })
            }
        };
        match ask(self) {
            Err(cause) if cause.errno() == Some(ENOENT) && self.family_changed() => ask(self),
            answer => answer,
        }
    }

    /// Version and size of the connection table.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` in the initial user namespace.
    pub fn info(&mut self) -> Result<Info, Error> {
        let mut info = Info::default();
        self.get(Request::GetInfo, |message| {
            info = Info::parse(message).map_err(malformed)?;
            Ok(())
        })
        .map_err(|cause| Error::new("get IPVS info", cause))?;
        Ok(info)
    }

    /// The connection timeouts.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` in the initial user namespace.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        let mut timeouts = Timeouts::default();
        self.get(Request::GetConfig, |message| {
            timeouts = Timeouts::parse(message).map_err(malformed)?;
            Ok(())
        })
        .map_err(|cause| Error::new("get IPVS timeouts", cause))?;
        Ok(timeouts)
    }

    /// The connection synchronisation daemons that run, the master first.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN` in the initial user namespace.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        let mut daemons = Vec::new();
        self.get(Request::DumpDaemons, |message| {
            daemons.push(Daemon::parse(message).map_err(malformed)?);
            Ok(())
        })
        .map_err(|cause| Error::new("list synchronisation daemons", cause))?;
        Ok(daemons)
    }

    /// One service; `None` if there is none.
    ///
    /// # Errors
    /// Whatever the kernel refuses but `ESRCH`.
    pub fn service(&mut self, key: &ServiceKey) -> Result<Option<ObservedService>, Error> {
        let mut service = None;
        let answer = self.get(Request::GetService(key), |message| {
            service = Some(parse_service(message).map_err(malformed)?);
            Ok(())
        });
        match answer {
            Err(cause) if !cause.is_not_found() => {
                Err(Error::new(format!("get virtual server {key}"), cause))
            }
            _ => Ok(service),
        }
    }

    /// All services, each once, in the kernel's order. A dump is resumed by index and the kernel does not say when
    /// the table changed meanwhile, so one that took several chunks is read again until two in a row agree.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when none agree; whatever the kernel refuses.
    pub fn services(&mut self) -> Result<Vec<ObservedService>, Error> {
        stable(
            |found| self.dump_services(found),
            |observed| observed.service.key,
            |a, b| a.service == b.service,
        )
        .map_err(|cause| Error::new("list virtual servers", cause))
    }

    pub(crate) fn dump_services(
        &mut self,
        found: &mut Vec<ObservedService>,
    ) -> Result<DumpShape, Cause> {
        self.get(Request::DumpServices, |message| {
            found.push(parse_service(message).map_err(malformed)?);
            Ok(())
        })
    }

    /// The destinations of a service, each once, in the kernel's order, the newest first; stable as
    /// [`services`](Self::services). None for a service that is not there: the kernel does not tell it from an empty
    /// one.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when no two dumps agree; whatever the kernel refuses.
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<ObservedDestination>, Error> {
        let family = key.family();
        stable(
            |found| {
                self.get(Request::DumpDests(key), |message| {
                    found.push(parse_destination(message, family).map_err(malformed)?);
                    Ok(())
                })
            },
            |observed| observed.destination.addr,
            |a, b| a.destination == b.destination,
        )
        .map_err(|cause| Error::new(format!("list real servers of {key}"), cause))
    }

    /// Sends the request for a dump of all services, to be read by [`next_chunk`](Self::next_chunk).
    pub(crate) fn begin_listing(&mut self) -> Result<(), Cause> {
        let head = Head::new(self.family);
        self.connection.begin_dump(|out| {
            Request::DumpServices.emit(out);
            head
        })
    }

    /// Reads the next chunk of the services; whether it was the last. After an old family number it can be begun again.
    pub(crate) fn next_chunk(&mut self, found: &mut Vec<ObservedService>) -> Result<bool, Cause> {
        let done = self.connection.next_chunk(|message| {
            found.push(parse_service(message).map_err(malformed)?);
            Ok(())
        });
        if matches!(&done, Err(cause) if cause.errno() == Some(ENOENT)) {
            self.family_changed();
        }
        done
    }

    /// Makes a service and removes it again, which loads its scheduler's module: shows that IPVS is usable.
    ///
    /// # Errors
    /// `ENOENT` when the kernel has no such scheduler; whatever else the kernel refuses.
    pub fn probe(&mut self, service: &Service) -> Result<(), Error> {
        let requests = [
            Request::NewService(service),
            Request::DelService(&service.key),
        ];
        self.batch(&requests).into_iter().collect()
    }
}

fn is_enoent(outcome: &Answered) -> bool {
    matches!(outcome, Err(cause) if cause.errno() == Some(ENOENT))
}

fn positions<T>(items: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    items
        .iter()
        .enumerate()
        .filter(|(_, item)| wanted(item))
        .map(|(at, _)| at)
        .collect()
}

pub(crate) fn malformed(error: impl std::fmt::Display) -> Cause {
    Cause::Malformed(error.to_string())
}

/// Asks the controller for the family's number.
fn resolve(connection: &mut Connection) -> Result<u16, Cause> {
    let mut number = None;
    let answer = connection.request(
        |out| {
            FamilyNumber::emit_request(out);
            Head::new(FamilyNumber::CONTROLLER)
        },
        |message| {
            number = FamilyNumber::parse(message);
            Ok(())
        },
    );
    match answer {
        Err(cause) if cause.errno() == Some(ENOENT) => Err(Cause::NoFamily(FAMILY_NAME)),
        Err(cause) => Err(cause),
        Ok(()) => number
            .map(|FamilyNumber(number)| number)
            .ok_or_else(|| malformed("a family answer without a number")),
    }
}
