//! The wire layer: every attribute of a message as it lies there, nothing lost, nothing interpreted.
//!
//! Unknown attributes, commands and values survive a round trip unchanged. A known attribute that is longer than
//! its type is read by its prefix, a shorter one is an error that names it.

mod attrs;
mod message;
mod value;

pub use attrs::{CmdAttr, DaemonAttr, DestAttr, InfoAttr, ServiceAttr, Stats64Attr, StatsAttr};
pub(crate) use attrs::{DEST_NEST, SERVICE_NEST};
pub use message::{IpvsCmd, IpvsMessage, IpvsPayload};
pub(crate) use value::{Attribute, raw_attrs, write_attr};
pub use value::{Name, Nest, RawFlags};
