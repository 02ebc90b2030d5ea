//! Numbers of `include/uapi/linux/netfilter/ipset/ip_set.h`.

/// `NFNL_SUBSYS_IPSET`.
pub(crate) const SUBSYSTEM: u8 = 6;
/// Protocol 6 is understood by every kernel since 2.6.39; 7 adds nothing that is needed here.
pub(crate) const PROTOCOL: u8 = 6;

/// `IPSET_FLAG_LIST_HEADER`.
pub(crate) const FLAG_LIST_HEADER: u32 = 1 << 2;

/// Attributes of a message.
pub(crate) mod message {
    pub(crate) const PROTOCOL: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const TYPE_NAME: u16 = 3;
    pub(crate) const REVISION: u16 = 4;
    pub(crate) const FAMILY: u16 = 5;
    /// In network byte order.
    pub(crate) const FLAGS: u16 = 6;
    pub(crate) const DATA: u16 = 7;
    pub(crate) const ADT: u16 = 8;
    pub(crate) const PROTOCOL_MIN: u16 = 10;
}

/// Attributes of a `DATA` nest.
pub(crate) mod data {
    pub(crate) const IP: u16 = 1;
    pub(crate) const PORT: u16 = 4;
    pub(crate) const PORT_TO: u16 = 5;
    /// Of a set as of an entry; in network byte order.
    pub(crate) const TIMEOUT: u16 = 6;
    pub(crate) const PROTO: u16 = 7;
    /// Of a set; an entry of a `list:set` has its name at this number.
    pub(crate) const HASH_SIZE: u16 = 18;
    pub(crate) const NAME: u16 = 18;
    pub(crate) const MAX_ELEMENTS: u16 = 19;
    /// Of a set; an entry has its second address at this number.
    pub(crate) const NETMASK: u16 = 20;
    pub(crate) const IP2: u16 = 20;
    pub(crate) const CIDR2: u16 = 21;
    /// What the kernel counts of a set, in network byte order.
    pub(crate) const ENTRIES: u16 = 24;
    pub(crate) const REFERENCES: u16 = 25;
}

/// Attributes of an address nest.
pub(crate) mod address {
    pub(crate) const IPV4: u16 = 1;
    pub(crate) const IPV6: u16 = 2;
}
