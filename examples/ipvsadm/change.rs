//! One change of the table: the request that makes it, and what the kernel's refusal means.

use ipvs_codec::{Daemon, DaemonState, Destination, Request, Service, ServiceKey, Timeouts};
use ipvs_netlink::Cause;

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    AddService(Service),
    EditService(Service),
    DeleteService(ServiceKey),
    AddServer(ServiceKey, Destination),
    EditServer(ServiceKey, Destination),
    DeleteServer(ServiceKey, Destination),
    Clear,
    Zero(Option<ServiceKey>),
    Set(Timeouts),
    StartDaemon(Daemon),
    StopDaemon(DaemonState),
}

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

impl Change {
    pub(crate) const fn request(&self) -> Request<'_> {
        match self {
            Self::AddService(service) => Request::NewService(service),
            Self::EditService(service) => Request::SetService(service),
            Self::DeleteService(key) => Request::DelService(key),
            Self::AddServer(key, destination) => Request::NewDest(key, destination),
            Self::EditServer(key, destination) => Request::SetDest(key, destination),
            Self::DeleteServer(key, destination) => Request::DelDest(key, destination.addr),
            Self::Clear => Request::Flush,
            Self::Zero(None) => Request::Zero(None),
            Self::Zero(Some(key)) => Request::Zero(Some(key)),
            Self::Set(timeouts) => Request::SetConfig(*timeouts),
            Self::StartDaemon(daemon) => Request::NewDaemon(daemon),
            Self::StopDaemon(state) => Request::DelDaemon(*state),
        }
    }

    /// What a refusal means for this change.
    pub(crate) fn meaning(&self, cause: &Cause) -> String {
        let own = cause.errno().and_then(|errno| match (self, errno) {
            (Self::AddService(_), EEXIST) => Some("Service already exists"),
            (Self::AddService(_) | Self::EditService(_), ENOENT) => {
                Some("Scheduler or persistence engine not found")
            }
            (Self::EditService(_) | Self::DeleteService(_) | Self::Zero(_), ESRCH) => {
                Some("No such service")
            }
            (Self::AddServer(..) | Self::EditServer(..) | Self::DeleteServer(..), ESRCH) => {
                Some("Service not defined")
            }
            (Self::AddServer(..), EEXIST) => Some("Destination already exists"),
            (Self::EditServer(..) | Self::DeleteServer(..), ENOENT) => Some("No such destination"),
            (Self::StartDaemon(_), EEXIST) => Some("Daemon has already run"),
            (Self::StopDaemon(_), ESRCH) => Some("No daemon is running"),
            _ => None,
        });
        own.map_or_else(|| general(cause), str::to_owned)
    }
}

/// What a refusal means whatever was asked.
pub(crate) fn general(cause: &Cause) -> String {
    let Some(errno) = cause.errno() else {
        return cause.to_string();
    };
    let known = match errno {
        1 => "Permission denied (you must be root)",
        12 => "Memory allocation problem",
        22 => "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        90 => "Module is wrong version",
        92 => "Protocol not available",
        95 => "Operation not supported with IPv6",
        97 => "Operation not supported with specified address family",
        _ => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            return match text.split_once(" (os error") {
                Some((meaning, _)) => meaning.to_owned(),
                None => text,
            };
        }
    };
    known.to_owned()
}
