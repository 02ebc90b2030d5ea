//! The objects that the kernel holds for us.

use std::fmt;
use std::net::IpAddr;

use ipvs_codec::{Destination, Family, Protocol, ServiceKey};
use serde::Serialize;

pub use ipvs_codec::VirtualServer;

/// Whether real servers that leave are drained: quiesced while they have connections. Those of UDP and SCTP are removed at
/// once, as in kube-proxy.
pub(crate) const fn drains(key: &ServiceKey) -> bool {
    !matches!(key.protocol(), Some(Protocol::UDP | Protocol::SCTP))
}

/// Overlooks weights in `found` that others have set since `before`, which had those that are wanted: as in kube-proxy, an
/// operator may take a real server out of service by hand, and only a restart ends that. O(n log n).
pub fn overlook_weights(found: &mut VirtualServer, before: &VirtualServer, wanted: &VirtualServer) {
    for wanted in wanted.real_servers() {
        let Some(there) = found.real_server(wanted.addr) else {
            continue;
        };
        let as_wanted = Destination {
            weight: wanted.weight,
            ..*there
        };
        if before.real_server(wanted.addr) == Some(wanted) && as_wanted == *wanted {
            found.set_real_server(*wanted);
        }
    }
}

/// A virtual address that the node answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "binding", rename_all = "lowercase")]
pub enum Vip {
    /// On the dummy interface.
    Address {
        /// The virtual address.
        address: IpAddr,
    },
    /// A `local` route by the dummy interface.
    Route {
        /// The virtual address.
        address: IpAddr,
        /// The address that the node's own connections to it come from.
        source: Option<IpAddr>,
        /// The size of the largest packet that the node itself sends to it in one piece. Without it that is 65,536 bytes, as to
        /// all that is local, which no link to a real server takes.
        mtu: Option<u32>,
    },
}

impl Vip {
    /// Whether it is a route.
    #[must_use]
    pub const fn is_route(&self) -> bool {
        matches!(self, Self::Route { .. })
    }

    /// Whether unbinding this takes away `bound`, as the kernel does it: an IPv6 route goes whatever its source and MTU, and one of
    /// IPv4 has those that are asked for.
    ///
    /// ```
    /// use ipvs_model::Vip;
    ///
    /// let route = |address: &str, mtu| Vip::Route {
    ///     address: address.parse().unwrap(),
    ///     source: None,
    ///     mtu,
    /// };
    /// assert!(route("10.96.0.10", None).takes_away(&route("10.96.0.10", Some(1500))));
    /// assert!(!route("10.96.0.10", Some(1400)).takes_away(&route("10.96.0.10", Some(1500))));
    /// assert!(route("fd00::1", Some(1400)).takes_away(&route("fd00::1", Some(1500))));
    /// ```
    #[must_use]
    pub fn takes_away(&self, bound: &Self) -> bool {
        match (self, bound) {
            (
                Self::Route {
                    address,
                    source,
                    mtu,
                },
                Self::Route {
                    address: of_bound,
                    source: from,
                    mtu: size,
                },
            ) => {
                let is_asked_for = address.is_ipv6()
                    || (source.is_none_or(|source| Some(source) == *from)
                        && mtu.is_none_or(|mtu| Some(mtu) == *size));
                address == of_bound && is_asked_for
            }
            (one, other) => one == other,
        }
    }

    /// The virtual address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        match self {
            Self::Address { address } | Self::Route { address, .. } => *address,
        }
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address } => write!(f, "{address} (address)"),
            Self::Route {
                address,
                source,
                mtu,
            } => {
                write!(f, "{address} (route")?;
                if let Some(source) = source {
                    write!(f, ", source {source}")?;
                }
                if let Some(mtu) = mtu {
                    write!(f, ", MTU {mtu}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// Something for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ByFamily<T> {
    ipv4: T,
    ipv6: T,
}

impl<T> ByFamily<T> {
    pub(crate) const fn of(&self, family: Family) -> &T {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    pub(crate) const fn of_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}

/// Whether one of a service's ports has a traffic policy Local and endpoints, but none on this node, by which policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LacksLocal {
    pub(crate) internal: bool,
    pub(crate) external: bool,
}

/// Services with a traffic policy Local that have endpoints, but none on this node, by which policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WithoutLocal {
    /// `internalTrafficPolicy`.
    pub internal: u32,
    /// `externalTrafficPolicy`.
    pub external: u32,
}

/// What a load balancer that asks on a Service's `healthCheckNodePort` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port.
    pub port: u16,
    /// Ready endpoints of the Service on this node, counted by address.
    pub local_endpoints: u32,
}
