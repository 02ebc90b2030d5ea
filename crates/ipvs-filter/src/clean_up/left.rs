//! What clean-up could not remove, and what holds it.

use std::fmt;
use std::net::IpAddr;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::Vip;
use ipvs_netfilter::ipset::SetName;
use ipvs_netfilter::iptables::Table;
use serde::{Serialize, Serializer};

use super::remains::{CleanUpPart, NftablesTable};
use crate::iptables::RulePlace;
use crate::nftables::nft_family;

/// Something that clean-up could not remove.
///
/// Its text names it and what holds it; its JSON has both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What it is.
    pub what: Leftover,
    /// What holds it.
    pub holder: Holder,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.holder)
    }
}

/// What may be left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// A part that could not be read, so that it is not known what is left of it.
    Part(CleanUpPart),
    /// A virtual server of ours.
    VirtualServer(ServiceKey),
    /// An address that we bound.
    Vip(Vip),
    /// The dummy interface.
    Link,
    /// A rule that leads into one of our chains.
    Rule(RulePlace),
    /// One of our chains.
    Chain(Family, Table, String),
    /// One of our sets.
    Set(SetName),
    /// A table of nftables.
    NftablesTable(NftablesTable, Family),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => write!(f, "{part}"),
            Self::VirtualServer(key) => write!(f, "virtual server {key}"),
            Self::Vip(vip) => write!(f, "VIP {vip}"),
            Self::Link => f.write_str("dummy interface"),
            Self::Rule(place) => write!(f, "{place}"),
            Self::Chain(family, table, chain) => {
                write!(f, "chain {chain} of table {table} ({family})")
            }
            Self::Set(name) => write!(f, "set {name}"),
            Self::NftablesTable(table, family) => {
                let (family, name) = (nft_family(*family), table.name());
                write!(f, "nftables table {family} {name}")
            }
        }
    }
}

impl Serialize for Leftover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What keeps something from being removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// A rule refers to it.
    Rule(RulePlace),
    /// An address on it is not ours.
    Address(IpAddr),
    /// A route through it is not ours, to this address and prefix length.
    Route(IpAddr, u8),
    /// It is not a dummy interface, so it is not ours.
    NotDummy,
    /// It guards the ports of the host as long as this address is bound.
    Guards(IpAddr),
    /// A virtual server is still there, which is known to be ours by it.
    Lists(ServiceKey),
    /// An address is still bound, which is known to be ours by it.
    Names(IpAddr),
    /// It is not known what is still there, and by it that would be known to be ours.
    Unread(CleanUpPart),
    /// Reading it failed.
    NotRead(String),
    /// The kernel or a program refused, in these words.
    Refused(String),
    /// A set of type `list:set` lists it.
    SetList(SetName),
    /// The kernel says in these words that something refers to the set, and no rule that could be read does.
    Unseen(String),
    /// The same, where these rules could not be read.
    MaybeRules(String, CleanUpPart),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(place) => write!(f, "the {place} refers to it"),
            Self::Address(address) => write!(f, "the address {address} on it is not ours"),
            Self::Route(address, prefix) => {
                write!(f, "the route to {address}/{prefix} through it is not ours")
            }
            Self::NotDummy => {
                f.write_str("a link of another kind has its name, and stays as it is")
            }
            Self::Guards(address) => write!(
                f,
                "without it the ports of this host would answer on VIP {address}, which is still bound"
            ),
            Self::Lists(key) => write!(
                f,
                "virtual server {key} is still there, and is known to be ours by it"
            ),
            Self::Names(address) => write!(
                f,
                "VIP {address} is still bound, and is known to be ours by it"
            ),
            Self::Unread(part) => write!(
                f,
                "the {part} could not be read, and would be known to be ours by it"
            ),
            Self::NotRead(reason) => write!(f, "cannot be read: {reason}"),
            Self::Refused(reason) => f.write_str(reason),
            Self::SetList(list) => write!(f, "the set {list} of type list:set lists it"),
            Self::Unseen(reason) => write!(
                f,
                "{reason}: no rule that iptables-save shows and no set does; look at nft and at programs of eBPF"
            ),
            Self::MaybeRules(reason, part) => write!(
                f,
                "{reason}: perhaps one of the {part}, which could not be read"
            ),
        }
    }
}

impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
