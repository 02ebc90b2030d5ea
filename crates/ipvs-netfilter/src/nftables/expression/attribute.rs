//! Attributes of `include/uapi/linux/netfilter/nf_tables.h`.

/// `NFTA_EXPR_…`.
pub(super) mod expression {
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const DATA: u16 = 2;
}

/// `NFTA_PAYLOAD_…`.
pub(super) mod payload {
    pub(in super::super) const TO: u16 = 1;
    pub(in super::super) const BASE: u16 = 2;
    pub(in super::super) const OFFSET: u16 = 3;
    pub(in super::super) const LENGTH: u16 = 4;
}

/// `NFTA_META_…`.
pub(super) mod meta {
    pub(in super::super) const TO: u16 = 1;
    pub(in super::super) const KEY: u16 = 2;
    pub(in super::super) const FROM: u16 = 3;
}

/// `NFTA_CT_…`.
pub(super) mod ct {
    pub(in super::super) const TO: u16 = 1;
    pub(in super::super) const KEY: u16 = 2;
    pub(in super::super) const DIRECTION: u16 = 3;
}

/// `NFTA_FIB_…`.
pub(super) mod fib {
    pub(in super::super) const TO: u16 = 1;
    pub(in super::super) const RESULT: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
}

/// `NFTA_IMMEDIATE_…`.
pub(super) mod immediate {
    pub(in super::super) const TO: u16 = 1;
    pub(in super::super) const DATA: u16 = 2;
    /// `NFT_REG_VERDICT`.
    pub(in super::super) const VERDICT_REGISTER: u32 = 0;
}

/// `NFTA_DATA_VERDICT`, `NFTA_VERDICT_…` and the codes.
pub(super) mod verdict {
    pub(in super::super) const VERDICT: u16 = 2;
    pub(in super::super) const CODE: u16 = 1;
    pub(in super::super) const CHAIN: u16 = 2;
    pub(in super::super) const DROP: i32 = 0;
    pub(in super::super) const ACCEPT: i32 = 1;
    pub(in super::super) const JUMP: i32 = -3;
    pub(in super::super) const GOTO: i32 = -4;
    pub(in super::super) const RETURN: i32 = -5;
}

/// `NFTA_BITWISE_…`.
pub(super) mod bitwise {
    pub(in super::super) const FROM: u16 = 1;
    pub(in super::super) const TO: u16 = 2;
    pub(in super::super) const LENGTH: u16 = 3;
    pub(in super::super) const MASK: u16 = 4;
    pub(in super::super) const XOR: u16 = 5;
    pub(in super::super) const OPERATION: u16 = 6;
    /// `NFT_BITWISE_MASK_XOR`, which kernels before 5.6 have alone and do not name.
    pub(in super::super) const MASK_XOR: u32 = 0;
}

/// `NFTA_CMP_…`.
pub(super) mod cmp {
    pub(in super::super) const REGISTER: u16 = 1;
    pub(in super::super) const OPERATION: u16 = 2;
    pub(in super::super) const DATA: u16 = 3;
}

/// `NFTA_RANGE_…`.
pub(super) mod range {
    pub(in super::super) const REGISTER: u16 = 1;
    pub(in super::super) const OPERATION: u16 = 2;
    pub(in super::super) const FIRST: u16 = 3;
    pub(in super::super) const LAST: u16 = 4;
}

/// `NFTA_LOOKUP_…`.
pub(super) mod lookup {
    pub(in super::super) const SET: u16 = 1;
    pub(in super::super) const REGISTER: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 5;
    /// `NFT_LOOKUP_F_INV`.
    pub(in super::super) const INVERTED: u32 = 1;
}

/// `NFTA_REJECT_…`.
pub(super) mod reject {
    pub(in super::super) const TYPE: u16 = 1;
    pub(in super::super) const CODE: u16 = 2;
    pub(in super::super) const UNREACHABLE: u32 = 0;
    pub(in super::super) const RESET: u32 = 1;
    pub(in super::super) const UNREACHABLE_INET: u32 = 2;
}

/// `NFTA_MASQ_FLAGS`.
pub(super) const MASQUERADE_FLAGS: u16 = 1;

/// `NFTA_COUNTER_…`.
pub(super) mod counter {
    pub(in super::super) const BYTES: u16 = 1;
    pub(in super::super) const PACKETS: u16 = 2;
}
