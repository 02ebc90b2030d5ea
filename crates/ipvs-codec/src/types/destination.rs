use std::fmt;
use std::net::SocketAddr;

use super::stats::StatsNests;
use super::{Family, Stats, Tunnel};
use crate::error::{InvalidValue, SemanticError};
use crate::wire::kinds::{
    DEST_ACTIVE_CONNS, DEST_ADDR, DEST_ADDR_FAMILY, DEST_FWD_METHOD, DEST_INACT_CONNS,
    DEST_L_THRESH, DEST_PERSIST_CONNS, DEST_PORT, DEST_STATS, DEST_STATS64, DEST_TUN_FLAGS,
    DEST_TUN_PORT, DEST_TUN_TYPE, DEST_U_THRESH, DEST_WEIGHT,
};
use crate::wire::{Address, Encoding as _, RawAttr, U8, U16, U16Be, U32, for_each_raw};

/// How packets reach a destination (`IPVS_DEST_ATTR_FWD_METHOD`). The kernel keeps the low three bits; 5 to 7 are
/// accepted and kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForwardMethod(u8);

impl ForwardMethod {
    /// Network address translation (0).
    pub const MASQUERADE: Self = Self(0);
    /// The destination is this machine (1).
    pub const LOCAL: Self = Self(1);
    /// IP in IP and its relatives (2).
    pub const TUNNEL: Self = Self(2);
    /// Direct routing (3).
    pub const DIRECT: Self = Self(3);
    /// Past the proxy (4).
    pub const BYPASS: Self = Self(4);

    /// From the low three bits of a number, as the kernel does.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self((number & 7) as u8)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for ForwardMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MASQUERADE => f.write_str("Masq"),
            Self::LOCAL => f.write_str("Local"),
            Self::TUNNEL => f.write_str("Tunnel"),
            Self::DIRECT => f.write_str("Route"),
            Self::BYPASS => f.write_str("Bypass"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

impl fmt::Debug for ForwardMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A destination as it is configured: IPVS's real server.
///
/// ```
/// use ipvs_codec::{Destination, ForwardMethod};
///
/// let destination = Destination::new("10.244.1.5:8080".parse().unwrap()).with_weight(3).unwrap();
/// assert_eq!(destination.forward, ForwardMethod::MASQUERADE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Destination {
    /// Address and port; with the family of the service but for tunnels.
    pub addr: SocketAddr,
    /// How packets get there.
    pub forward: ForwardMethod,
    /// Share of new connections; 0 takes none (quiesce).
    pub weight: u32,
    /// Connections at which it takes no more; 0 is no limit.
    pub upper_threshold: u32,
    /// Connections at which it takes some again; 0 is three quarters of the upper one.
    pub lower_threshold: u32,
    /// Encapsulation.
    pub tunnel: Tunnel,
}

impl Destination {
    /// A masqueraded destination of weight 1.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            forward: ForwardMethod::MASQUERADE,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::Ipip,
        }
    }

    /// Sets the weight.
    ///
    /// # Errors
    /// [`InvalidValue::Weight`] above 2147483647, which the kernel refuses with `ERANGE`.
    pub const fn with_weight(mut self, weight: u32) -> Result<Self, InvalidValue> {
        if weight > i32::MAX as u32 {
            return Err(InvalidValue::Weight(weight));
        }
        self.weight = weight;
        Ok(self)
    }

    /// Makes packets travel in a tunnel: the forwarding method and the encapsulation.
    #[must_use]
    pub const fn tunnelled(mut self, tunnel: Tunnel) -> Self {
        self.forward = ForwardMethod::TUNNEL;
        self.tunnel = tunnel;
        self
    }

    /// Sets the numbers of connections at which it takes no more (`upper`, 0 is no limit), and at which it then takes
    /// some again (`lower`, 0 is three quarters of `upper`).
    ///
    /// # Errors
    /// [`InvalidValue::Thresholds`] when `lower` is above `upper` (`ERANGE`, also when `upper` is 0) or `upper` above
    /// 2147483647, which kernels before 6.12 take and then compare as a negative number.
    pub const fn with_thresholds(mut self, upper: u32, lower: u32) -> Result<Self, InvalidValue> {
        if lower > upper || upper > i32::MAX as u32 {
            return Err(InvalidValue::Thresholds { upper, lower });
        }
        self.upper_threshold = upper;
        self.lower_threshold = lower;
        Ok(self)
    }
}

