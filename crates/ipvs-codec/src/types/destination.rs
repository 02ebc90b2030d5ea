use std::fmt;
use std::net::SocketAddr;

use super::key::union_bytes;
use super::{Family, Stats, Tunnel};
use crate::error::{InvalidValue, SemanticError};
use crate::wire::{Attribute as _, DestAttr, RawAttr, for_each_raw};

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

    /// Calls `each` with the attributes in the order of libipvs.
    pub(crate) fn for_each_attr(&self, mut each: impl FnMut(DestAttr)) {
        addr_attrs(self.addr, &mut each);
        each(DestAttr::FwdMethod(self.forward.number()));
        each(DestAttr::Weight(self.weight));
        let (kind, port, flags) = self.tunnel.to_wire();
        each(DestAttr::TunType(kind));
        each(DestAttr::TunPort(port));
        each(DestAttr::TunFlags(flags));
        each(DestAttr::UpperThreshold(self.upper_threshold));
        each(DestAttr::LowerThreshold(self.lower_threshold));
    }

    /// The attributes of a request that makes or changes the destination.
    #[must_use]
    pub fn to_attrs(&self) -> Vec<DestAttr> {
        let mut attrs = Vec::with_capacity(10);
        self.for_each_attr(|attr| attrs.push(attr));
        attrs
    }
}

/// The attributes that identify a destination.
pub(crate) fn addr_attrs(addr: SocketAddr, mut each: impl FnMut(DestAttr)) {
    each(DestAttr::Family(Family::of(addr.ip()).number()));
    each(DestAttr::Addr(union_bytes(addr.ip())));
    each(DestAttr::Port(addr.port()));
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

const STATS: u16 = 10;
const STATS64: u16 = 12;

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
struct Fields {
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
    stats: Option<Stats>,
    stats64: Option<Stats>,
}

impl Fields {
    fn read(&mut self, raw: &RawAttr<'_>) -> Result<(), SemanticError> {
        match raw.kind() {
            STATS => self.stats = Some(Stats::parse(raw.value)?),
            STATS64 => self.stats64 = Some(Stats::parse64(raw.value)?),
            _ => match DestAttr::read(raw)? {
                DestAttr::Family(family) => self.family = family,
                DestAttr::Addr(addr) => self.addr = Some(addr),
                DestAttr::Port(port) => self.port = Some(port),
                DestAttr::FwdMethod(number) => self.forward = number,
                DestAttr::Weight(weight) => self.weight = weight,
                DestAttr::UpperThreshold(limit) => self.upper = limit,
                DestAttr::LowerThreshold(limit) => self.lower = limit,
                DestAttr::TunType(kind) => self.tunnel.0 = kind,
                DestAttr::TunPort(port) => self.tunnel.1 = port,
                DestAttr::TunFlags(flags) => self.tunnel.2 = flags,
                DestAttr::ActiveConns(count) => self.active = count,
                DestAttr::InactConns(count) => self.inactive = count,
                DestAttr::PersistConns(count) => self.persistent = count,
                DestAttr::Stats(_) | DestAttr::Stats64(_) | DestAttr::Other(_) => {}
            },
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
            stats: self.stats64.or(self.stats).unwrap_or_default(),
        })
    }
}
