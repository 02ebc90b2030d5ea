#![doc = include_str!("../README.md")]

mod compile;
mod config;
mod desired;
mod diff;
mod endpoints;
mod error;
pub mod input;
mod known;
mod model;
mod plan;
mod rules;
mod sets;
mod state;

pub use config::{
    Config, InterfaceName, LocalTraffic, NoInterfaceName, NodePortAddresses, VipBinding,
};
pub use desired::{Conflict, Desired, Key};
pub use error::InputError;
pub use known::Known;
pub use model::Model;
pub use plan::{Operation, Phase, Plan};
pub use sets::{KubeSet, Member};
pub use state::{Vip, VirtualServer, WithoutLocal};
