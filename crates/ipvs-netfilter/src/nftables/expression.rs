mod attribute;
mod read;
mod write;

use std::fmt;

use super::{Name, Register, Value};

/// Where in a packet a payload begins (`NFT_PAYLOAD_…_HEADER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadBase(pub u32);

impl PayloadBase {
    /// At the link layer's header.
    pub const LINK: Self = Self(0);
    /// At the IP header.
    pub const NETWORK: Self = Self(1);
    /// At the header of TCP, UDP or SCTP. The rule ends for a packet without: a fragment that is not the first.
    pub const TRANSPORT: Self = Self(2);
}

/// What `meta` loads or sets (`NFT_META_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetaKey(pub u32);

impl MetaKey {
    /// The packet's mark: 4 bytes, host byte order.
    pub const MARK: Self = Self(3);
    /// The name of the interface that it came in by: 16 bytes, filled with zeros.
    pub const IN_INTERFACE: Self = Self(6);
    /// The name of the interface that it leaves by.
    pub const OUT_INTERFACE: Self = Self(7);
    /// Its family, of a table `inet`: one byte.
    pub const FAMILY: Self = Self(15);
    /// Its transport protocol: one byte. For IPv6 behind the extension headers.
    pub const PROTOCOL: Self = Self(16);
}

/// What `ct` loads from the packet's connection (`NFT_CT_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CtKey(pub u32);

impl CtKey {
    /// The state as a bit: 4 bytes, host byte order. [`Expression::STATE_NEW`] is one of the bits.
    pub const STATE: Self = Self(0);
    /// The status bits: 4 bytes, host byte order.
    pub const STATUS: Self = Self(2);
    /// The connection's mark: 4 bytes, host byte order.
    pub const MARK: Self = Self(3);
    /// The transport protocol: one byte. It has no direction: the kernel takes one and forgets it.
    pub const PROTOCOL: Self = Self(10);
    /// The source port: 2 bytes, network byte order.
    pub const SOURCE_PORT: Self = Self(11);
    /// The destination port: 2 bytes, network byte order.
    pub const DESTINATION_PORT: Self = Self(12);
    /// The IPv4 source address: 4 bytes, network byte order. Since Linux 4.17, as the three that follow.
    pub const SOURCE_IPV4: Self = Self(19);
    /// The IPv4 destination address.
    pub const DESTINATION_IPV4: Self = Self(20);
    /// The IPv6 source address: 16 bytes, network byte order.
    pub const SOURCE_IPV6: Self = Self(21);
    /// The IPv6 destination address.
    pub const DESTINATION_IPV6: Self = Self(22);
}

/// A direction of a connection (`IP_CT_DIR_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// That of its first packet.
    Original,
    /// The other one.
    Reply,
}

/// What `fib` asks the routing table for (`NFT_FIB_RESULT_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FibResult(pub u32);

impl FibResult {
    /// The index of the interface: 4 bytes, host byte order.
    pub const INTERFACE: Self = Self(1);
    /// The type of the address: 4 bytes, host byte order. [`Expression::ADDRESS_LOCAL`] is one.
    pub const ADDRESS_TYPE: Self = Self(3);
}

/// How a register is compared (`NFT_CMP_…`). Bytes are compared from the first one, as a number in network byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// What becomes of a packet, or where its way goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It passes this base chain; those of a higher priority are asked too.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here; in a base chain, its policy.
    Return,
    /// Into a chain, and back behind this rule.
    Jump(Name),
    /// Into a chain, and back to where this one was called.
    Goto(Name),
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// With "destination unreachable" and this code, of ICMP in a table of IPv4 and of ICMPv6 in one of IPv6. Port
    /// unreachable is 3 in ICMP and 4 in ICMPv6.
    Unreachable(u8),
    /// With a reset; for TCP alone.
    Reset,
    /// With this code of both families' (`NFT_REJECT_ICMPX_…`), for a table `inet`.
    UnreachableInet(u8),
}

