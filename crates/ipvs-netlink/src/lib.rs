#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod advice;
mod bindings;
mod connection;
mod conntrack;
mod error;
mod ipsets;
mod ipvs;
mod links;
mod listing;
mod mtu;
mod namespace;
mod nf_tables;
mod notifications;
#[cfg(feature = "tokio")]
mod on_thread;
mod reader;
mod reconcile;
mod routes;
mod rtnetlink;
mod transport;

pub use ipvs_codec as codec;
pub use ipvs_netfilter as netfilter;

pub use bindings::{Binding, BindingReader};
pub use conntrack::Conntrack;
pub use error::{Cause, Error, KernelError, Outcome};
pub use ipsets::{IpSetReader, IpSets, SetChunk};
pub use ipvs::Ipvs;
pub use links::{Link, Links};
pub use namespace::NetworkNamespace;
pub use nf_tables::{
    EntryRun, NfTables, RefusedChange, SetContents, TableContents, TableHeads, Transaction,
    TransactionError,
};
pub use notifications::{
    Heard, LinkEvent, LinkGroup, LinkNotifications, Notification, RouteEvent, RuleNotifications,
};
#[cfg(feature = "tokio")]
pub use on_thread::OnThread;
pub use reader::{IpvsReader, ObservedVirtualServer, Slice};
pub use reconcile::Reconciled;
pub use rtnetlink::LinkIndex;