/// A destination as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ObservedDestination {
    /// Its configuration.
    pub destination: Destination,
    /// Connections in an established state.
    pub active_connections: u32,
    /// Connections in any other state.
    pub inactive_connections: u32,
    /// Persistence templates.
    pub persistent_connections: u32,
    /// Its counters: those of 64 bits where the kernel has them (4.1), else those of 32 bits.
    pub stats: Stats,
}

impl ObservedDestination {
    /// Reads the value of an `IPVS_CMD_ATTR_DEST` nest without allocating. A kernel before 3.18 does not say the
    /// family: it is then that of the service, `service_family`. Everything but the identity is optional.
    ///
    /// # Errors
    /// [`SemanticError`] when an attribute is broken, the identity is not complete or the family is unknown.
    pub fn parse(nest: &[u8], service_family: Family) -> Result<Self, SemanticError> {
        let mut fields = Fields::default();
        for_each_raw("destination", nest, |raw| fields.read(&raw))?;
        fields.finish(service_family)
    }
}

#[derive(Default)]
struct Fields<'a> {
    family: u16,
    addr: Option<[u8; 16]>,
    port: Option<u16>,
    forward: u32,
    weight: u32,
    upper: u32,
    lower: u32,
    tunnel: (u8, u16, u16),
    active: u32,
    inactive: u32,
    persistent: u32,
    stats: StatsNests<'a>,
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(&mut self, raw: &RawAttr<'a>) -> Result<(), SemanticError> {
        let bytes = raw.value;
        match raw.kind() {
            DEST_ADDR => self.addr = Some(Address::get("IPVS_DEST_ATTR_ADDR", bytes)?),
            DEST_PORT => self.port = Some(U16Be::get("IPVS_DEST_ATTR_PORT", bytes)?),
            DEST_FWD_METHOD => self.forward = U32::get("IPVS_DEST_ATTR_FWD_METHOD", bytes)?,
            DEST_WEIGHT => self.weight = U32::get("IPVS_DEST_ATTR_WEIGHT", bytes)?,
            DEST_U_THRESH => self.upper = U32::get("IPVS_DEST_ATTR_U_THRESH", bytes)?,
            DEST_L_THRESH => self.lower = U32::get("IPVS_DEST_ATTR_L_THRESH", bytes)?,
            DEST_ACTIVE_CONNS => self.active = U32::get("IPVS_DEST_ATTR_ACTIVE_CONNS", bytes)?,
            DEST_INACT_CONNS => self.inactive = U32::get("IPVS_DEST_ATTR_INACT_CONNS", bytes)?,
            DEST_PERSIST_CONNS => {
                self.persistent = U32::get("IPVS_DEST_ATTR_PERSIST_CONNS", bytes)?;
            }
            DEST_STATS => self.stats.narrow = Some(bytes),
            DEST_ADDR_FAMILY => self.family = U16::get("IPVS_DEST_ATTR_ADDR_FAMILY", bytes)?,
            DEST_STATS64 => self.stats.wide = Some(bytes),
            DEST_TUN_TYPE => self.tunnel.0 = U8::get("IPVS_DEST_ATTR_TUN_TYPE", bytes)?,
            DEST_TUN_PORT => self.tunnel.1 = U16Be::get("IPVS_DEST_ATTR_TUN_PORT", bytes)?,
            DEST_TUN_FLAGS => self.tunnel.2 = U16::get("IPVS_DEST_ATTR_TUN_FLAGS", bytes)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self, service_family: Family) -> Result<ObservedDestination, SemanticError> {
        let family = match self.family {
            0 => service_family,
            number => Family::try_from(number)?,
        };
        let raw = self
            .addr
            .ok_or(SemanticError::Missing("IPVS_DEST_ATTR_ADDR"))?;
        let port = self
            .port
            .ok_or(SemanticError::Missing("IPVS_DEST_ATTR_PORT"))?;
        let destination = Destination {
            addr: SocketAddr::new(family.address(raw), port),
            forward: ForwardMethod::from_number(self.forward),
            weight: self.weight,
            upper_threshold: self.upper,
            lower_threshold: self.lower,
            tunnel: {
                let (kind, port, flags) = self.tunnel;
                Tunnel::from_wire(kind, port, flags)
            },
        };
        Ok(ObservedDestination {
            destination,
            active_connections: self.active,
            inactive_connections: self.inactive,
            persistent_connections: self.persistent,
            stats: self.stats.read()?,
        })
    }
}