/// One step of a rule. The rule ends where a comparison, a lookup or a load finds nothing; what is behind is not done.
///
/// `ip daddr @vips reject` is three steps:
///
/// ```
/// use ipvs_netfilter::nftables::{Expression, PayloadBase, Register, Reject};
///
/// let steps = [
///     Expression::Payload { base: PayloadBase::NETWORK, offset: 16, length: 4, to: Register::FIRST },
///     Expression::Lookup { set: "vips".parse().unwrap(), register: Register::FIRST, inverted: false },
///     Expression::Reject(Reject::Unreachable(3)),
/// ];
/// assert_eq!(steps[1].name(), "lookup");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Expression {
    /// Loads bytes of the packet: `payload`.
    Payload {
        /// From where on.
        base: PayloadBase,
        /// Bytes from there.
        offset: u32,
        /// How many.
        length: u32,
        /// The first register.
        to: Register,
    },
    /// Loads what the kernel knows of the packet: `meta`.
    Meta {
        /// What.
        key: MetaKey,
        /// The first register.
        to: Register,
    },
    /// Sets what the kernel knows of the packet: `meta … set`.
    SetMeta {
        /// What.
        key: MetaKey,
        /// The register with the value.
        from: Register,
    },
    /// Loads something of the packet's connection: `ct`.
    Ct {
        /// What.
        key: CtKey,
        /// Of which direction, where there are two.
        direction: Option<Direction>,
        /// The first register.
        to: Register,
    },
    /// Asks the routing table: `fib`.
    Fib {
        /// For what.
        result: FibResult,
        /// With what of the packet ([`FIB_DESTINATION`](Self::FIB_DESTINATION) and others, `NFTA_FIB_F_…`).
        flags: u32,
        /// The register.
        to: Register,
    },
    /// Loads a value: `immediate`.
    Immediate {
        /// The value.
        value: Value,
        /// The first register.
        to: Register,
    },
    /// `to = (from & mask) ^ xor`: `bitwise`. All are of one length.
    Bitwise {
        /// The first register that is read.
        from: Register,
        /// The first register that is written.
        to: Register,
        /// Bits that are kept.
        mask: Value,
        /// Bits that are turned over then.
        xor: Value,
    },
    /// Ends the rule unless a register compares so: `cmp`.
    Compare {
        /// The first register.
        register: Register,
        /// How.
        how: Comparison,
        /// With what.
        value: Value,
    },
    /// Ends the rule unless a register is within both values, or outside of them: `range`.
    Range {
        /// The first register.
        register: Register,
        /// Outside of them.
        inverted: bool,
        /// The first value.
        first: Value,
        /// The last value.
        last: Value,
    },
    /// Ends the rule unless a set has what a register holds, or has it not: `lookup`.
    Lookup {
        /// The name of a set of the rule's table.
        set: Name,
        /// The first register.
        register: Register,
        /// Has it not.
        inverted: bool,
    },
    /// Ends the chain: `immediate` into the verdict register.
    Verdict(Verdict),
    /// Refuses the packet: `reject`. Ends the chain.
    Reject(Reject),
    /// Translates the source address to the host's own: `masq`. In a `nat` chain of the hook `postrouting`. Ends the chain.
    Masquerade {
        /// How ports are chosen ([`FULLY_RANDOM`](Self::FULLY_RANDOM) and others, `NF_NAT_RANGE_…`).
        flags: u32,
    },
    /// The packet's connection is not tracked: `notrack`. In a chain before tracking, at a priority below -200.
    NoTrack,
    /// Counts packets: `counter`. Two are equal whatever they have counted.
    Counter(Counts),
    /// One that this crate gives no meaning, or that has more to it than is understood here.
    Other(OtherExpression),
}

impl Expression {
    /// A connection's first packet, in [`CtKey::STATE`].
    pub const STATE_NEW: u32 = 8;
    /// An address of this host, in [`FibResult::ADDRESS_TYPE`] (`RTN_LOCAL`).
    pub const ADDRESS_LOCAL: u32 = 2;
    /// `fib` asks with the packet's source address.
    pub const FIB_SOURCE: u32 = 1;
    /// `fib` asks with the packet's destination address.
    pub const FIB_DESTINATION: u32 = 2;
    /// Ports are chosen at random, fully (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`).
    pub const FULLY_RANDOM: u32 = 0x10;

    /// The kernel's name of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Ct { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Bitwise { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Lookup { .. } => "lookup",
            Self::Reject(_) => "reject",
            Self::Masquerade { .. } => "masq",
            Self::NoTrack => "notrack",
            Self::Counter(_) => "counter",
            Self::Other(other) => &other.name,
        }
    }
}

/// What a counter has counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl PartialEq for Counts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Counts {}

impl std::hash::Hash for Counts {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialOrd for Counts {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counts {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// An expression as the kernel sent it: its name and its attributes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherExpression {
    name: String,
    data: Option<Vec<u8>>,
}

impl OtherExpression {
    /// Its attributes one behind the other, with their headers.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for OtherExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.name, self.data())
    }
}
