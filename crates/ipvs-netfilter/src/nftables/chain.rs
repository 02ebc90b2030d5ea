use std::fmt;

use netlink_packet_core::NLA_TYPE_MASK;

use super::attributes::{Listed, OtherAttributes, be32, be64, exact, name, put_be32, put_name};
use super::{ChainId, Family, Name, TableId, Userdata};
use crate::error::MessageError;
use crate::wire::{body, flagged_attrs, nest, put};

/// Attributes `NFTA_CHAIN_…`.
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const HANDLE: u16 = 2;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const POLICY: u16 = 5;
    pub(super) const USE: u16 = 6;
    pub(super) const TYPE: u16 = 7;
    pub(super) const COUNTERS: u16 = 8;
    pub(super) const PAD: u16 = 9;
    pub(super) const FLAGS: u16 = 10;
    pub(super) const ID: u16 = 11;
    pub(super) const USERDATA: u16 = 12;
}

/// Attributes `NFTA_HOOK_…`.
mod hook {
    pub(super) const NUMBER: u16 = 1;
    pub(super) const PRIORITY: u16 = 2;
}

/// `NFT_CHAIN_BASE`, which follows from the hook.
const FLAG_BASE: u32 = 1;

/// Where in the network stack a base chain sees packets (`NF_INET_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hook(pub u32);

impl Hook {
    /// Packets that come in, before routing.
    pub const PREROUTING: Self = Self(0);
    /// Packets for this host.
    pub const INPUT: Self = Self(1);
    /// Packets that go through.
    pub const FORWARD: Self = Self(2);
    /// Packets of this host, before routing.
    pub const OUTPUT: Self = Self(3);
    /// Packets that go out, after routing.
    pub const POSTROUTING: Self = Self(4);
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PREROUTING => f.write_str("prerouting"),
            Self::INPUT => f.write_str("input"),
            Self::FORWARD => f.write_str("forward"),
            Self::OUTPUT => f.write_str("output"),
            Self::POSTROUTING => f.write_str("postrouting"),
            Self(other) => write!(f, "hook {other}"),
        }
    }
}

/// What becomes of a packet at the end of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// It is dropped.
    Drop,
    /// It goes on. The kernel's default.
    Accept,
}

/// What makes a chain a base chain: it is called by the network stack.
///
/// ```
/// use ipvs_netfilter::nftables::{BaseChain, Hook};
/// let base = BaseChain::filter(Hook::PREROUTING, BaseChain::DSTNAT);
/// assert_eq!(base.kind.to_string(), "filter");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// What it may do: `filter`, `nat` or `route`.
    pub kind: Name,
    /// Where.
    pub hook: Hook,
    /// In which order with other chains of the hook, the lowest first.
    pub priority: i32,
    /// At its end.
    pub policy: Policy,
    /// What else the kernel says of the hook, such as devices.
    pub other: OtherAttributes,
}

impl BaseChain {
    /// Destination address translation (`NF_IP_PRI_NAT_DST`), in `prerouting`.
    pub const DSTNAT: i32 = -100;
    /// Filters (`NF_IP_PRI_FILTER`).
    pub const FILTER: i32 = 0;
    /// Source address translation (`NF_IP_PRI_NAT_SRC`), in `postrouting`.
    pub const SRCNAT: i32 = 100;

    /// A chain that filters, and accepts what comes to its end.
    #[must_use]
    pub fn filter(hook: Hook, priority: i32) -> Self {
        Self::of_kind(b"filter", hook, priority)
    }

    /// A chain that sees the first packet of each connection and translates addresses.
    #[must_use]
    pub fn nat(hook: Hook, priority: i32) -> Self {
        Self::of_kind(b"nat", hook, priority)
    }

    fn of_kind(kind: &'static [u8], hook: Hook, priority: i32) -> Self {
        Self {
            kind: Name::constant(kind),
            hook,
            priority,
            policy: Policy::Accept,
            other: OtherAttributes::default(),
        }
    }
}

/// A chain. Only base chains see packets by themselves; rules jump to the others.
///
/// ```
/// use ipvs_netfilter::nftables::{BaseChain, Chain, Family, Hook, TableId};
/// let table = TableId { family: Family::IPV4, name: "proxy".parse().unwrap() };
/// let mut chain = Chain::new(table.chain("input".parse().unwrap()));
/// chain.base = Some(BaseChain::filter(Hook::INPUT, BaseChain::FILTER));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table and name.
    pub id: ChainId,
    /// Of a base chain: what makes it one.
    pub base: Option<BaseChain>,
    /// Its comment.
    pub userdata: Userdata,
    /// What else the kernel says of it.
    pub other: OtherAttributes,
}

