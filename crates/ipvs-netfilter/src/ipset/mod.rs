//! ipset over netlink: the requests and answers of the five set types that kube-proxy uses.

mod entry;
mod head;
mod listing;
mod request;
mod set;
mod set_list;
mod size;
mod wire;

pub use entry::{Entry, EntryProtocol, InvalidEntry};
pub use head::{SetDifference, SetHead};
pub use listing::{Listing, parse_protocol, parse_revision};
pub use request::Request;
pub use set::{InvalidSetName, SetFamily, SetName, SetSpec, SetType};
pub use set_list::listed_sets;
pub use size::SetSize;

/// The protocol version of every request.
pub const PROTOCOL_VERSION: u8 = wire::PROTOCOL;

/// Error number of a hash set that holds its `maxelem` entries (`IPSET_ERR_HASH_FULL`).
pub const HASH_FULL: i32 = 4352;
/// Error number of a bitmap that has no room for the entry (`IPSET_ERR_BITMAP_RANGE`). The same as [`HASH_FULL`]: from 4352
/// on, each kind of set has its own meanings.
pub const BITMAP_RANGE: i32 = 4352;
/// Error number of a set that is not destroyed, since something refers to it (`IPSET_ERR_BUSY`).
pub const BUSY: i32 = 4100;

/// What ipset's own error numbers mean; they start at 4096, above those of the system. From 4352 on they are those of hash
/// sets: who asks a bitmap must look for [`BITMAP_RANGE`] first.
///
/// ```
/// assert_eq!(ipvs_netfilter::ipset::error_text(4352), Some("the set is full"));
/// ```
#[must_use]
pub const fn error_text(errno: i32) -> Option<&'static str> {
    Some(match errno {
        4097 => "the kernel speaks another ipset protocol",
        4098 => "the kernel has no such set type or revision: load its module ip_set_…",
        4099 => "too many sets",
        BUSY => "a rule or another set refers to the set",
        4102 => "a set of this name has another type",
        4103 => "the element is there already, or is not there",
        4106 => "the set type has no such address family",
        HASH_FULL => "the set is full",
        4354 => "the set type takes no such protocol",
        4355 => "the protocol is missing",
        _ => return None,
    })
}
