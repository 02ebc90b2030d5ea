use std::fmt;
use std::net::SocketAddr;

use netlink_packet_core::Nla;

use crate::encode;
use crate::types::{Daemon, DaemonState, Destination, Service, ServiceFlags, ServiceKey, Timeouts};
use crate::wire::kinds::DAEMON_NEST;
use crate::wire::{DaemonAttr, IpvsCmd, write_attr};

/// A request to IPVS, written straight from the typed layer.
///
/// ```
/// use ipvs_codec::{Request, wire::IpvsMessage};
///
/// let mut bytes = Vec::new();
/// Request::DumpServices.emit(&mut bytes);
/// assert_eq!(bytes, [4, 1, 0, 0]); // GET_SERVICE, version 1
/// assert!(Request::DumpServices.is_dump());
/// assert_eq!(Request::DumpServices.to_string(), "list virtual servers");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Make a service. `EEXIST` if it is there, `ENOENT` if the scheduler is not.
    NewService(&'a Service),
    /// Change a service; everything is replaced. `ESRCH` if it is not there.
    SetService(&'a Service),
    /// Change a service, and of its flags only those of the mask. `ESRCH` if it is not there.
    SetServiceMasked(&'a Service, ServiceFlags),
    /// Remove a service with its destinations. `ESRCH` if it is not there.
    DelService(&'a ServiceKey),
    /// Read one service. `ESRCH` if it is not there.
    GetService(&'a ServiceKey),
    /// Read all services.
    DumpServices,
    /// Make a destination. `ESRCH` without the service, `EEXIST` if it is there, `EINVAL` for an address that is
    /// not unicast.
    NewDest(&'a ServiceKey, &'a Destination),
    /// Change a destination; everything is replaced. `ENOENT` if it is not there.
    SetDest(&'a ServiceKey, &'a Destination),
    /// Remove a destination. `ENOENT` if it is not there.
    DelDest(&'a ServiceKey, SocketAddr),
    /// Read the destinations of a service. The answer is the same, none, for a missing and an empty service.
    DumpDests(&'a ServiceKey),
    /// Start a synchronisation daemon. `EEXIST` if it runs, `ENODEV` without the interface, `EINVAL` while a service
    /// has destinations of another family.
    NewDaemon(&'a Daemon),
    /// Stop a synchronisation daemon. `ESRCH` if it does not run.
    DelDaemon(DaemonState),
    /// Read the synchronisation daemons, the master first.
    DumpDaemons,
    /// Read the timeouts.
    GetConfig,
    /// Set the timeouts.
    SetConfig(Timeouts),
    /// Read version and table size.
    GetInfo,
    /// Set the counters of one service, or of all, to zero.
    Zero(Option<&'a ServiceKey>),
    /// Remove every service of the namespace.
    Flush,
}

impl Request<'_> {
    /// The command.
    #[must_use]
    pub const fn command(&self) -> IpvsCmd {
        match self {
            Self::NewService(_) => IpvsCmd::NEW_SERVICE,
            Self::SetService(_) | Self::SetServiceMasked(..) => IpvsCmd::SET_SERVICE,
            Self::DelService(_) => IpvsCmd::DEL_SERVICE,
            Self::GetService(_) | Self::DumpServices => IpvsCmd::GET_SERVICE,
            Self::NewDest(..) => IpvsCmd::NEW_DEST,
            Self::SetDest(..) => IpvsCmd::SET_DEST,
            Self::DelDest(..) => IpvsCmd::DEL_DEST,
            Self::DumpDests(_) => IpvsCmd::GET_DEST,
            Self::NewDaemon(_) => IpvsCmd::NEW_DAEMON,
            Self::DelDaemon(_) => IpvsCmd::DEL_DAEMON,
            Self::DumpDaemons => IpvsCmd::GET_DAEMON,
            Self::GetConfig => IpvsCmd::GET_CONFIG,
            Self::SetConfig(_) => IpvsCmd::SET_CONFIG,
            Self::GetInfo => IpvsCmd::GET_INFO,
            Self::Zero(_) => IpvsCmd::ZERO,
            Self::Flush => IpvsCmd::FLUSH,
        }
    }

    /// Whether it must travel with `NLM_F_DUMP`.
    #[must_use]
    pub const fn is_dump(&self) -> bool {
        matches!(
            self,
            Self::DumpServices | Self::DumpDests(_) | Self::DumpDaemons
        )
    }

    /// Appends generic netlink header and attributes. Allocates nothing but the growth of `out`.
    // Inlined, because most callers know which request they write, and nothing is left to be decided then.
    #[inline(always)]
    pub fn emit(&self, out: &mut Vec<u8>) {
        let command = self.command();
        let header = |out: &mut Vec<u8>| out.extend_from_slice(&[command.0, 1, 0, 0]);
        match self {
            Self::NewService(service) | Self::SetService(service) => {
                encode::service(command, service, ServiceFlags::all(), out);
            }
            Self::NewDest(key, destination) | Self::SetDest(key, destination) => {
                encode::destination(command, key, destination, out);
            }
            Self::SetServiceMasked(service, mask) => encode::service(command, service, *mask, out),
            Self::DelService(key)
            | Self::GetService(key)
            | Self::DumpDests(key)
            | Self::Zero(Some(key)) => encode::about_service(command, key, out),
            Self::DelDest(key, addr) => encode::about_destination(command, key, *addr, out),
            Self::NewDaemon(daemon) => {
                header(out);
                nest(out, DAEMON_NEST, |out| {
                    daemon.for_each_attr(|attr| push(out, &attr))
                });
            }
            Self::DelDaemon(state) => {
                header(out);
                nest(out, DAEMON_NEST, |out| {
                    push(out, &DaemonAttr::State(state.number()))
                });
            }
            Self::SetConfig(timeouts) => {
                header(out);
                timeouts.for_each_attr(|attr| push(out, &attr));
            }
            Self::DumpServices
            | Self::DumpDaemons
            | Self::GetConfig
            | Self::GetInfo
            | Self::Zero(None)
            | Self::Flush => header(out),
        }
    }
}

/// What it asks for, of what object: `add virtual server 10.96.0.10:80/TCP`.
impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewService(service) => write!(f, "add virtual server {}", service.key),
            Self::SetService(service) | Self::SetServiceMasked(service, _) => {
                write!(f, "set virtual server {}", service.key)
            }
            Self::DelService(key) => write!(f, "remove virtual server {key}"),
            Self::GetService(key) => write!(f, "get virtual server {key}"),
            Self::DumpServices => f.write_str("list virtual servers"),
            Self::NewDest(key, destination) => {
                write!(f, "add real server {key} -> {}", destination.addr)
            }
            Self::SetDest(key, destination) => {
                write!(f, "set real server {key} -> {}", destination.addr)
            }
            Self::DelDest(key, addr) => write!(f, "remove real server {key} -> {addr}"),
            Self::DumpDests(key) => write!(f, "list real servers of {key}"),
            Self::NewDaemon(daemon) => {
                write!(f, "start the {} synchronisation daemon", daemon.state)
            }
            Self::DelDaemon(state) => write!(f, "stop the {state} synchronisation daemon"),
            Self::DumpDaemons => f.write_str("list synchronisation daemons"),
            Self::GetConfig => f.write_str("get IPVS timeouts"),
            Self::SetConfig(_) => f.write_str("set IPVS timeouts"),
            Self::GetInfo => f.write_str("get IPVS info"),
            Self::Zero(Some(key)) => write!(f, "set the counters of virtual server {key} to zero"),
            Self::Zero(None) => f.write_str("set all counters to zero"),
            Self::Flush => f.write_str("remove all virtual servers"),
        }
    }
}

#[inline]
pub(crate) fn push(out: &mut Vec<u8>, attr: &impl Nla) {
    let size = attr.value_len();
    let start = out.len();
    out.resize(
        start
            .saturating_add(size)
            .saturating_add(4)
            .next_multiple_of(4),
        0,
    );
    write_attr(attr, size, out.get_mut(start..).unwrap_or_default());
}

/// Writes a nest and sets its length afterwards. A request's nests are far below the 64 KiB of the length field.
fn nest(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 2]);
    out.extend(kind.to_ne_bytes());
    fill(out);
    let length = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *field = length.to_ne_bytes();
    }
}
