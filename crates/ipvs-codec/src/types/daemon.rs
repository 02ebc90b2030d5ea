use std::net::IpAddr;

use super::{InterfaceName, key::union_bytes};
use crate::error::{InvalidValue, SemanticError};
use crate::message_attrs::find;
use crate::wire::kinds::CMD_DAEMON;
use crate::wire::{Attribute as _, DaemonAttr, Name, for_each_raw};

/// Which half of connection synchronisation a daemon does. Both may run, each is started and stopped for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum DaemonState {
    /// Sends connections (1).
    Master,
    /// Receives connections (2).
    Backup,
}

impl DaemonState {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Master => 1,
            Self::Backup => 2,
        }
    }
}

impl std::fmt::Display for DaemonState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// A connection synchronisation daemon (`NEW_DAEMON`, `GET_DAEMON`). What is 0 or `None` in a request is filled in by
/// the kernel: group 224.0.0.81, port 8848, time to live 1, and what fits the interface's MTU. Those four need
/// Linux 4.3.
///
/// ```
/// use ipvs_codec::{Daemon, DaemonState};
///
/// let daemon = Daemon::new(DaemonState::Master, "eth0".parse().unwrap(), 7)
///     .with_group("224.0.0.82".parse().unwrap())
///     .unwrap();
/// assert_eq!(daemon.port, 0);
/// assert!(daemon.with_group("10.0.0.1".parse().unwrap()).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Daemon {
    /// Which half.
    pub state: DaemonState,
    /// Interface of the multicast (`IPVS_DAEMON_ATTR_MCAST_IFN`). `ENODEV` if there is none of the name.
    pub interface: InterfaceName,
    /// Daemons of one number synchronise. Only the low 8 bits travel, but the kernel keeps what another program gave.
    pub sync_id: u32,
    /// Longest message in bytes; the kernel lowers it to what the MTU allows.
    pub max_length: u16,
    /// Multicast group.
    pub group: Option<IpAddr>,
    /// UDP port of the multicast (host byte order on the wire, unlike every other port).
    pub port: u16,
    /// Time to live of the multicast.
    pub ttl: u8,
}

impl Daemon {
    /// A daemon with the kernel's own multicast options.
    #[must_use]
    pub const fn new(state: DaemonState, interface: InterfaceName, sync_id: u8) -> Self {
        Self {
            state,
            interface,
            sync_id: sync_id as u32,
            max_length: 0,
            group: None,
            port: 0,
            ttl: 0,
        }
    }

    /// Sets the multicast group.
    ///
    /// # Errors
    /// [`InvalidValue::Group`] for an address that is no multicast group, which the kernel refuses with `EINVAL`.
    pub const fn with_group(mut self, group: IpAddr) -> Result<Self, InvalidValue> {
        if !group.is_multicast() {
            return Err(InvalidValue::Group(group));
        }
        self.group = Some(group);
        Ok(self)
    }

    /// Reads an answer to `GET_DAEMON` from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`SemanticError`] when the bytes hold no daemon.
    pub fn parse(message: &[u8]) -> Result<Self, SemanticError> {
        use SemanticError::Missing;
        let (mut state, mut interface) = (None, None);
        let mut daemon = Self::new(DaemonState::Master, InterfaceName(Name::EMPTY), 0);
        for_each_raw(
            "daemon",
            find(message, CMD_DAEMON, "IPVS_CMD_ATTR_DAEMON")?,
            |raw| {
                match DaemonAttr::read(&raw)? {
                    DaemonAttr::State(1) => state = Some(DaemonState::Master),
                    DaemonAttr::State(2) => state = Some(DaemonState::Backup),
                    DaemonAttr::State(other) => {
                        return Err(SemanticError::UnknownDaemonState(other));
                    }
                    DaemonAttr::McastIfn(name) => interface = Some(InterfaceName(name)),
                    DaemonAttr::SyncId(id) => daemon.sync_id = id,
                    DaemonAttr::SyncMaxlen(length) => daemon.max_length = length,
                    DaemonAttr::McastGroup(group) => daemon.group = Some(group.into()),
                    DaemonAttr::McastGroup6(group) => daemon.group = Some(group.into()),
                    DaemonAttr::McastPort(port) => daemon.port = port,
                    DaemonAttr::McastTtl(ttl) => daemon.ttl = ttl,
                    DaemonAttr::Other(_) => {}
                }
                Ok(())
            },
        )?;
        daemon.state = state.ok_or(Missing("IPVS_DAEMON_ATTR_STATE"))?;
        daemon.interface = interface.ok_or(Missing("IPVS_DAEMON_ATTR_MCAST_IFN"))?;
        Ok(daemon)
    }

    /// Calls `each` with the attributes in the order of libipvs; what is left to the kernel is left out.
    pub(crate) fn for_each_attr(&self, mut each: impl FnMut(DaemonAttr)) {
        each(DaemonAttr::State(self.state.number()));
        each(DaemonAttr::McastIfn(self.interface.0));
        each(DaemonAttr::SyncId(self.sync_id));
        if self.max_length != 0 {
            each(DaemonAttr::SyncMaxlen(self.max_length));
        }
        match self.group {
            Some(IpAddr::V4(group)) => each(DaemonAttr::McastGroup(group.octets())),
            Some(group @ IpAddr::V6(_)) => each(DaemonAttr::McastGroup6(union_bytes(group))),
            None => {}
        }
        if self.port != 0 {
            each(DaemonAttr::McastPort(self.port));
        }
        if self.ttl != 0 {
            each(DaemonAttr::McastTtl(self.ttl));
        }
    }
}

/// As `ipvsadm -L --daemon` prints it.
impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            state,
            interface,
            sync_id,
            ..
        } = self;
        write!(
            f,
            "{state} sync daemon (mcast={interface}, syncid={sync_id}"
        )?;
        if self.max_length != 0 {
            write!(f, ", maxlen={}", self.max_length)?;
        }
        if let Some(group) = self.group {
            write!(f, ", group={group}")?;
        }
        if self.port != 0 {
            write!(f, ", port={}", self.port)?;
        }
        if self.ttl != 0 {
            write!(f, ", ttl={}", self.ttl)?;
        }
        f.write_str(")")
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Daemon {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self {
            state: u.arbitrary()?,
            interface: u.arbitrary()?,
            sync_id: u.arbitrary()?,
            max_length: u.arbitrary()?,
            group: u.arbitrary()?,
            port: u.arbitrary()?,
            ttl: u.arbitrary()?,
        })
    }
}
