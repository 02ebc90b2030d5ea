use crate::error::{SemanticError, WireError};
use crate::wire::{CmdAttr, InfoAttr, IpvsMessage, IpvsPayload};

/// IPVS's own connection timeouts (`SET_CONFIG`, `GET_CONFIG`), as `ipvsadm --set`. In a request 0 means "keep".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Timeouts {
    /// Established TCP connections, seconds.
    pub tcp: u32,
    /// TCP connections after a FIN, seconds.
    pub tcp_fin: u32,
    /// UDP flows, seconds.
    pub udp: u32,
}

impl Timeouts {
    /// Reads the answer to `GET_CONFIG` from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`SemanticError`] when the bytes are no such answer.
    pub fn parse(message: &[u8]) -> Result<Self, SemanticError> {
        let mut timeouts = Self::default();
        let IpvsPayload::Cmd(attrs) = IpvsMessage::parse(message)?.payload else {
            return Err(SemanticError::Missing("IPVS_CMD_ATTR_TIMEOUT_TCP"));
        };
        for attr in attrs {
            match attr {
                CmdAttr::TimeoutTcp(seconds) => timeouts.tcp = seconds,
                CmdAttr::TimeoutTcpFin(seconds) => timeouts.tcp_fin = seconds,
                CmdAttr::TimeoutUdp(seconds) => timeouts.udp = seconds,
                _ => {}
            }
        }
        Ok(timeouts)
    }

    pub(crate) fn for_each_attr(&self, mut each: impl FnMut(CmdAttr)) {
        each(CmdAttr::TimeoutTcp(self.tcp));
        each(CmdAttr::TimeoutTcpFin(self.tcp_fin));
        each(CmdAttr::TimeoutUdp(self.udp));
    }
}

/// Version of IPVS and size of its connection table (`GET_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// 0x010201 is 1.2.1.
    pub version: u32,
    /// Buckets of the connection table; 0 since Linux 7.1 while the namespace has no service.
    pub connection_table_size: u32,
}

impl Info {
    /// Reads the answer to `GET_INFO` from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are no IPVS message.
    pub fn parse(message: &[u8]) -> Result<Self, WireError> {
        let mut info = Self::default();
        if let IpvsPayload::Info(attrs) = IpvsMessage::parse(message)?.payload {
            for attr in attrs {
                match attr {
                    InfoAttr::Version(version) => info.version = version,
                    InfoAttr::ConnTabSize(size) => info.connection_table_size = size,
                    InfoAttr::Other(_) => {}
                }
            }
        }
        Ok(info)
    }
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [_, major, minor, patch] = self.version.to_be_bytes();
        write!(
            f,
            "IPVS {major}.{minor}.{patch} (size={})",
            self.connection_table_size
        )
    }
}
