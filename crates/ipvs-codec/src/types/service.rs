use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use super::stats::StatsNests;
use super::{Family, PeName, Protocol, Scheduler, ServiceKey, Stats};
use crate::error::{InvalidValue, SemanticError};
use crate::wire::kinds::{
    SVC_ADDR, SVC_AF, SVC_FLAGS, SVC_FWMARK, SVC_NETMASK, SVC_PE_NAME, SVC_PORT, SVC_PROTOCOL,
    SVC_SCHED_NAME, SVC_STATS, SVC_STATS64, SVC_TIMEOUT,
};
use crate::wire::{
    Address, Encoding as _, FlagsAndMask, Name, RawAttr, U16, U16Be, U32, for_each_raw,
};

bitflags::bitflags! {
    /// Flags of a service (`IPVS_SVC_ATTR_FLAGS`). Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ServiceFlags: u32 {
        /// Connections of one client go to one destination.
        const PERSISTENT = 0x1;
        /// Set by the kernel on every service: ignore it in comparisons.
        const HASHED = 0x2;
        /// Each UDP packet is scheduled for itself.
        const ONE_PACKET = 0x4;
        /// First scheduler flag: `sh-fallback`, `mh-fallback`.
        const SCHED_1 = 0x8;
        /// Second scheduler flag: `sh-port`, `mh-port`.
        const SCHED_2 = 0x10;
        /// Third scheduler flag.
        const SCHED_3 = 0x20;
        const _ = !0;
    }
}

/// Which clients share a persistence template (`IPVS_SVC_ATTR_NETMASK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
pub enum Netmask {
    /// The mask; the kernel does not check it.
    Ipv4(Ipv4Addr),
    /// The prefix length, 1 to 128.
    Ipv6(u8),
}

impl Netmask {
    /// One client for each address: 255.255.255.255 or 128.
    #[must_use]
    pub const fn host(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4(Ipv4Addr::BROADCAST),
            Family::Ipv6 => Self::Ipv6(128),
        }
    }

    /// A network of `length` bits.
    ///
    /// # Errors
    /// [`InvalidValue::Prefix`] for more bits than an address has, and for the IPv6 prefix 0, which the kernel
    /// refuses with `EINVAL`.
    pub fn prefix(family: Family, length: u8) -> Result<Self, InvalidValue> {
        let invalid = InvalidValue::Prefix(length, family.bits());
        match family {
            Family::Ipv4 if length <= 32 => {
                let host_bits = 32_u32.saturating_sub(u32::from(length));
                Ok(Self::Ipv4(Ipv4Addr::from_bits(
                    u32::MAX.checked_shl(host_bits).unwrap_or(0),
                )))
            }
            Family::Ipv6 if (1..=128).contains(&length) => Ok(Self::Ipv6(length)),
            _ => Err(invalid),
        }
    }

    /// An IPv4 mask.
    ///
    /// # Errors
    /// [`InvalidValue::Netmask`] when its one-bits do not stand together at the front; the kernel does not check.
    pub const fn mask(mask: Ipv4Addr) -> Result<Self, InvalidValue> {
        let bits = mask.to_bits();
        if bits.leading_ones() == bits.count_ones() {
            Ok(Self::Ipv4(mask))
        } else {
            Err(InvalidValue::Netmask(mask))
        }
    }

    pub(crate) const fn to_wire(self) -> u32 {
        match self {
            Self::Ipv4(mask) => u32::from_ne_bytes(mask.octets()),
            Self::Ipv6(length) => length as u32,
        }
    }

    fn from_wire(family: Family, raw: u32) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4(Ipv4Addr::from(raw.to_ne_bytes())),
            Family::Ipv6 => Self::Ipv6(u8::try_from(raw).unwrap_or(u8::MAX)),
        }
    }
}

/// A service as it is configured: IPVS's virtual server.
///
/// ```
/// use ipvs_codec::{Protocol, Scheduler, Service, ServiceKey};
///
/// let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
/// let service = Service::new(key, Scheduler::RR).persistent(10_800).unwrap();
/// assert_eq!(service.timeout, 10_800);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Service {
    /// What identifies it.
    pub key: ServiceKey,
    /// How a destination is chosen.
    pub scheduler: Scheduler,
    /// Flags; the kernel adds [`ServiceFlags::HASHED`].
    pub flags: ServiceFlags,
    /// Persistence timeout in seconds; 0 without [`ServiceFlags::PERSISTENT`].
    pub timeout: u32,
    /// Which clients share a persistence template.
    pub netmask: Netmask,
    /// Persistence engine. An update that leaves it out removes it, so it is part of every update.
    pub pe: Option<PeName>,
}

/// The kernel keeps persistence timeouts in jiffies of 32 bits, at up to 1000 a second, and wraps silently.
const MAX_TIMEOUT: u32 = u32::MAX / 1000;

impl Service {
    /// A service without flags and persistence.
    #[must_use]
    pub const fn new(key: ServiceKey, scheduler: Scheduler) -> Self {
        Self {
            key,
            scheduler,
            flags: ServiceFlags::empty(),
            timeout: 0,
            netmask: Netmask::host(key.family()),
            pe: None,
        }
    }

