//! What is to be done, in which order, and what becomes of it: the one place that knows what must not be done before or
//! without what.

mod builder;
mod execution;
mod held_back;
mod operation;
mod phase;
#[cfg(test)]
mod tests;
mod text;

pub use builder::Plan;
pub(crate) use builder::PlanBuilder;
pub use execution::{Executed, Execution, OutcomesDiffer};
pub use held_back::HeldBack;
pub use operation::{Operation, Unusable};
pub use phase::Phase;
