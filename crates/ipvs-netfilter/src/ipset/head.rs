use std::fmt;
use std::ops::RangeInclusive;

use super::{SetFamily, SetName, SetSpec, SetType};

/// What a set that is there says of itself, as far as it decides which entries it takes and keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHead {
    /// Its name.
    pub name: SetName,
    /// The kernel's name of its type.
    pub type_name: String,
    /// The number of its family (`AF_INET` 2, `AF_INET6` 10; 0 for none).
    pub family: u8,
    /// Seconds after which an entry goes by itself, if the set was made so.
    pub timeout: Option<u32>,
    /// The ports that a `bitmap:port` has room for.
    pub ports: Option<RangeInclusive<u16>>,
    /// The length that addresses are cut to, where it is not the whole.
    pub netmask: Option<u8>,
}

impl SetHead {
    /// The set, if it is of a type and family that this crate knows.
    #[must_use]
    pub fn spec(&self) -> Option<SetSpec> {
        let set_type = SetType::from_name(self.type_name.as_bytes())?;
        let family = SetFamily::from_number(self.family)?;
        Some(SetSpec {
            name: self.name,
            set_type,
            family,
        })
    }

    /// Why this set cannot stand in for `wanted`; none if it can. A comment, counters, another `hashsize` or `maxelem`
    /// change nothing of what the set means.
    ///
    /// ```
    /// use ipvs_netfilter::ipset::{SetFamily, SetHead, SetSpec, SetType};
    /// let name = "KUBE-CLUSTER-IP".parse().unwrap();
    /// let wanted = SetSpec { name, set_type: SetType::HashIpPort, family: SetFamily::Inet };
    /// let type_name = "hash:ip".to_owned();
    /// let found = SetHead { name, type_name, family: 2, timeout: None, ports: None, netmask: None };
    /// let difference = found.difference(&wanted).unwrap();
    /// assert_eq!(difference.to_string(), "it is of type hash:ip, not hash:ip,port");
    /// ```
    #[must_use]
    pub fn difference(&self, wanted: &SetSpec) -> Option<SetDifference> {
        let whole = 0..=u16::MAX;
        let full_length = match wanted.family {
            SetFamily::Inet => 32,
            _ => 128,
        };
        if self.type_name != wanted.set_type.name() {
            return Some(SetDifference::Type {
                found: self.type_name.clone(),
                wanted: wanted.set_type,
            });
        }
        if self.family != wanted.family.number() {
            return Some(SetDifference::Family {
                found: self.family,
                wanted: wanted.family,
            });
        }
        if let Some(seconds) = self.timeout {
            return Some(SetDifference::Timeout(seconds));
        }
        if let Some(ports) = self.ports.as_ref().filter(|ports| **ports != whole) {
            return Some(SetDifference::Ports(ports.clone()));
        }
        let netmask = self.netmask.filter(|length| *length != full_length);
        netmask.map(SetDifference::Netmask)
    }
}

/// Why a set of the right name is not the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetDifference {
    /// It is of another type.
    Type {
        /// The kernel's name of it.
        found: String,
        /// The one that is wanted.
        wanted: SetType,
    },
    /// It is of another family.
    Family {
        /// Its number.
        found: u8,
        /// The one that is wanted.
        wanted: SetFamily,
    },
    /// Its entries go by themselves after so many seconds.
    Timeout(u32),
    /// It has room for these ports only.
    Ports(RangeInclusive<u16>),
    /// It cuts addresses to this length.
    Netmask(u8),
}

impl SetDifference {
    /// Whether the entries of the set mean what those of the wanted one would.
    ///
    /// ```
    /// use ipvs_netfilter::ipset::SetDifference;
    /// assert!(SetDifference::Timeout(60).keeps_entries());
    /// assert!(!SetDifference::Netmask(24).keeps_entries());
    /// ```
    #[must_use]
    pub const fn keeps_entries(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Ports(_))
    }
}

impl fmt::Display for SetDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { found, wanted } => write!(f, "it is of type {found}, not {wanted}"),
            Self::Family { found, wanted } => match SetFamily::from_number(*found) {
                Some(found) => write!(f, "it is of family {found}, not {wanted}"),
                None => write!(f, "it is of family {found}, not {wanted}"),
            },
            Self::Timeout(seconds) => write!(f, "its entries go by themselves after {seconds} s"),
            Self::Ports(ports) => write!(
                f,
                "it has room for ports {} to {} only",
                ports.start(),
                ports.end()
            ),
            Self::Netmask(length) => write!(f, "it cuts addresses to {length} bits"),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SetDifference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
