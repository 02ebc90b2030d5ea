//! ipset over netlink: the requests and answers of the five set types that kube-proxy uses.

mod entry;
mod listing;
mod request;
mod set;
mod wire;

pub use entry::{Entry, EntryProtocol, InvalidEntry};
pub use listing::{Listing, ListingError, parse_protocol, parse_revision};
pub use request::Request;
pub use set::{InvalidSetName, SetFamily, SetName, SetSpec, SetType};

/// The protocol version of every request.
pub const PROTOCOL_VERSION: u8 = wire::PROTOCOL;

/// Error number of a hash set that holds its `maxelem` entries (`IPSET_ERR_HASH_FULL`).
pub const HASH_FULL: i32 = 4352;

/// What ipset's own error numbers mean; they start at 4096, above those of the system.
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
        4100 => "a rule or another set refers to the set",
        4102 => "a set of this name has another type",
        4103 => "the element is there already, or is not there",
        4106 => "the set type has no such address family",
        HASH_FULL => "the set is full",
        4354 => "the set type takes no such protocol",
        4355 => "the protocol is missing",
        _ => return None,
    })
}
