//! The wire layer: every attribute of a message as it lies there, nothing lost, nothing interpreted.
//!
//! Unknown attributes, commands and values survive a round trip unchanged, and so does what the kernel merely
//! tolerates: values that are short or long, bytes behind the last attribute. Those stand as `Other` and `leftover`.

mod attrs;
pub(crate) mod kinds;
mod message;
mod nest;
mod value;

pub use attrs::{CmdAttr, DaemonAttr, DestAttr, InfoAttr, ServiceAttr, Stats64Attr, StatsAttr};
pub use message::{IpvsCmd, IpvsMessage, IpvsPayload};
pub use nest::Nest;
pub(crate) use nest::{Attribute, RawAttr, RawAttrs, for_each_raw, parse_whole, write_attr};
pub(crate) use value::{Address, Encoding, FlagsAndMask, U8, U16, U16Be, U32};
pub use value::{Name, RawFlags};
