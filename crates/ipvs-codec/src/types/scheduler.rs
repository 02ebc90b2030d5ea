use std::fmt;
use std::str::FromStr;

use crate::error::InvalidValue;
use crate::wire::Name;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $max:literal, $what:literal, { $($(#[$const_doc:meta])* $const:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Name<$max>);

        impl $name {
            $(
                $(#[$const_doc])*
                pub const $const: Self = match Name::new($text.as_bytes()) {
                    Some(name) => Self(name),
                    None => Self(Name::EMPTY),
                };
            )*
        }

        impl FromStr for $name {
            type Err = InvalidValue;
            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let refused = || InvalidValue::Name { what: $what, name: text.to_owned(), most: $max };
                if text.is_empty() || text.contains(char::is_whitespace) {
                    return Err(refused());
                }
                Name::new(text.as_bytes()).map(Self).ok_or_else(refused)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&String::from_utf8_lossy(self.0.as_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[cfg(feature = "arbitrary")]
        impl<'a> arbitrary::Arbitrary<'a> for $name {
            fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
                let length = u.int_in_range(1..=$max)?;
                let bytes: Vec<u8> = (0..length)
                    .map(|_| u.int_in_range(b'!'..=b'~'))
                    .collect::<arbitrary::Result<_>>()?;
                Name::new(&bytes).map(Self).ok_or(arbitrary::Error::IncorrectFormat)
            }
        }
    };
}

names! {
    /// The scheduler of a service (`IPVS_SVC_ATTR_SCHED_NAME`): any name of up to 15 bytes, as the kernel loads
    /// `ip_vs_NAME` on demand.
    ///
    /// ```
    /// use ipvs_codec::Scheduler;
    /// assert_eq!("wlc".parse(), Ok(Scheduler::WLC));
    /// assert!("".parse::<Scheduler>().is_err());
    /// ```
    Scheduler, 15, "scheduler", {
        /// Round robin.
        RR = "rr",
        /// Weighted round robin.
        WRR = "wrr",
        /// Least connections.
        LC = "lc",
        /// Weighted least connections.
        WLC = "wlc",
        /// Source hashing.
        SH = "sh",
        /// Maglev hashing, since Linux 4.18.
        MH = "mh",
    }
}

names! {
    /// The persistence engine of a service (`IPVS_SVC_ATTR_PE_NAME`): `sip` is the only one in the kernel.
    ///
    /// ```
    /// use ipvs_codec::PeName;
    /// assert_eq!("sip".parse(), Ok(PeName::SIP));
    /// ```
    PeName, 16, "persistence engine", {
        /// Persistence by SIP Call-ID.
        SIP = "sip",
    }
}

names! {
    /// The name of a network interface (`IPVS_DAEMON_ATTR_MCAST_IFN`).
    ///
    /// ```
    /// use ipvs_codec::InterfaceName;
    /// assert!("eth0".parse::<InterfaceName>().is_ok());
    /// ```
    InterfaceName, 15, "interface", {}
}

impl Scheduler {
    pub(crate) fn is(self, name: &str) -> bool {
        self.0.as_bytes() == name.as_bytes()
    }
}
