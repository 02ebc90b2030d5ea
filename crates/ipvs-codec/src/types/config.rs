use crate::error::{InvalidValue, WireError};
use crate::message_attrs::attributes;
use crate::wire::{Attribute as _, CmdAttr, InfoAttr, for_each_raw};

/// IPVS's own connection timeouts (`SET_CONFIG`, `GET_CONFIG`), as `ipvsadm --set`. In a request 0 means "keep".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Timeouts {
    /// Established TCP connections, seconds.
    pub tcp: u32,
    /// TCP connections after a FIN, seconds.
    pub tcp_fin: u32,
    /// UDP flows, seconds.
    pub udp: u32,
}

/// `INT_MAX` jiffies, at up to 1000 a second.
const MAX_TIMEOUT: u32 = 2_147_483;

impl Timeouts {
    /// Reads the answer to `GET_CONFIG` from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are no IPVS message.
    pub fn parse(message: &[u8]) -> Result<Self, WireError> {
        let mut timeouts = Self::default();
        for_each_raw("message", attributes(message)?, |raw| {
            match CmdAttr::read(&raw)? {
                CmdAttr::TimeoutTcp(seconds) => timeouts.tcp = seconds,
                CmdAttr::TimeoutTcpFin(seconds) => timeouts.tcp_fin = seconds,
                CmdAttr::TimeoutUdp(seconds) => timeouts.udp = seconds,
                _ => {}
            }
            Ok::<_, WireError>(())
        })?;
        Ok(timeouts)
    }

    /// Timeouts that every kernel takes; 0 keeps what is set.
    ///
    /// # Errors
    /// [`InvalidValue::Timeout`] above 2147483 s: the kernel counts in jiffies of up to 1000 a second, in 31 bits, and
    /// refuses more with `EINVAL`.
    pub const fn new(tcp: u32, tcp_fin: u32, udp: u32) -> Result<Self, InvalidValue> {
        let longest = longer(tcp, longer(tcp_fin, udp));
        if longest > MAX_TIMEOUT {
            return Err(InvalidValue::Timeout {
                seconds: longest,
                most: MAX_TIMEOUT,
            });
        }
        Ok(Self { tcp, tcp_fin, udp })
    }

    pub(crate) fn for_each_attr(&self, mut each: impl FnMut(CmdAttr)) {
        each(CmdAttr::TimeoutTcp(self.tcp));
        each(CmdAttr::TimeoutTcpFin(self.tcp_fin));
        each(CmdAttr::TimeoutUdp(self.udp));
    }
}

const fn longer(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

/// Version of IPVS and size of its connection table (`GET_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
        for_each_raw("info", attributes(message)?, |raw| {
            match InfoAttr::read(&raw)? {
                InfoAttr::Version(version) => info.version = version,
                InfoAttr::ConnTabSize(size) => info.connection_table_size = size,
                InfoAttr::Other(_) => {}
            }
            Ok::<_, WireError>(())
        })?;
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
