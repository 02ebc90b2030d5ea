//! The numbers of the attributes that the typed layer reads and writes: `enum ip_vs_svc_attr`, `enum ip_vs_dest_attr`.

use netlink_packet_core::NLA_F_NESTED;

pub(crate) const SVC_AF: u16 = 1;
pub(crate) const SVC_PROTOCOL: u16 = 2;
pub(crate) const SVC_ADDR: u16 = 3;
pub(crate) const SVC_PORT: u16 = 4;
pub(crate) const SVC_FWMARK: u16 = 5;
pub(crate) const SVC_SCHED_NAME: u16 = 6;
pub(crate) const SVC_FLAGS: u16 = 7;
pub(crate) const SVC_TIMEOUT: u16 = 8;
pub(crate) const SVC_NETMASK: u16 = 9;
pub(crate) const SVC_STATS: u16 = 10;
pub(crate) const SVC_PE_NAME: u16 = 11;
pub(crate) const SVC_STATS64: u16 = 12;

pub(crate) const DEST_ADDR: u16 = 1;
pub(crate) const DEST_PORT: u16 = 2;
pub(crate) const DEST_FWD_METHOD: u16 = 3;
pub(crate) const DEST_WEIGHT: u16 = 4;
pub(crate) const DEST_U_THRESH: u16 = 5;
pub(crate) const DEST_L_THRESH: u16 = 6;
pub(crate) const DEST_ACTIVE_CONNS: u16 = 7;
pub(crate) const DEST_INACT_CONNS: u16 = 8;
pub(crate) const DEST_PERSIST_CONNS: u16 = 9;
pub(crate) const DEST_STATS: u16 = 10;
pub(crate) const DEST_ADDR_FAMILY: u16 = 11;
pub(crate) const DEST_STATS64: u16 = 12;
pub(crate) const DEST_TUN_TYPE: u16 = 13;
pub(crate) const DEST_TUN_PORT: u16 = 14;
pub(crate) const DEST_TUN_FLAGS: u16 = 15;

/// The nests at the top of a message: `enum ip_vs_cmd_attr`.
pub(crate) const CMD_SERVICE: u16 = 1;
pub(crate) const CMD_DEST: u16 = 2;
pub(crate) const CMD_DAEMON: u16 = 3;

/// The same as libipvs sends them.
pub(crate) const SERVICE_NEST: u16 = CMD_SERVICE | NLA_F_NESTED;
pub(crate) const DEST_NEST: u16 = CMD_DEST | NLA_F_NESTED;
pub(crate) const DAEMON_NEST: u16 = CMD_DAEMON | NLA_F_NESTED;
