//! Types that are text to serde.

use super::{
    ForwardMethod, InterfaceName, PeName, Protocol, Scheduler, ServiceFlags, ServiceKey,
    TunnelFlags,
};

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(ServiceKey, ForwardMethod, Scheduler, PeName, InterfaceName);

macro_rules! as_number {
    ($($type:ty: $number:ty, $from:path, $to:path;)*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $to(*self).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$number>::deserialize(deserializer).map($from)
            }
        }
    )*};
}

as_number! {
    Protocol: u16, Self::from_number, Self::number;
    ServiceFlags: u32, Self::from_bits_retain, number_of_flags;
    TunnelFlags: u16, Self::from_bits_retain, number_of_tunnel_flags;
}

const fn number_of_flags(flags: ServiceFlags) -> u32 {
    flags.bits()
}

const fn number_of_tunnel_flags(flags: TunnelFlags) -> u16 {
    flags.bits()
}
