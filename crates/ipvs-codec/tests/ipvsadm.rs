//! What ipvsadm and the kernel said to each other, recorded by `cargo xtask capture`: our requests are the same bytes, and
//! our readers read the answers. The recording is little-endian, and so are these tests.
#![cfg(target_endian = "little")]

use ipvs_codec::wire::{CmdAttr, DestAttr, IpvsCmd, IpvsMessage, IpvsPayload};
use ipvs_codec::{
    Daemon, Family, Info, Request, SavedLine, Timeouts, parse_destination, parse_service,
};
use netlink_packet_core::Emitable as _;

struct Message {
    id: &'static str,
    run: &'static str,
    /// Behind the netlink header.
    bytes: Vec<u8>,
}

fn messages() -> impl Iterator<Item = Message> {
    let lines = include_str!("vectors/ipvsadm.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<&str> = line.split(" | ").collect();
        let [id, run, hex] = columns[..] else {
            panic!("not a message: {line}")
        };
        let digits = hex.as_bytes().chunks(2).skip(16);
        let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16);
        Message {
            id,
            run,
            bytes: digits.map(|digits| byte(digits).unwrap()).collect(),
        }
    })
}

fn emitted(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

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

#[test]
fn every_recorded_message_is_written_back_as_it_was_read() {
    let mut count = 0;
    for Message { id, run, bytes } in messages() {
        let message = IpvsMessage::parse(&bytes).unwrap();
        let mut again = vec![0xff; message.buffer_len() + 4];
        again[..4].copy_from_slice(&[message.cmd.0, 1, 0, 0]);
        message.emit(&mut again[4..]);
        assert_eq!(again, bytes, "{id} {run}");
        count += 1;
    }
    assert!(count > 50, "{count} messages");
}

#[test]
fn the_words_of_ipvsadm_make_its_requests() {
    let mut made = (0, 0);
    for Message { id, run, bytes } in messages().filter(|message| message.id.starts_with('q')) {
        let line = run.replace("-E ", "-A ").replace("-e ", "-a ");
        match (IpvsCmd(bytes[0]), line.parse::<SavedLine>()) {
            (IpvsCmd::NEW_SERVICE, Ok(SavedLine::Service(service))) => {
                assert_eq!(emitted(Request::NewService(&service)), bytes, "{id} {run}");
                made.0 += 1;
            }
            (IpvsCmd::SET_SERVICE, Ok(SavedLine::Service(service))) => {
                assert_eq!(emitted(Request::SetService(&service)), bytes, "{id} {run}");
                made.0 += 1;
            }
            // Our requests name the service; ipvsadm's repeat an empty description of it.
            (IpvsCmd::NEW_DEST, Ok(SavedLine::Destination(key, destination))) => {
                let ours = emitted(Request::NewDest(&key, &destination));
                assert_eq!(dest_nest(&ours), dest_nest(&bytes), "{id} {run}");
                made.1 += 1;
            }
            (command @ (IpvsCmd::NEW_SERVICE | IpvsCmd::SET_SERVICE), line) => {
                panic!("{id} {command:?}: {run}: {line:?}")
            }
            _ => {}
        }
    }
    assert!(made.0 >= 10 && made.1 >= 4, "{made:?}");
}

#[test]
fn the_answers_are_read_as_what_was_set() {
    let (mut services, mut destinations, mut daemons) = (0, 0, 0);
    for Message { id, run, bytes } in messages().filter(|message| message.id.starts_with('r')) {
        match IpvsCmd(bytes[0]) {
            IpvsCmd::NEW_SERVICE => {
                let read = parse_service(&bytes).unwrap().service;
                let line = read.to_string();
                let again: SavedLine = line.parse().unwrap();
                assert_eq!(again.to_string(), line, "{id}");
                services += 1;
            }
            IpvsCmd::NEW_DEST => {
                let read = parse_destination(&bytes, Family::Ipv4).unwrap();
                assert_eq!(
                    read.destination.to_string().parse(),
                    Ok(read.destination),
                    "{id}"
                );
                destinations += 1;
            }
            IpvsCmd::NEW_DAEMON => {
                let daemon = Daemon::parse(&bytes).unwrap();
                assert!([5, 255].contains(&daemon.sync_id), "{daemon}");
                daemons += 1;
            }
            IpvsCmd::SET_CONFIG => {
                let timeouts = Timeouts::new(1000, 100, 200).unwrap();
                assert_eq!(Timeouts::parse(&bytes), Ok(timeouts));
            }
            IpvsCmd::SET_INFO => assert_eq!(Info::parse(&bytes).unwrap().version, 0x0001_0201),
            other => panic!("{id} {run}: {other:?}"),
        }
    }
    assert!(services >= 9 && destinations >= 5 && daemons == 2);
}
