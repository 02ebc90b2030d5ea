use crate::error::{SemanticError, WireError};
use crate::types::{Family, ObservedDestination, ObservedService};
use crate::wire::raw_attrs;

const SERVICE: u16 = 1;
const DEST: u16 = 2;

/// The service in an answer to [`GetService`](crate::Request::GetService) or
/// [`DumpServices`](crate::Request::DumpServices), read from the bytes behind the netlink header without allocating.
///
/// # Errors
/// [`SemanticError`] when the message holds no service or a broken one.
///
/// ```
/// assert!(ipvs_codec::parse_service(&[1, 1, 0, 0]).is_err()); // NEW_SERVICE without a service
/// ```
pub fn parse_service(message: &[u8]) -> Result<ObservedService, SemanticError> {
    ObservedService::parse(find(message, SERVICE, "IPVS_CMD_ATTR_SERVICE")?)
}

/// The destination in an answer to [`DumpDests`](crate::Request::DumpDests), read from the bytes behind the netlink
/// header without allocating. `service_family` counts where the kernel (before 3.18) does not say the family.
///
/// # Errors
/// [`SemanticError`] when the message holds no destination or a broken one.
///
/// ```
/// use ipvs_codec::{Family, parse_destination};
/// assert!(parse_destination(&[5, 1, 0, 0], Family::Ipv4).is_err()); // NEW_DEST without a destination
/// ```
pub fn parse_destination(
    message: &[u8],
    service_family: Family,
) -> Result<ObservedDestination, SemanticError> {
    ObservedDestination::parse(find(message, DEST, "IPVS_CMD_ATTR_DEST")?, service_family)
}

fn find<'a>(message: &'a [u8], kind: u16, name: &'static str) -> Result<&'a [u8], SemanticError> {
    let attrs = message
        .get(4..)
        .ok_or(WireError::NoHeader { got: message.len() })?;
    let mut found = None;
    for raw in raw_attrs("message", attrs) {
        let raw = raw?;
        if raw.kind() == kind {
            let bytes: &'a [u8] = raw.into_inner();
            found = Some(bytes);
        }
    }
    let attribute = found.ok_or(SemanticError::Missing(name))?;
    let length = attribute
        .first_chunk()
        .map_or(0, |length| usize::from(u16::from_ne_bytes(*length)));
    Ok(attribute.get(4..length).unwrap_or_default())
}
