use std::fmt;
use std::io;

use ipvs_codec::WireError;
use ipvs_codec::reply::Refusal;
use ipvs_netfilter::ipset;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel refused it.
    #[error("{0}")]
    Kernel(KernelError),
    /// A bitmap set has no room for an entry. ipset has the same number for a hash set that is full.
    #[error("the entry is out of the set's range (ipset error {})", .0.errno)]
    OutOfRange(KernelError),
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Io(io::Error),
    /// A network namespace cannot be opened or entered.
    #[error("{reason}")]
    Namespace {
        /// Why, and what is missing.
        reason: String,
        /// The error number, where the system gave one: `EPERM` without `CAP_SYS_ADMIN`.
        errno: Option<i32>,
    },
    /// The kernel's answers did not fit the receive buffer (`ENOBUFS`): what happened is unknown, observe again.
    #[error("answers were lost (ENOBUFS): the state must be read again")]
    Lost,
    /// The socket was closed from the other side.
    #[error("the netlink socket was closed")]
    Closed,
    /// No answer came in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// An answer did not fit the buffer, so that a part of it is missing.
    #[error("a truncated answer")]
    Truncated,
    /// A dump kept changing while it was read: entries may be missing or double.
    #[error("the table kept changing while it was read ({0} attempts): try again")]
    Unstable(usize),
    /// The kernel has no such generic netlink family and could not load it.
    #[error("the kernel has no generic netlink family {0}: load the module with `modprobe ip_vs`")]
    NoFamily(&'static str),
    /// The kernel does not speak what is spoken here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Bytes that are no answer to what was asked.
    #[error("an answer that does not parse: {0}")]
    Malformed(String),
}

/// An error number of the kernel, with its own words where it gave some.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelError {
    /// The positive error number; ipset has its own from 4096 on.
    pub errno: i32,
    /// The text of the extended acknowledgement (`NLMSGERR_ATTR_MSG`).
    pub text: Option<String>,
    /// What the number means for this request, and what can be done, where that is known.
    pub advice: Option<Box<str>>,
}

impl KernelError {
    /// A positive error number, without a text.
    #[must_use]
    pub const fn new(errno: i32) -> Self {
        Self {
            errno,
            text: None,
            advice: None,
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ipset::error_text(self.errno) {
            Some(meaning) => write!(f, "{meaning} (ipset error {})", self.errno)?,
            None => write!(f, "{}", io::Error::from_raw_os_error(self.errno))?,
        }
        if let Some(text) = &self.text {
            write!(f, ": {text}")?;
        }
        if self.errno == EPERM {
            f.write_str(": needs CAP_NET_ADMIN in the initial user namespace")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, ": {advice}")?;
        }
        Ok(())
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        let Refusal { errno, text, .. } = refusal;
        KernelError {
            text,
            ..KernelError::new(errno)
        }
        .into()
    }
}

impl From<KernelError> for Cause {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<WireError> for Cause {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

pub(crate) const EPERM: i32 = 1;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const ESRCH: i32 = 3;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;
/// `IPSET_ERR_EXIST`.
const IPSET_EXIST: i32 = 4103;

impl Cause {
    /// The kernel's error number, if it was the kernel that refused the request, or a network namespace.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel(error) | Self::OutOfRange(error) => Some(error.errno),
            Self::Namespace { errno, .. } => *errno,
            _ => None,
        }
    }

    /// The object is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(ENOENT | ESRCH | ENODEV | EADDRNOTAVAIL))
    }

    /// The object is there already.
    #[must_use]
    pub const fn is_exists(&self) -> bool {
        matches!(self.errno(), Some(EEXIST | IPSET_EXIST))
    }

    /// The process lacks `CAP_NET_ADMIN`.
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(EPERM))
    }

    /// The set holds as many entries as it can.
    #[must_use]
    pub const fn is_set_full(&self) -> bool {
        matches!(
            self,
            Self::Kernel(KernelError {
                errno: ipset::HASH_FULL,
                ..
            })
        )
    }

    /// What became of a request to ipset: some numbers mean something else for a bitmap.
    pub(crate) fn of_set(self, request: &ipset::Request<'_>) -> Self {
        let (ipset::Request::Add(_, entry) | ipset::Request::Delete(_, entry)) = request else {
            return self;
        };
        match self {
            Self::Kernel(error)
                if error.errno == ipset::BITMAP_RANGE && matches!(entry, ipset::Entry::Port(_)) =>
            {
                Self::OutOfRange(error)
            }
            cause => cause,
        }
    }
}

/// A request that failed: what was tried, on what, and why. Its text says all of it, so it has no
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {cause}")]
pub struct Error {
    operation: String,
    cause: Cause,
}

/// What became of one request of several.
pub type Outcome = Result<(), Error>;

impl Error {
    pub(crate) fn new(operation: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self {
            operation: operation.into(),
            cause: cause.into(),
        }
    }

    /// What was tried, and on what.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Why it failed.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        self.cause.errno()
    }

    /// The object is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        self.cause.is_not_found()
    }

    /// The object is there already.
    #[must_use]
    pub const fn is_exists(&self) -> bool {
        self.cause.is_exists()
    }

    /// The process lacks `CAP_NET_ADMIN`.
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        self.cause.is_permission()
    }

    /// The set holds as many entries as it can.
    #[must_use]
    pub const fn is_set_full(&self) -> bool {
        self.cause.is_set_full()
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        error.cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipset::{Entry, Request, SetName};

    #[test]
    fn an_error_says_everything_once() {
        let refusal = io::Error::from_raw_os_error(13);
        let error = Error::new("open IPVS", refusal);
        let said = "open IPVS: netlink socket: Permission denied (os error 13)";
        assert_eq!(error.to_string(), said);
        assert!(std::error::Error::source(&error).is_none());
        assert!(std::error::Error::source(error.cause()).is_none());
    }

    #[test]
    fn a_bitmap_says_out_of_range_where_a_hash_set_says_full() {
        let name = SetName::new("KUBE-NODE-PORT-TCP").unwrap();
        let cause = |entry| Cause::from(KernelError::new(4352)).of_set(&Request::Add(name, entry));
        let of_bitmap = cause(Entry::Port(30080));
        assert_eq!(
            of_bitmap.to_string(),
            "the entry is out of the set's range (ipset error 4352)"
        );
        assert!(!of_bitmap.is_set_full() && of_bitmap.errno() == Some(4352));
        let of_hash = cause(Entry::Ip([10, 96, 0, 10].into()));
        assert_eq!(of_hash.to_string(), "the set is full (ipset error 4352)");
        assert!(of_hash.is_set_full());
    }
}
