use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::wire::{address, data, message};
use super::{Entry, EntryProtocol, SetHead, SetName, SetSpec, SetType};
use crate::error::MessageError;
use crate::wire::{attrs, body};

/// A set's listing. A large set comes in several messages, and only the first says what set it is. The entries of a set of a
/// type that this crate does not know are passed over.
///
/// ```
/// use ipvs_netfilter::ipset::Listing;
/// let mut listing = Listing::default();
/// assert!(listing.read(&[2, 0, 0, 0]).is_err()); // no set
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// What the set says of itself; none before the first message was read.
    pub head: Option<SetHead>,
    /// The entries so far.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// Reads a message from the bytes behind the netlink header.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are no listing of a set.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        let (mut name, mut type_name, mut family) = (&[][..], None, None);
        let (mut parameters, mut members) = (&[][..], &[][..]);
        for attr in attrs(body(bytes)?) {
            let (kind, value) = attr?;
            match kind {
                message::SET_NAME => name = string(value),
                message::TYPE_NAME => type_name = Some(string(value)),
                message::FAMILY => family = value.first().copied(),
                message::DATA => parameters = value,
                message::ADT => members = value,
                _ => {}
            }
        }
        if let Some(type_name) = type_name {
            self.head = Some(head(name, type_name, family, parameters)?);
        }
        let head = self
            .head
            .as_ref()
            .ok_or(MessageError::Missing("IPSET_ATTR_TYPENAME"))?;
        let Some(set) = head.spec() else {
            return Ok(());
        };
        for member in attrs(members) {
            self.entries.push(entry(set, member?.1)?);
        }
        Ok(())
    }
}

fn head(
    name: &[u8],
    type_name: &[u8],
    family: Option<u8>,
    parameters: &[u8],
) -> Result<SetHead, MessageError> {
    let name = String::from_utf8_lossy(name)
        .parse::<SetName>()
        .or(Err(MessageError::Missing("IPSET_ATTR_SETNAME")))?;
    let mut head = SetHead {
        name,
        type_name: String::from_utf8_lossy(type_name).into_owned(),
        family: family.ok_or(MessageError::Missing("IPSET_ATTR_FAMILY"))?,
        timeout: None,
        ports: None,
        netmask: None,
    };
    let (mut first, mut last) = (None, None);
    for attr in attrs(parameters) {
        let (kind, value) = attr?;
        match kind {
            data::TIMEOUT => head.timeout = value.first_chunk().copied().map(u32::from_be_bytes),
            data::PORT => first = value.first_chunk().copied().map(u16::from_be_bytes),
            data::PORT_TO => last = value.first_chunk().copied().map(u16::from_be_bytes),
            data::NETMASK => head.netmask = value.first().copied(),
            _ => {}
        }
    }
    head.ports = first.zip(last).map(|(first, last)| first..=last);
    Ok(head)
}

/// Reads the answer to [`Request::TypeRevision`](super::Request::TypeRevision) from the bytes behind the netlink
/// header.
///
/// # Errors
/// [`MessageError`] when the bytes hold no revision.
pub fn parse_revision(bytes: &[u8]) -> Result<u8, MessageError> {
    byte(bytes, message::REVISION)?.ok_or(MessageError::Missing("IPSET_ATTR_REVISION"))
}

/// The protocol versions that the kernel speaks, the oldest and the newest: the answer to
/// [`Request::Protocol`](super::Request::Protocol), read from the bytes behind the netlink header.
///
/// # Errors
/// [`MessageError`] when the bytes hold no version.
pub fn parse_protocol(bytes: &[u8]) -> Result<RangeInclusive<u8>, MessageError> {
    let newest =
        byte(bytes, message::PROTOCOL)?.ok_or(MessageError::Missing("IPSET_ATTR_PROTOCOL"))?;
    Ok(byte(bytes, message::PROTOCOL_MIN)?.unwrap_or(newest)..=newest)
}

/// The one-byte value of an attribute of a message.
fn byte(bytes: &[u8], wanted: u16) -> Result<Option<u8>, MessageError> {
    for attr in attrs(body(bytes)?) {
        let (kind, value) = attr?;
        if kind == wanted {
            return Ok(value.first().copied());
        }
    }
    Ok(None)
}

fn string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[derive(Default)]
struct Fields {
    ip: Option<IpAddr>,
    port: Option<u16>,
    protocol: Option<u8>,
    second: Option<IpAddr>,
    prefix: Option<u8>,
}

fn entry(set: SetSpec, bytes: &[u8]) -> Result<Entry, MessageError> {
    let mut fields = Fields::default();
    for attr in attrs(bytes) {
        let (kind, bytes) = attr?;
        match kind {
            data::IP => fields.ip = ip(bytes)?,
            data::IP2 => fields.second = ip(bytes)?,
            data::PORT => fields.port = bytes.first_chunk().copied().map(u16::from_be_bytes),
            data::PROTO => fields.protocol = bytes.first().copied(),
            data::CIDR2 => fields.prefix = bytes.first().copied(),
            _ => {}
        }
    }
    use MessageError::Missing;
    let ip = || fields.ip.ok_or(Missing("IPSET_ATTR_IP"));
    let port = || fields.port.ok_or(Missing("IPSET_ATTR_PORT"));
    let protocol = || {
        fields
            .protocol
            .map(EntryProtocol)
            .ok_or(Missing("IPSET_ATTR_PROTO"))
    };
    let second = || fields.second.ok_or(Missing("IPSET_ATTR_IP2"));
    Ok(match set.set_type {
        SetType::HashIp => Entry::Ip(ip()?),
        SetType::HashIpPort => Entry::IpPort(ip()?, protocol()?, port()?),
        SetType::HashIpPortIp => Entry::IpPortIp(ip()?, protocol()?, port()?, second()?),
        SetType::HashIpPortNet => {
            let second = second()?;
            let full = if second.is_ipv4() { 32 } else { 128 };
            let net = IpNet::new(second, fields.prefix.unwrap_or(full))
                .or(Err(Missing("IPSET_ATTR_CIDR2")))?;
            Entry::IpPortNet(ip()?, protocol()?, port()?, net)
        }
        SetType::BitmapPort => Entry::Port(port()?),
    })
}

fn ip(nest: &[u8]) -> Result<Option<IpAddr>, MessageError> {
    for attr in attrs(nest) {
        let (kind, bytes) = attr?;
        match kind {
            address::IPV4 => {
                return Ok(bytes
                    .first_chunk::<4>()
                    .map(|octets| Ipv4Addr::from(*octets).into()));
            }
            address::IPV6 => {
                return Ok(bytes
                    .first_chunk::<16>()
                    .map(|octets| Ipv6Addr::from(*octets).into()));
            }
            _ => {}
        }
    }
    Ok(None)
}
