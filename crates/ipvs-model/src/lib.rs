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

mod claims;
mod compile;
mod config;
mod contribution;
mod desired;
mod diff;
mod endpoints;
mod error;
mod escaped;
mod explain;
mod facts;
mod filter;
pub mod input;
mod key;
mod known;
mod model;
mod ownership;
mod plan;
mod problem;
mod problems;
mod state;

pub use config::{
    Config, Foreign, InterfaceName, LocalTraffic, NeverBind, NoInterfaceName, NodePortAddresses,
    SkippedLoadBalancers, VipBinding,
};
pub use desired::Desired;
pub use error::InputError;
pub use escaped::Escaped;
pub use explain::{Because, Candidate, Explanation, NoSubject, Reason, Subject, Verdict};
pub use filter::{
    AddressAndPort, EntryParts, FilterEntry, FilterSet, FilterSets, FilterShape, KnownFilter,
    LocalPods, Masquerade, NoFilterEntry,
};
pub use key::Key;
pub use known::Known;
pub use model::Model;
pub use ownership::{Owner, Ownership, entries_that_list, entry_that_names};
pub use plan::{Executed, Execution, HeldBack, Operation, OutcomesDiffer, Phase, Plan, Unusable};
pub use problem::{Problem, Protected};
pub use state::{HealthCheck, Vip, VirtualServer, WithoutLocal, overlook_weights};
