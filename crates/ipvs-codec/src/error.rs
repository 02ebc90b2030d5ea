use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::DecodeError;

/// Bytes that do not form an IPVS message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// An attribute is shorter than its type.
    #[error("{attr}: need {need} bytes, got {got}")]
    Short {
        /// The attribute's name in the kernel's header.
        attr: &'static str,
        /// Bytes that the type needs.
        need: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// An attribute is longer than the kernel ever accepts.
    #[error("{attr}: at most {most} bytes, got {got}")]
    Long {
        /// The attribute's name in the kernel's header.
        attr: &'static str,
        /// Bytes that the kernel accepts.
        most: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// A string has no terminating NUL.
    #[error("{attr}: not a NUL-terminated string")]
    Unterminated {
        /// The attribute's name in the kernel's header.
        attr: &'static str,
    },
    /// An attribute header is cut off, or claims more bytes than there are.
    #[error("{within}: broken attribute header")]
    BrokenAttribute {
        /// The nest that the attribute stands in.
        within: &'static str,
    },
    /// A netlink header that lies about its length, or an error message without an error number.
    #[error("broken netlink message")]
    BrokenFrame,
    /// The generic netlink header is missing.
    #[error("generic netlink header: need 4 bytes, got {got}")]
    NoHeader {
        /// Bytes that were there.
        got: usize,
    },
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        Self::from(error.to_string())
    }
}

/// Attributes that do not form a service or a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SemanticError {
    /// The bytes are no attributes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An attribute of the identity is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The address family is neither IPv4 nor IPv6.
    #[error("address family {0} is neither IPv4 (2) nor IPv6 (10)")]
    UnknownFamily(u16),
    /// The state of a daemon is neither master nor backup.
    #[error("daemon state {0} is neither master (1) nor backup (2)")]
    UnknownDaemonState(u32),
}

/// A value that the kernel would refuse, or accept and silently mangle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// Scheduler or persistence engine name.
    #[error("{what} name {name:?}: 1 to {most} bytes without NUL or white space")]
    Name {
        /// Which name.
        what: &'static str,
        /// The refused name.
        name: String,
        /// The longest that the kernel takes.
        most: usize,
    },
    /// The kernel keeps weights in 31 bits and refuses more with `ERANGE`.
    #[error("weight {0}: at most 2147483647")]
    Weight(u32),
    /// The kernel multiplies by HZ, up to 1000, in 32 bits: it wraps persistence timeouts silently, and refuses others
    /// with `EINVAL`.
    #[error("timeout {seconds} s: at most {most} s")]
    Timeout {
        /// The refused timeout.
        seconds: u32,
        /// The longest that every kernel takes.
        most: u32,
    },
    /// A prefix length of another family.
    #[error("prefix length {0}: at most {1}")]
    Prefix(u8, u8),
    /// The kernel takes any protocol number, and balances three of them.
    #[error("protocol {0}: IPVS balances TCP (6), UDP (17) and SCTP (132)")]
    Protocol(u16),
    /// The kernel makes the service TCP 0.0.0.0:0 of mark 0.
    #[error("firewall mark 0 is no mark: the kernel would make the service TCP 0.0.0.0:0 of it")]
    MarkZero,
    /// The kernel does not check IPv4 masks.
    #[error("netmask {0}: its one-bits must stand together at the front")]
    Netmask(Ipv4Addr),
    /// Thresholds that the kernel refuses with `ERANGE`, or compares as negative numbers.
    #[error(
        "thresholds {upper} and {lower}: the upper one is at most 2147483647, the lower one at most the upper one"
    )]
    Thresholds {
        /// The upper one.
        upper: u32,
        /// The lower one.
        lower: u32,
    },
    /// The kernel refuses it with `EINVAL`.
    #[error("{0} is no multicast group")]
    Group(IpAddr),
}

/// A line that is not one of `ipvsadm -S -n`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// An option or word that does not belong here.
    #[error("unexpected {0:?}")]
    Unexpected(String),
    /// Something that must be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An option without its value.
    #[error("{0} needs a value")]
    NoValue(String),
    /// A value that cannot be read.
    #[error("{option}: cannot read {value:?}")]
    Value {
        /// The option, or what it is.
        option: String,
        /// What stands there.
        value: String,
    },
    /// A value that the kernel would refuse or mangle.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
}
