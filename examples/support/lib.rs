//! What the programs share: how they log, print, and end. Nothing of it panics, waits for a reader or dies of one that is
//! gone.

pub mod limits;
pub mod log;
mod log_text;
pub mod output;
pub mod signals;
pub mod threads;
