use std::fmt;
use std::net::IpAddr;

use super::wire::{FLAG_LIST_HEADER, PROTOCOL, SUBSYSTEM, address, data, message};
use super::{Entry, SetName, SetSpec, SetType};
use crate::wire::{nest, put, put_be, put_str};

/// A request to ipset. Creating what exists, adding what is a member and deleting what is none succeed, as with
/// `ipset -exist`.
///
/// ```
/// use ipvs_netfilter::ipset::{Request, SetName};
///
/// let name: SetName = "KUBE-IPVS-IPS".parse().unwrap();
/// let mut bytes = Vec::new();
/// Request::Destroy(name).emit(&mut bytes);
/// assert_eq!(Request::Destroy(name).message_type(), 0x0603);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Ask which protocol versions the kernel speaks; answered by [`parse_protocol`](super::parse_protocol). Needs
    /// to contain [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
    Protocol,
    /// Ask for the newest revision of a type that the kernel has; answered by [`parse_revision`](super::parse_revision).
    TypeRevision(&'a SetSpec),
    /// Create a set of this revision of its type. A set of the same name and another type: `EEXIST`.
    Create(&'a SetSpec, u8),
    /// Destroy a set. [`BUSY`](super::BUSY) while a rule refers to it, `ENOENT` if it is not there.
    Destroy(SetName),
    /// Remove all entries. `ENOENT` if the set is not there.
    Flush(SetName),
    /// List one set with its entries (a dump); answered by [`Listing::read`](super::Listing::read). `ENOENT` if it
    /// is not there.
    List(SetName),
    /// List all sets without their entries (a dump); each is answered by [`SetSize::parse`](super::SetSize::parse).
    ListSizes,
    /// List one set without its entries (a dump); answered as above. `ENOENT` if it is not there.
    ListSize(SetName),
    /// Add an entry. A full set gives the error number [`HASH_FULL`](super::HASH_FULL).
    Add(SetName, Entry),
    /// Delete an entry.
    Delete(SetName, Entry),
}

/// What it asks for, of what object: `add 10.96.0.10,tcp:80 to set KUBE-CLUSTER-IP`.
impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol => f.write_str("get the protocol versions of ipset"),
            Self::TypeRevision(set) => write!(f, "get the revision of set type {}", set.set_type),
            Self::Create(set, _) => write!(f, "create set {} of type {}", set.name, set.set_type),
            Self::Destroy(name) => write!(f, "destroy set {name}"),
            Self::Flush(name) => write!(f, "flush set {name}"),
            Self::List(name) => write!(f, "list set {name}"),
            Self::ListSizes => f.write_str("list the sizes of sets"),
            Self::ListSize(name) => write!(f, "get the size of set {name}"),
            Self::Add(name, entry) => write!(f, "add {entry} to set {name}"),
            Self::Delete(name, entry) => write!(f, "delete {entry} from set {name}"),
        }
    }
}

impl Request<'_> {
    /// The netlink message type: subsystem and command.
    #[must_use]
    pub const fn message_type(&self) -> u16 {
        let command = match self {
            Self::Protocol => 1,
            Self::Create(..) => 2,
            Self::Destroy(_) => 3,
            Self::Flush(_) => 4,
            Self::List(_) | Self::ListSizes | Self::ListSize(_) => 7,
            Self::Add(..) => 9,
            Self::Delete(..) => 10,
            Self::TypeRevision(_) => 13,
        };
        u16::from_be_bytes([SUBSYSTEM, command])
    }

    /// Whether it must travel with `NLM_F_DUMP`.
    #[must_use]
    pub const fn is_dump(&self) -> bool {
        matches!(self, Self::List(_) | Self::ListSizes | Self::ListSize(_))
    }

    /// Appends netfilter header and attributes. Allocates nothing but the growth of `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let family = match self {
            Self::TypeRevision(set) | Self::Create(set, _) => set.family.number(),
            _ => 2, // any; the kernel looks at the set's own
        };
        out.extend([family, 0, 0, 0]);
        put(out, message::PROTOCOL, &[PROTOCOL]);
        match self {
            Self::Protocol => {}
            Self::TypeRevision(set) => {
                put_str(out, message::TYPE_NAME, set.set_type.name());
                put(out, message::FAMILY, &[set.family.number()]);
            }
            Self::Create(set, revision) => {
                put_str(out, message::SET_NAME, set.name.as_str());
                put_str(out, message::TYPE_NAME, set.set_type.name());
                put(out, message::REVISION, &[*revision]);
                put(out, message::FAMILY, &[set.family.number()]);
                nest(out, message::DATA, |out| match set.set_type {
                    SetType::BitmapPort => {
                        put_be(out, data::PORT, &0_u16.to_be_bytes());
                        put_be(out, data::PORT_TO, &u16::MAX.to_be_bytes());
                    }
                    _ => {
                        put_be(out, data::HASH_SIZE, &SetSpec::HASH_SIZE.to_be_bytes());
                        put_be(
                            out,
                            data::MAX_ELEMENTS,
                            &SetSpec::MAX_ELEMENTS.to_be_bytes(),
                        );
                    }
                });
            }
            Self::Destroy(name) | Self::Flush(name) | Self::List(name) => {
                put_str(out, message::SET_NAME, name.as_str());
            }
            Self::ListSizes => put_be(out, message::FLAGS, &FLAG_LIST_HEADER.to_be_bytes()),
            Self::ListSize(name) => {
                put_str(out, message::SET_NAME, name.as_str());
                put_be(out, message::FLAGS, &FLAG_LIST_HEADER.to_be_bytes());
            }
            Self::Add(name, entry) | Self::Delete(name, entry) => {
                put_str(out, message::SET_NAME, name.as_str());
                nest(out, message::DATA, |out| put_entry(out, entry));
            }
        }
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let ip_port = |out: &mut Vec<u8>, ip: IpAddr, protocol: super::EntryProtocol, port: u16| {
        put_address(out, data::IP, ip);
        put_be(out, data::PORT, &port.to_be_bytes());
        put(out, data::PROTO, &[protocol.0]);
    };
    match *entry {
        Entry::Ip(ip) => put_address(out, data::IP, ip),
        Entry::IpPort(ip, protocol, port) => ip_port(out, ip, protocol, port),
        Entry::IpPortIp(ip, protocol, port, second) => {
            ip_port(out, ip, protocol, port);
            put_address(out, data::IP2, second);
        }
        Entry::IpPortNet(ip, protocol, port, net) => {
            ip_port(out, ip, protocol, port);
            put_address(out, data::IP2, net.addr());
            put(out, data::CIDR2, &[net.prefix_len()]);
        }
        Entry::Port(port) => put_be(out, data::PORT, &port.to_be_bytes()),
    }
}

fn put_address(out: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    nest(out, kind, |out| match ip {
        IpAddr::V4(v4) => put_be(out, address::IPV4, &v4.octets()),
        IpAddr::V6(v6) => put_be(out, address::IPV6, &v6.octets()),
    });
}