impl Chain {
    /// A chain that rules jump to, without a comment.
    #[must_use]
    pub fn new(id: ChainId) -> Self {
        Self {
            id,
            base: None,
            userdata: Userdata::default(),
            other: OtherAttributes::default(),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        put_id(out, &self.id);
        if let Some(base) = &self.base {
            if base.policy == Policy::Drop {
                put_be32(out, attribute::POLICY, 0);
            }
            put_name(out, attribute::TYPE, &base.kind);
            nest(out, attribute::HOOK, |out| {
                put_be32(out, hook::NUMBER, base.hook.0);
                put(out, hook::PRIORITY, &base.priority.to_be_bytes());
                base.other.emit(out);
            });
        }
        if !self.userdata.as_bytes().is_empty() {
            put(out, attribute::USERDATA, self.userdata.as_bytes());
        }
        self.other.emit(out);
    }

    /// Reads a chain from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Listed<Self>, MessageError> {
        use MessageError::Missing;
        let family = Family(*bytes.first().ok_or(MessageError::NoHeader)?);
        let (mut table, mut found, mut handle) = (None, None, 0);
        let (mut kind, mut at, mut policy) = (None, None, Policy::Accept);
        let mut userdata = Userdata::default();
        let mut other = OtherAttributes::default();
        for attr in flagged_attrs(body(bytes)?) {
            let (head, value) = attr?;
            match head & NLA_TYPE_MASK {
                attribute::TABLE => table = Some(name("NFTA_CHAIN_TABLE", value)?),
                attribute::NAME => found = Some(name("NFTA_CHAIN_NAME", value)?),
                attribute::HANDLE => handle = be64("NFTA_CHAIN_HANDLE", value)?,
                attribute::TYPE => kind = Some(name("NFTA_CHAIN_TYPE", value)?),
                attribute::HOOK => at = Some(place(value)?),
                attribute::POLICY => {
                    policy = match be32("NFTA_CHAIN_POLICY", value)? {
                        0 => Policy::Drop,
                        1 => Policy::Accept,
                        _ => return Err(Missing("NFTA_CHAIN_POLICY")),
                    };
                }
                attribute::USERDATA => {
                    userdata = Userdata::from_bytes(value).ok_or(Missing("NFTA_CHAIN_USERDATA"))?;
                }
                attribute::FLAGS if be32("NFTA_CHAIN_FLAGS", value)? | FLAG_BASE == FLAG_BASE => {}
                attribute::USE | attribute::COUNTERS | attribute::PAD | attribute::ID => {}
                _ => other.keep(head, value),
            }
        }
        let base = match at {
            None => None,
            Some((hook, priority, other)) => Some(BaseChain {
                kind: kind.ok_or(Missing("NFTA_CHAIN_TYPE"))?,
                hook,
                priority,
                policy,
                other,
            }),
        };
        let table = TableId {
            family,
            name: table.ok_or(Missing("NFTA_CHAIN_TABLE"))?,
        };
        Ok(Listed {
            object: Self {
                id: table.chain(found.ok_or(Missing("NFTA_CHAIN_NAME"))?),
                base,
                userdata,
                other,
            },
            handle,
        })
    }
}

fn place(bytes: &[u8]) -> Result<(Hook, i32, OtherAttributes), MessageError> {
    let (mut number, mut priority) = (None, None);
    let mut other = OtherAttributes::default();
    for attr in flagged_attrs(bytes) {
        let (head, value) = attr?;
        match head & NLA_TYPE_MASK {
            hook::NUMBER => number = Some(be32("NFTA_HOOK_HOOKNUM", value)?),
            hook::PRIORITY => {
                priority = Some(i32::from_be_bytes(exact("NFTA_HOOK_PRIORITY", value)?))
            }
            _ => other.keep(head, value),
        }
    }
    let hook = Hook(number.ok_or(MessageError::Missing("NFTA_HOOK_HOOKNUM"))?);
    let priority = priority.ok_or(MessageError::Missing("NFTA_HOOK_PRIORITY"))?;
    Ok((hook, priority, other))
}

/// The attributes that tell which chain.
pub(super) fn put_id(out: &mut Vec<u8>, id: &ChainId) {
    put_name(out, attribute::TABLE, &id.table.name);
    put_name(out, attribute::NAME, &id.name);
}
