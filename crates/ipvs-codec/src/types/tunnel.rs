use std::num::NonZeroU16;

bitflags::bitflags! {
    /// What an encapsulated packet carries besides (`IPVS_DEST_ATTR_TUN_FLAGS`). Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TunnelFlags: u16 {
        /// A checksum: `--tun-csum`.
        const CHECKSUM = 0x1;
        /// A remote checksum, for GUE: `--tun-remcsum`.
        const REMOTE_CHECKSUM = 0x2;
        const _ = !0;
    }
}

/// Encapsulation of a [`TUNNEL`](super::ForwardMethod::TUNNEL) destination (`IPVS_DEST_ATTR_TUN_*`, Linux 5.2; GRE
/// 5.3). The kernel keeps it whatever the forwarding method, and an update that leaves it out resets it, so it is part
/// of every update.
///
/// ```
/// use std::num::NonZeroU16;
/// use ipvs_codec::{Destination, ForwardMethod, Tunnel, TunnelFlags};
///
/// let gue = Tunnel::Gue { port: NonZeroU16::new(6080).unwrap(), flags: TunnelFlags::CHECKSUM };
/// let destination = Destination::new("10.1.0.3:80".parse().unwrap()).tunnelled(gue);
/// assert_eq!(destination.forward, ForwardMethod::TUNNEL);
/// assert_eq!(destination.to_string(), "-r 10.1.0.3:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "type", rename_all = "lowercase"))]
pub enum Tunnel {
    /// IP in IP (0), what every destination has that is not told otherwise.
    #[default]
    Ipip,
    /// Generic UDP encapsulation (1). The kernel refuses it without a port.
    Gue {
        /// UDP port (network byte order on the wire).
        port: NonZeroU16,
        /// Checksums.
        flags: TunnelFlags,
    },
    /// Generic routing encapsulation (2).
    Gre {
        /// Checksums.
        flags: TunnelFlags,
    },
    /// What another program has set and the kernel took unchecked: another type, or a port or flags where they mean
    /// nothing.
    Other {
        /// The type's number.
        kind: u8,
        /// The port.
        port: u16,
        /// The flags.
        flags: TunnelFlags,
    },
}

const IPIP: u8 = 0;
const GUE: u8 = 1;
const GRE: u8 = 2;

impl Tunnel {
    /// Type, port and flags on the wire.
    /// Kind, port and flags.
    #[inline(always)]
    pub(crate) const fn to_wire(self) -> (u8, u16, u16) {
        // Nearly every destination; asked first, it needs no jump table.
        if let Self::Ipip = self {
            return (IPIP, 0, 0);
        }
        self.to_rare_wire()
    }

    #[cold]
    const fn to_rare_wire(self) -> (u8, u16, u16) {
        match self {
            Self::Ipip => (IPIP, 0, 0),
            Self::Gue { port, flags } => (GUE, port.get(), flags.bits()),
            Self::Gre { flags } => (GRE, 0, flags.bits()),
            Self::Other { kind, port, flags } => (kind, port, flags.bits()),
        }
    }

    pub(crate) const fn from_wire(kind: u8, port: u16, flags: u16) -> Self {
        let bits = flags;
        let flags = TunnelFlags::from_bits_retain(bits);
        match (kind, NonZeroU16::new(port)) {
            (IPIP, None) if bits == 0 => Self::Ipip,
            (GUE, Some(port)) => Self::Gue { port, flags },
            (GRE, None) => Self::Gre { flags },
            _ => Self::Other { kind, port, flags },
        }
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Tunnel {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let (kind, port, flags): (u8, u16, u16) = u.arbitrary()?;
        Ok(Self::from_wire(kind, port, flags))
    }
}
