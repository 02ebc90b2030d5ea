use netlink_packet_core::{DecodeError, Emitable, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::attrs::{CmdAttr, InfoAttr};
use super::nest::{emit_whole, parse_whole, whole_len};
use crate::error::WireError;

/// An IPVS command: `enum ip_vs_cmd` (any number is possible).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpvsCmd(pub u8);

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl IpvsCmd {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }

        impl std::fmt::Debug for IpvsCmd {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "IpvsCmd({other})"),
                }
            }
        }
    };
}

commands! {
    /// Make a service; also the command of every service in answers.
    NEW_SERVICE = 1,
    /// Change a service; replaces everything but the flags outside the mask.
    SET_SERVICE = 2,
    /// Remove a service and its destinations.
    DEL_SERVICE = 3,
    /// Read one service or dump all.
    GET_SERVICE = 4,
    /// Make a destination; also the command of every destination in answers.
    NEW_DEST = 5,
    /// Change a destination; replaces everything.
    SET_DEST = 6,
    /// Remove a destination.
    DEL_DEST = 7,
    /// Dump the destinations of a service.
    GET_DEST = 8,
    /// Start a synchronisation daemon.
    NEW_DAEMON = 9,
    /// Stop a synchronisation daemon.
    DEL_DAEMON = 10,
    /// Dump the synchronisation daemons.
    GET_DAEMON = 11,
    /// Set timeouts; also the command of the answer to `GET_CONFIG`.
    SET_CONFIG = 12,
    /// Read timeouts.
    GET_CONFIG = 13,
    /// Only the command of the answer to `GET_INFO`.
    SET_INFO = 14,
    /// Read version and size of the connection table.
    GET_INFO = 15,
    /// Set counters to zero.
    ZERO = 16,
    /// Remove every service of the namespace.
    FLUSH = 17,
}

/// The attributes of a message; the command decides which space they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpvsPayload {
    /// Every command but `SET_INFO`.
    Cmd(Vec<CmdAttr>),
    /// `SET_INFO`.
    Info(Vec<InfoAttr>),
}

/// An IPVS message behind its generic netlink header, lossless: what was parsed is emitted unchanged.
///
/// Works with anything built on `netlink-packet-core`: it is a [`GenlFamily`].
///
/// ```
/// use ipvs_codec::wire::{IpvsCmd, IpvsMessage, IpvsPayload};
///
/// let bytes = [15, 1, 0, 0]; // GET_INFO, version 1
/// let message = IpvsMessage::parse(&bytes).unwrap();
/// assert_eq!(message.cmd, IpvsCmd::GET_INFO);
/// assert_eq!(message.payload, IpvsPayload::Cmd(vec![]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpvsMessage {
    /// The command.
    pub cmd: IpvsCmd,
    /// Its attributes.
    pub payload: IpvsPayload,
    /// Bytes behind the last attribute that are none. The kernel answers them with a warning and goes on.
    pub leftover: Vec<u8>,
}

impl IpvsMessage {
    /// A message of attributes.
    #[must_use]
    pub const fn new(cmd: IpvsCmd, payload: IpvsPayload) -> Self {
        Self {
            cmd,
            payload,
            leftover: Vec::new(),
        }
    }

    /// Reads a message from the bytes behind the netlink header: generic netlink header and attributes.
    ///
    /// # Errors
    /// [`WireError::NoHeader`] for fewer than 4 bytes; every other message is kept as it is.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let Some(([cmd, _version, _reserved @ ..], attrs)) = bytes.split_first_chunk::<4>() else {
            return Err(WireError::NoHeader { got: bytes.len() });
        };
        Ok(Self::from_attrs(IpvsCmd(*cmd), attrs))
    }

    fn from_attrs(cmd: IpvsCmd, bytes: &[u8]) -> Self {
        let (payload, leftover) = if cmd == IpvsCmd::SET_INFO {
            let (attrs, leftover) = parse_whole(bytes);
            (IpvsPayload::Info(attrs), leftover)
        } else {
            let (attrs, leftover) = parse_whole(bytes);
            (IpvsPayload::Cmd(attrs), leftover)
        };
        Self {
            cmd,
            payload,
            leftover,
        }
    }
}

impl GenlFamily for IpvsMessage {
    fn family_name() -> &'static str {
        "IPVS"
    }
    fn command(&self) -> u8 {
        self.cmd.0
    }
    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for IpvsMessage {
    fn buffer_len(&self) -> usize {
        match &self.payload {
            IpvsPayload::Cmd(attrs) => whole_len(attrs, &self.leftover),
            IpvsPayload::Info(attrs) => whole_len(attrs, &self.leftover),
        }
    }
    fn emit(&self, buffer: &mut [u8]) {
        match &self.payload {
            IpvsPayload::Cmd(attrs) => emit_whole(attrs, &self.leftover, buffer),
            IpvsPayload::Info(attrs) => emit_whole(attrs, &self.leftover, buffer),
        }
    }
}

impl ParseableParametrized<[u8], GenlHeader> for IpvsMessage {
    fn parse_with_param(attrs: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self::from_attrs(IpvsCmd(header.cmd), attrs))
    }
}
