use netlink_packet_core::DefaultNla;

use crate::request::push;
use crate::wire::RawAttrs;

/// The number that the kernel gives IPVS's generic netlink family when `ip_vs` is loaded. The controller, whose own
/// number is always the same, tells it.
///
/// ```
/// use ipvs_codec::FamilyNumber;
///
/// let mut request = Vec::new();
/// FamilyNumber::emit_request(&mut request); // a message of the type FamilyNumber::CONTROLLER
/// assert!(request.windows(4).any(|name| name == b"IPVS"));
/// assert_eq!(FamilyNumber::parse(&[1, 2, 0, 0]), None); // an answer without a number
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyNumber(pub u16);

const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

impl FamilyNumber {
    /// `GENL_ID_CTRL`, the message type of the request.
    pub const CONTROLLER: u16 = 16;

    /// Appends the request, `CTRL_CMD_GETFAMILY`. It makes the kernel load `ip_vs`; `ENOENT` without.
    pub fn emit_request(out: &mut Vec<u8>) {
        let name = [crate::FAMILY_NAME.as_bytes(), &[0]].concat();
        let name = DefaultNla::new(FAMILY_NAME, name);
        out.extend([GET_FAMILY, 1, 0, 0]);
        push(out, &name);
    }

    /// Reads the answer from the bytes behind the netlink header; `None` if it holds no number. One attribute is all
    /// that is needed of it: the rest has nests that parsers have tripped over.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let id = RawAttrs::new(message.get(4..)?).find(|attr| attr.kind() == FAMILY_ID)?;
        let number = id.value.first_chunk()?;
        Some(Self(u16::from_ne_bytes(*number)))
    }
}
