//! The filter in kube-proxy's sets of ipset.

mod entries;

pub use entries::{asked_for, filter_entry, set_entry};
