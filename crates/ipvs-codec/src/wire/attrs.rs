//! The attribute spaces, one table each: `Variant(type): encoding = number "kernel name"`.

use netlink_packet_core::{DefaultNla, Nla};

use super::kinds::*;
use super::nest::{Attribute, Nest, RawAttr};
use super::value::{
    Address, Bytes4, Encoding, FlagsAndMask, Name, RawFlags, U8, U16, U16Be, U32, U64,
};
use crate::error::WireError;

macro_rules! attributes {
    ($($(#[$doc:meta])* pub enum $space:ident {
        $($(#[$variant_doc:meta])* $variant:ident($value:ty): $encoding:ty = $number:tt $name:literal,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $space {
            $($(#[$variant_doc])* $variant($value),)*
            /// An attribute that this table does not know, or whose value is not written as this table writes it (short,
            /// long, unterminated), kept byte for byte.
            Other(DefaultNla),
        }

        impl Nla for $space {
            #[inline]
            fn value_len(&self) -> usize {
                match self {
                    $(Self::$variant(value) => <$encoding as Encoding>::size(value),)*
                    Self::Other(raw) => raw.value_len(),
                }
            }
            #[inline]
            fn kind(&self) -> u16 {
                match self {
                    $(Self::$variant(value) => $number | <$encoding as Encoding>::flags(value),)*
                    Self::Other(raw) => raw.kind(),
                }
            }
            #[inline]
            fn emit_value(&self, buffer: &mut [u8]) {
                match self {
                    $(Self::$variant(value) => <$encoding as Encoding>::put(value, buffer),)*
                    Self::Other(raw) => raw.emit_value(buffer),
                }
            }
        }

        impl Attribute for $space {
            #[inline]
            fn read(raw: &RawAttr<'_>) -> Result<Self, WireError> {
                Ok(match raw.kind() {
                    $($number => {
                        let mut value = <$encoding as Encoding>::get($name, raw.value)?;
                        FlagNest::set_flagged(&mut value, raw.is_nested());
                        Self::$variant(value)
                    })*
                    _ => Self::opaque(raw),
                })
            }

            fn opaque(raw: &RawAttr<'_>) -> Self {
                Self::Other(DefaultNla::new(raw.head, raw.value.to_vec()))
            }
        }
    )*};
}

/// Remembers `NLA_F_NESTED` on nests; other values have nothing to remember.
trait FlagNest {
    fn set_flagged(&mut self, _: bool) {}
}

macro_rules! no_nest {
    ($($value:ty),*) => {$(impl FlagNest for $value {})*};
}
no_nest!(u8, u16, u32, u64, [u8; 4], [u8; 16], RawFlags);

impl<const MAX: usize> FlagNest for Name<MAX> {}

impl<A> FlagNest for Nest<A> {
    fn set_flagged(&mut self, flagged: bool) {
        self.flagged = flagged;
    }
}

attributes! {
    /// What stands at the top of every message but the answer to `GET_INFO`: `enum ip_vs_cmd_attr`.
    pub enum CmdAttr {
        /// A virtual server.
        Service(Nest<ServiceAttr>): Nest<ServiceAttr> = CMD_SERVICE "IPVS_CMD_ATTR_SERVICE",
        /// A real server.
        Dest(Nest<DestAttr>): Nest<DestAttr> = CMD_DEST "IPVS_CMD_ATTR_DEST",
        /// A synchronisation daemon.
        Daemon(Nest<DaemonAttr>): Nest<DaemonAttr> = CMD_DAEMON "IPVS_CMD_ATTR_DAEMON",
        /// Seconds.
        TimeoutTcp(u32): U32 = 4 "IPVS_CMD_ATTR_TIMEOUT_TCP",
        /// Seconds.
        TimeoutTcpFin(u32): U32 = 5 "IPVS_CMD_ATTR_TIMEOUT_TCP_FIN",
        /// Seconds.
        TimeoutUdp(u32): U32 = 6 "IPVS_CMD_ATTR_TIMEOUT_UDP",
    }

    /// What stands at the top of the answer to `GET_INFO`, which travels under `SET_INFO`: `enum ip_vs_info_attr`.
    pub enum InfoAttr {
        /// 0x00010201 is 1.2.1.
        Version(u32): U32 = 1 "IPVS_INFO_ATTR_VERSION",
        /// Buckets of the connection table; since Linux 7.1 of this namespace's table, and 0 without services.
        ConnTabSize(u32): U32 = 2 "IPVS_INFO_ATTR_CONN_TAB_SIZE",
    }

    /// A virtual server: `enum ip_vs_svc_attr`.
    pub enum ServiceAttr {
        /// 2 or 10.
        Family(u16): U16 = SVC_AF "IPVS_SVC_ATTR_AF",
        /// IP protocol number; the kernel does not check it.
        Protocol(u16): U16 = SVC_PROTOCOL "IPVS_SVC_ATTR_PROTOCOL",
        /// Network order, an IPv4 address in the first four bytes.
        Addr([u8; 16]): Address = SVC_ADDR "IPVS_SVC_ATTR_ADDR",
        /// The port (network byte order on the wire).
        Port(u16): U16Be = SVC_PORT "IPVS_SVC_ATTR_PORT",
        /// Firewall mark; wins over protocol, address and port.
        Fwmark(u32): U32 = SVC_FWMARK "IPVS_SVC_ATTR_FWMARK",
        /// Scheduler.
        SchedName(Name<15>): Name<15> = SVC_SCHED_NAME "IPVS_SVC_ATTR_SCHED_NAME",
        /// Flags and the mask of those that take effect.
        Flags(RawFlags): FlagsAndMask = SVC_FLAGS "IPVS_SVC_ATTR_FLAGS",
        /// Persistence timeout in seconds.
        Timeout(u32): U32 = SVC_TIMEOUT "IPVS_SVC_ATTR_TIMEOUT",
        /// IPv4: a mask in network order, read here as it lies; IPv6: a prefix length in host order.
        Netmask(u32): U32 = SVC_NETMASK "IPVS_SVC_ATTR_NETMASK",
        /// 32-bit counters.
        Stats(Nest<StatsAttr>): Nest<StatsAttr> = SVC_STATS "IPVS_SVC_ATTR_STATS",
        /// Persistence engine.
        PeName(Name<16>): Name<16> = SVC_PE_NAME "IPVS_SVC_ATTR_PE_NAME",
        /// 64-bit counters, since Linux 4.1.
        Stats64(Nest<Stats64Attr>): Nest<Stats64Attr> = SVC_STATS64 "IPVS_SVC_ATTR_STATS64",
    }

    /// A real server: `enum ip_vs_dest_attr`.
    pub enum DestAttr {
        /// Network order, an IPv4 address in the first four bytes.
        Addr([u8; 16]): Address = DEST_ADDR "IPVS_DEST_ATTR_ADDR",
        /// The port (network byte order on the wire).
        Port(u16): U16Be = DEST_PORT "IPVS_DEST_ATTR_PORT",
        /// Forwarding method; the kernel keeps the low three bits.
        FwdMethod(u32): U32 = DEST_FWD_METHOD "IPVS_DEST_ATTR_FWD_METHOD",
        /// 0 to 2147483647.
        Weight(u32): U32 = DEST_WEIGHT "IPVS_DEST_ATTR_WEIGHT",
        /// Upper connection threshold.
        UpperThreshold(u32): U32 = DEST_U_THRESH "IPVS_DEST_ATTR_U_THRESH",
        /// Lower connection threshold.
        LowerThreshold(u32): U32 = DEST_L_THRESH "IPVS_DEST_ATTR_L_THRESH",
        /// Active connections.
        ActiveConns(u32): U32 = DEST_ACTIVE_CONNS "IPVS_DEST_ATTR_ACTIVE_CONNS",
        /// Inactive connections.
        InactConns(u32): U32 = DEST_INACT_CONNS "IPVS_DEST_ATTR_INACT_CONNS",
        /// Persistence templates.
        PersistConns(u32): U32 = DEST_PERSIST_CONNS "IPVS_DEST_ATTR_PERSIST_CONNS",
        /// 32-bit counters.
        Stats(Nest<StatsAttr>): Nest<StatsAttr> = DEST_STATS "IPVS_DEST_ATTR_STATS",
        /// 2 or 10, since Linux 3.18; without it the service's family.
        Family(u16): U16 = DEST_ADDR_FAMILY "IPVS_DEST_ATTR_ADDR_FAMILY",
        /// 64-bit counters, since Linux 4.1.
        Stats64(Nest<Stats64Attr>): Nest<Stats64Attr> = DEST_STATS64 "IPVS_DEST_ATTR_STATS64",
        /// 0 IPIP, 1 GUE, 2 GRE; since Linux 5.2.
        TunType(u8): U8 = DEST_TUN_TYPE "IPVS_DEST_ATTR_TUN_TYPE",
        /// GUE port (network byte order on the wire).
        TunPort(u16): U16Be = DEST_TUN_PORT "IPVS_DEST_ATTR_TUN_PORT",
        /// 1 checksum, 2 remote checksum; since Linux 5.3.
        TunFlags(u16): U16 = DEST_TUN_FLAGS "IPVS_DEST_ATTR_TUN_FLAGS",
    }

    /// A synchronisation daemon: `enum ip_vs_daemon_attr`.
    pub enum DaemonAttr {
        /// 1 master, 2 backup.
        State(u32): U32 = 1 "IPVS_DAEMON_ATTR_STATE",
        /// Interface of the multicast.
        McastIfn(Name<15>): Name<15> = 2 "IPVS_DAEMON_ATTR_MCAST_IFN",
        /// Only the low 8 bits travel between the daemons.
        SyncId(u32): U32 = 3 "IPVS_DAEMON_ATTR_SYNC_ID",
        /// Longest message.
        SyncMaxlen(u16): U16 = 4 "IPVS_DAEMON_ATTR_SYNC_MAXLEN",
        /// IPv4 group, network order.
        McastGroup([u8; 4]): Bytes4 = 5 "IPVS_DAEMON_ATTR_MCAST_GROUP",
        /// IPv6 group, network order.
        McastGroup6([u8; 16]): Address = 6 "IPVS_DAEMON_ATTR_MCAST_GROUP6",
        /// Host byte order, unlike every other port.
        McastPort(u16): U16 = 7 "IPVS_DAEMON_ATTR_MCAST_PORT",
        /// Time to live.
        McastTtl(u8): U8 = 8 "IPVS_DAEMON_ATTR_MCAST_TTL",
    }

    /// 32-bit counters; the byte counts have 64 bits: `enum ip_vs_stats_attr`. `Other` of kind 11 is padding.
    pub enum StatsAttr {
        /// Connections scheduled.
        Conns(u32): U32 = 1 "IPVS_STATS_ATTR_CONNS",
        /// Incoming packets.
        InPkts(u32): U32 = 2 "IPVS_STATS_ATTR_INPKTS",
        /// Outgoing packets.
        OutPkts(u32): U32 = 3 "IPVS_STATS_ATTR_OUTPKTS",
        /// Incoming bytes.
        InBytes(u64): U64 = 4 "IPVS_STATS_ATTR_INBYTES",
        /// Outgoing bytes.
        OutBytes(u64): U64 = 5 "IPVS_STATS_ATTR_OUTBYTES",
        /// Connections a second.
        Cps(u32): U32 = 6 "IPVS_STATS_ATTR_CPS",
        /// Incoming packets a second.
        InPps(u32): U32 = 7 "IPVS_STATS_ATTR_INPPS",
        /// Outgoing packets a second.
        OutPps(u32): U32 = 8 "IPVS_STATS_ATTR_OUTPPS",
        /// Incoming bytes a second.
        InBps(u32): U32 = 9 "IPVS_STATS_ATTR_INBPS",
        /// Outgoing bytes a second.
        OutBps(u32): U32 = 10 "IPVS_STATS_ATTR_OUTBPS",
    }

    /// The same counters, all of 64 bits. `Other` of kind 11 is padding.
    pub enum Stats64Attr {
        /// Connections scheduled.
        Conns(u64): U64 = 1 "IPVS_STATS_ATTR_CONNS",
        /// Incoming packets.
        InPkts(u64): U64 = 2 "IPVS_STATS_ATTR_INPKTS",
        /// Outgoing packets.
        OutPkts(u64): U64 = 3 "IPVS_STATS_ATTR_OUTPKTS",
        /// Incoming bytes.
        InBytes(u64): U64 = 4 "IPVS_STATS_ATTR_INBYTES",
        /// Outgoing bytes.
        OutBytes(u64): U64 = 5 "IPVS_STATS_ATTR_OUTBYTES",
        /// Connections a second.
        Cps(u64): U64 = 6 "IPVS_STATS_ATTR_CPS",
        /// Incoming packets a second.
        InPps(u64): U64 = 7 "IPVS_STATS_ATTR_INPPS",
        /// Outgoing packets a second.
        OutPps(u64): U64 = 8 "IPVS_STATS_ATTR_OUTPPS",
        /// Incoming bytes a second.
        InBps(u64): U64 = 9 "IPVS_STATS_ATTR_INBPS",
        /// Outgoing bytes a second.
        OutBps(u64): U64 = 10 "IPVS_STATS_ATTR_OUTBPS",
    }
}
