//! How large the packets are that every link of a node takes.

use netlink_packet_core::NlasIterator;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};

use crate::error::{Cause, Error};
use crate::ipvs::malformed;
use crate::links::{LINK_HEADER, Links, flags, parse};
use crate::listing::stable_part;
use crate::rtnetlink::write;

const IFLA_MTU: u16 = 4;

impl Links {
    /// The smallest MTU of the links that are up, among those of at least so many bytes: what a packet may be as large as to go
    /// out by any of them. Loopback and dummy interfaces do not count, since nobody is behind them. None if there is no such
    /// link. Reads all links.
    ///
    /// # Errors
    /// [`Cause::Unstable`] when they change too fast to be read; whatever the kernel refuses.
    ///
    /// ```no_run
    /// // The least that IPv6 asks for.
    /// let mtu = ipvs_netlink::Links::open()?.smallest_mtu(1280)?;
    /// # Ok::<(), ipvs_netlink::Error>(())
    /// ```
    pub fn smallest_mtu(&mut self, at_least: u32) -> Result<Option<u32>, Error> {
        let mut message = LinkMessage::default();
        // Counters are more than half of each message.
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(message);
        let read = |found: &mut Vec<u32>| {
            let take = |bytes: &[u8]| {
                found.extend(mtu(bytes)?);
                Ok(())
            };
            self.connection.dump(|out| write(&request, 0, out), take)
        };
        let found = stable_part(read).map_err(|cause| Error::new("list links", cause))?;
        Ok(found.into_iter().filter(|mtu| *mtu >= at_least).min())
    }
}

/// The MTU of a link that is up and that somebody may be behind.
fn mtu(message: &[u8]) -> Result<Option<u32>, Cause> {
    let cut_off = || malformed("a link that is cut off");
    let (link, flags) = parse(message).zip(flags(message)).ok_or_else(cut_off)?;
    if link.is_dummy || !link.up || flags.contains(LinkFlags::Loopback) {
        return Ok(None);
    }
    for attribute in NlasIterator::new(message.get(LINK_HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(malformed)?;
        if attribute.kind() == IFLA_MTU {
            let value = attribute.value().first_chunk().copied();
            return Ok(value.map(u32::from_ne_bytes));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;
    use netlink_packet_route::link::{InfoKind, LinkInfo};

    use super::*;

    fn found(flags: LinkFlags, kind: InfoKind) -> Option<u32> {
        let mut message = LinkMessage::default();
        message.header.index = 3;
        message.header.flags = flags;
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]);
        message.attributes = vec![
            LinkAttribute::IfName("link".into()),
            LinkAttribute::Mtu(1450),
            info,
        ];
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        for end in 0..bytes.len() {
            // Cut off it is an error, or says less.
            let _ = mtu(&bytes[..end]);
        }
        mtu(&bytes).unwrap()
    }

    #[test]
    fn links_count_that_are_up_and_lead_somewhere() {
        assert_eq!(found(LinkFlags::Up, InfoKind::Veth), Some(1450));
        assert_eq!(found(LinkFlags::empty(), InfoKind::Veth), None);
        assert_eq!(found(LinkFlags::Up, InfoKind::Dummy), None);
        let loopback = LinkFlags::Up | LinkFlags::Loopback;
        assert_eq!(found(loopback, InfoKind::Veth), None);
        assert!(mtu(&[0; 7]).is_err());
    }
}
