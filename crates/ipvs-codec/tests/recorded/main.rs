//! Messages recorded from a real kernel: those that the first reader of the interface made, and those between ipvsadm and
//! the kernel (`cargo xtask capture`). The recordings are little-endian, and so are these tests.
#![cfg(target_endian = "little")]

mod bytes;
mod ipvsadm;
mod types;

use ipvs_codec::Request;
use ipvs_codec::wire::{CmdAttr, DestAttr, IpvsMessage, IpvsPayload};
use netlink_packet_core::Emitable as _;

const NETLINK_HEADER: usize = 16;
const IPVS_FAMILY: u8 = 0x1c;

struct Vector {
    id: &'static str,
    what: &'static str,
    bytes: Vec<u8>,
}

/// The lines of a file of vectors: `id | what | bytes`.
fn read(file: &'static str) -> impl Iterator<Item = Vector> {
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let columns: Vec<&str> = line.split(" | ").collect();
        let [id, what, hex] = columns[..] else {
            panic!("not a vector: {line}")
        };
        let byte =
            |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        Vector {
            id,
            what,
            bytes: hex.as_bytes().chunks(2).map(byte).collect(),
        }
    })
}

fn vectors() -> impl Iterator<Item = Vector> {
    read(include_str!("../vectors/messages.txt"))
}

/// The bytes behind the netlink header of vector `id`.
fn message(id: &str) -> Vec<u8> {
    let vector = vectors().find(|vector| vector.id == id).unwrap();
    vector.bytes[NETLINK_HEADER..].to_vec()
}

fn ipvs_messages() -> impl Iterator<Item = Vector> {
    vectors().filter(|vector| vector.bytes.len() > NETLINK_HEADER && vector.bytes[4] == IPVS_FAMILY)
}

fn emit(message: &IpvsMessage) -> Vec<u8> {
    let mut bytes = vec![0xff; message.buffer_len() + 4];
    bytes[..4].copy_from_slice(&[message.cmd.0, 1, 0, 0]);
    message.emit(&mut bytes[4..]);
    bytes
}

fn request(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

/// The DEST nest of a captured request: our SERVICE nest carries the identity alone, ipvsadm's more.
fn dest_nest(bytes: &[u8]) -> Vec<DestAttr> {
    let IpvsPayload::Cmd(attrs) = IpvsMessage::parse(bytes).unwrap().payload else {
        panic!("no command")
    };
    let nest = attrs.into_iter().find_map(|attr| match attr {
        CmdAttr::Dest(nest) => Some(nest.attrs),
        _ => None,
    });
    nest.unwrap()
}
