use crate::error::SemanticError;
use crate::message_attrs::find;
use crate::reply::frames;
use crate::types::{Family, ObservedDestination, ObservedService};
use crate::wire::IpvsCmd;
use crate::wire::kinds::{CMD_DEST, CMD_SERVICE};

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
    ObservedService::parse(find(message, CMD_SERVICE, "IPVS_CMD_ATTR_SERVICE")?)
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
    ObservedDestination::parse(
        find(message, CMD_DEST, "IPVS_CMD_ATTR_DEST")?,
        service_family,
    )
}

/// The services in a datagram of a dump, netlink headers included, one after the other without allocating. Messages
/// that are none (the end of the dump, errors) are passed over.
///
/// ```
/// assert_eq!(ipvs_codec::services(&[]).count(), 0);
/// ```
pub fn services(
    datagram: &[u8],
) -> impl Iterator<Item = Result<ObservedService, SemanticError>> + '_ {
    objects(datagram, IpvsCmd::NEW_SERVICE).map(parse_service)
}

/// The destinations in a datagram of a dump, as [`services`].
///
/// ```
/// use ipvs_codec::Family;
/// assert_eq!(ipvs_codec::destinations(&[], Family::Ipv4).count(), 0);
/// ```
pub fn destinations(
    datagram: &[u8],
    service_family: Family,
) -> impl Iterator<Item = Result<ObservedDestination, SemanticError>> + '_ {
    objects(datagram, IpvsCmd::NEW_DEST)
        .map(move |message| parse_destination(message, service_family))
}

/// Message types below are netlink's own.
const NLMSG_MIN_TYPE: u16 = 16;

/// What stands behind the netlink header of the messages with a command. A broken header ends the datagram.
fn objects(datagram: &[u8], command: IpvsCmd) -> impl Iterator<Item = &[u8]> {
    frames(datagram)
        .map_while(Result::ok)
        .filter(move |frame| {
            frame.kind >= NLMSG_MIN_TYPE && frame.payload.first() == Some(&command.0)
        })
        .map(|frame| frame.payload)
}
