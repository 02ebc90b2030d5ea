#![doc = include_str!("../README.md")]

mod kernel;
mod requirements;
mod sysctl;

pub use kernel::{InvalidRelease, KernelRelease};
pub use requirements::{Requirement, requirements};
pub use sysctl::{SysctlError, Sysctls};
