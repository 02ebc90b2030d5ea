//! What ipvsadm and the kernel said to each other: our requests are the same bytes, and our readers read the answers.

use ipvs_codec::wire::{IpvsCmd, IpvsMessage};
use ipvs_codec::{
    Daemon, Family, Info, Request, SavedLine, Timeouts, parse_destination, parse_service,
};

use crate::{NETLINK_HEADER, Vector, dest_nest, emit, read, request};

/// The messages behind their netlink headers.
fn messages() -> impl Iterator<Item = Vector> {
    read(include_str!("../vectors/ipvsadm.txt")).map(|vector| Vector {
        bytes: vector.bytes[NETLINK_HEADER..].to_vec(),
        ..vector
    })
}

#[test]
fn every_recorded_message_is_written_back_as_it_was_read() {
    let mut count = 0;
    for Vector {
        id,
        what: run,
        bytes,
    } in messages()
    {
        let message = IpvsMessage::parse(&bytes).unwrap();
        assert_eq!(emit(&message), bytes, "{id} {run}");
        count += 1;
    }
    assert!(count > 50, "{count} messages");
}

#[test]
fn the_words_of_ipvsadm_make_its_requests() {
    let mut made = (0, 0);
    for Vector {
        id,
        what: run,
        bytes,
    } in messages().filter(|message| message.id.starts_with('q'))
    {
        let line = run.replace("-E ", "-A ").replace("-e ", "-a ");
        match (IpvsCmd(bytes[0]), line.parse::<SavedLine>()) {
            (IpvsCmd::NEW_SERVICE, Ok(SavedLine::Service(service))) => {
                assert_eq!(request(Request::NewService(&service)), bytes, "{id} {run}");
                made.0 += 1;
            }
            (IpvsCmd::SET_SERVICE, Ok(SavedLine::Service(service))) => {
                assert_eq!(request(Request::SetService(&service)), bytes, "{id} {run}");
                made.0 += 1;
            }
            // Our requests name the service; ipvsadm's repeat an empty description of it.
            (IpvsCmd::NEW_DEST, Ok(SavedLine::Destination(key, destination))) => {
                let ours = request(Request::NewDest(&key, &destination));
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
    for Vector {
        id,
        what: run,
        bytes,
    } in messages().filter(|message| message.id.starts_with('r'))
    {
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
