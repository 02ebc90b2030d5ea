//! The wire layer: every attribute of a message as it lies there, nothing lost, nothing interpreted.
//!
//! Unknown attributes, commands and values survive a round trip unchanged, and so does what the kernel merely
//! tolerates: values that are short or long, bytes behind the last attribute. Those stand as `Other` and `leftover`.

mod attrs;
mod message;
mod value;

pub use attrs::{CmdAttr, DaemonAttr, DestAttr, InfoAttr, ServiceAttr, Stats64Attr, StatsAttr};
pub(crate) use attrs::{DAEMON_NEST, DEST_NEST, SERVICE_NEST};
pub use message::{IpvsCmd, IpvsMessage, IpvsPayload};
pub(crate) use value::{Attribute, RawAttr, RawAttrs, for_each_raw, write_attr};
pub use value::{Name, Nest, RawFlags};
