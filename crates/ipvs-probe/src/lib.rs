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

mod bridges;
mod check;
mod facts;
mod family;
mod filter;
mod ipvs_tables;
mod kernel;
mod mend;
mod modules;
mod modules_of_1_8;
mod needs;
pub mod parse;
mod programs;
mod report;
mod root;
mod rule;
mod rule_trial;
mod rules;
mod sysctl;
mod try_rules;
mod when_applies;

pub use bridges::{Bridge, BridgePort};
pub use check::check;
pub use facts::{Attempt, Facts, SCHEDULERS, Selinux};
pub use family::Family;
pub use filter::Filter;
pub use ipvs_tables::IpvsTables;
pub use kernel::{InvalidRelease, KernelRelease};
pub use mend::{MendError, Step, mend, steps, steps_at_start};
pub use modules::{Module, ModuleState, Modules};
pub use needs::{Needs, Profile};
pub use programs::{HostPrograms, NoPrograms, Program, Programs};
pub use report::{Finding, Page, Remedy, Report, Verdict};
pub use root::{Evidence, Reading, Root};
pub use rule::{Need, Rule, Severity, When};
pub use rule_trial::{RuleTrial, TrialBy, TrialOutcome, sample_rules};
pub use rules::{RULES, find_rule};
pub use sysctl::{SysctlError, Sysctls};
pub use try_rules::try_rules;