    /// Adds flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: ServiceFlags) -> Self {
        self.flags = self.flags.union(flags);
        self
    }

    /// Makes the connections of one client go to one destination for `seconds` after the last one.
    ///
    /// # Errors
    /// [`InvalidValue::Timeout`] for what the kernel would wrap silently.
    pub const fn persistent(mut self, seconds: u32) -> Result<Self, InvalidValue> {
        if seconds > MAX_TIMEOUT {
            return Err(InvalidValue::Timeout {
                seconds,
                most: MAX_TIMEOUT,
            });
        }
        self.flags = self.flags.union(ServiceFlags::PERSISTENT);
        self.timeout = seconds;
        Ok(self)
    }

    /// Whether both mean the same to the kernel: [`ServiceFlags::HASHED`] does not count.
    #[must_use]
    pub fn same_config(&self, other: &Self) -> bool {
        let flags = |service: &Self| service.flags.difference(ServiceFlags::HASHED);
        flags(self) == flags(other)
            && Self {
                flags: other.flags,
                ..*self
            } == *other
    }
}

/// A service as the kernel reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ObservedService {
    /// Its configuration, with [`ServiceFlags::HASHED`].
    pub service: Service,
    /// Its counters: those of 64 bits where the kernel has them (4.1), else those of 32 bits.
    pub stats: Stats,
}

#[derive(Default)]
struct Fields<'a> {
    family: Option<u16>,
    protocol: Option<u16>,
    addr: Option<[u8; 16]>,
    port: Option<u16>,
    fwmark: Option<u32>,
    scheduler: Option<Scheduler>,
    flags: u32,
    timeout: u32,
    netmask: Option<u32>,
    pe: Option<PeName>,
    stats: StatsNests<'a>,
}

impl ObservedService {
    /// Reads the value of an `IPVS_CMD_ATTR_SERVICE` nest without allocating. Of a repeated attribute the last one
    /// counts, as in the kernel; everything but the identity is optional.
    ///
    /// # Errors
    /// [`SemanticError`] when an attribute is broken, the identity is not complete or the family is unknown.
    pub fn parse(nest: &[u8]) -> Result<Self, SemanticError> {
        let mut fields = Fields::default();
        for_each_raw("service", nest, |raw| fields.read(&raw))?;
        fields.finish()
    }
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(&mut self, raw: &RawAttr<'a>) -> Result<(), SemanticError> {
        let bytes = raw.value;
        match raw.kind() {
            SVC_AF => self.family = Some(U16::get("IPVS_SVC_ATTR_AF", bytes)?),
            SVC_PROTOCOL => self.protocol = Some(U16::get("IPVS_SVC_ATTR_PROTOCOL", bytes)?),
            SVC_ADDR => self.addr = Some(Address::get("IPVS_SVC_ATTR_ADDR", bytes)?),
            SVC_PORT => self.port = Some(U16Be::get("IPVS_SVC_ATTR_PORT", bytes)?),
            SVC_FWMARK => self.fwmark = Some(U32::get("IPVS_SVC_ATTR_FWMARK", bytes)?),
            SVC_SCHED_NAME => {
                let name = Name::get("IPVS_SVC_ATTR_SCHED_NAME", bytes)?;
                self.scheduler = Some(Scheduler(name));
            }
            SVC_FLAGS => self.flags = FlagsAndMask::get("IPVS_SVC_ATTR_FLAGS", bytes)?.flags,
            SVC_TIMEOUT => self.timeout = U32::get("IPVS_SVC_ATTR_TIMEOUT", bytes)?,
            SVC_NETMASK => self.netmask = Some(U32::get("IPVS_SVC_ATTR_NETMASK", bytes)?),
            SVC_PE_NAME => {
                let name = Name::get("IPVS_SVC_ATTR_PE_NAME", bytes)?;
                self.pe = (!name.as_bytes().is_empty()).then_some(PeName(name));
            }
            SVC_STATS => self.stats.narrow = Some(bytes),
            SVC_STATS64 => self.stats.wide = Some(bytes),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<ObservedService, SemanticError> {
        use SemanticError::Missing;
        let family = Family::try_from(self.family.ok_or(Missing("IPVS_SVC_ATTR_AF"))?)?;
        let key = match self.fwmark.and_then(NonZeroU32::new) {
            Some(mark) => ServiceKey::Fwmark { family, mark },
            None => {
                let raw = self.addr.ok_or(Missing("IPVS_SVC_ATTR_ADDR"))?;
                ServiceKey::Endpoint {
                    protocol: Protocol::from_number(
                        self.protocol.ok_or(Missing("IPVS_SVC_ATTR_PROTOCOL"))?,
                    ),
                    addr: family.address(raw),
                    port: self.port.ok_or(Missing("IPVS_SVC_ATTR_PORT"))?,
                }
            }
        };
        let service = Service {
            key,
            scheduler: self.scheduler.unwrap_or(Scheduler(Name::EMPTY)),
            flags: ServiceFlags::from_bits_retain(self.flags),
            timeout: self.timeout,
            netmask: self.netmask.map_or_else(
                || Netmask::host(family),
                |raw| Netmask::from_wire(family, raw),
            ),
            pe: self.pe,
        };
        Ok(ObservedService {
            service,
            stats: self.stats.read()?,
        })
    }
}
