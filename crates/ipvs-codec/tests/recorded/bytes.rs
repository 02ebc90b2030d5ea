//! The wire layer and the readers on recorded messages, whole, cut and bent.

use ipvs_codec::wire::IpvsMessage;
use ipvs_codec::{
    Daemon, Family, Info, Request, Service, Timeouts, parse_destination, parse_service,
};

use crate::{NETLINK_HEADER, Vector, emit, ipvs_messages, message, request};

#[test]
fn every_captured_message_is_emitted_as_it_was_parsed() {
    let mut seen = (0, 0);
    for Vector { id, what, bytes } in ipvs_messages() {
        let payload = &bytes[NETLINK_HEADER..];
        let message = IpvsMessage::parse(payload).unwrap();
        assert_eq!(emit(&message), payload, "{id} {what}");
        if id.starts_with('Q') {
            seen.0 += 1;
        } else {
            seen.1 += 1;
        }
    }
    // The others are the controller's and netlink's own: Q1, R1 and R12 to R16.
    assert_eq!(seen, (58, 19));
}

#[test]
fn no_prefix_of_a_captured_message_panics() {
    for Vector { bytes, .. } in ipvs_messages() {
        let payload = &bytes[NETLINK_HEADER..];
        for end in 0..=payload.len() {
            let cut = &payload[..end];
            let _ = IpvsMessage::parse(cut).map(|message| emit(&message));
            let _ = (
                parse_service(cut),
                parse_destination(cut, Family::Ipv4),
                Info::parse(cut),
                Timeouts::parse(cut),
            );
        }
    }
}

#[test]
fn no_attribute_length_panics() {
    for Vector { bytes, .. } in ipvs_messages() {
        let payload = &bytes[NETLINK_HEADER..];
        for at in (4..payload.len().saturating_sub(1)).step_by(4) {
            for length in [0_u16, 1, 3, 4, 5, 0xffff] {
                let mut bent = payload.to_vec();
                bent[at..at + 2].copy_from_slice(&length.to_ne_bytes());
                let _ = IpvsMessage::parse(&bent).map(|message| emit(&message));
                let _ = (parse_service(&bent), parse_destination(&bent, Family::Ipv6));
            }
        }
    }
}

#[test]
fn no_bent_byte_panics() {
    for Vector { bytes, .. } in ipvs_messages() {
        let mut payload = bytes[NETLINK_HEADER..].to_vec();
        for at in 0..payload.len() {
            let kept = payload[at];
            for bent in [kept ^ 1, kept ^ 0x80, 0, 0xff, kept.wrapping_add(1)] {
                payload[at] = bent;
                let message = IpvsMessage::parse(&payload).unwrap();
                assert_eq!(IpvsMessage::parse(&emit(&message)), Ok(message));
                let _ = (
                    parse_service(&payload),
                    parse_destination(&payload, Family::Ipv4),
                    Daemon::parse(&payload),
                    Info::parse(&payload),
                    Timeouts::parse(&payload),
                );
            }
            payload[at] = kept;
        }
    }
}

/// S11: attributes that no kernel sends.
#[test]
fn odd_attributes_are_kept_and_read_without_panic() {
    let attr = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut attr = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        attr.resize(attr.len().next_multiple_of(4), 0);
        attr
    };
    let values: [&[u8]; 9] = [
        b"",
        b"rr",
        b"r\0r\0",
        b"\xff\xfe\0",
        &[0; 4],
        &[0; 8],
        &[7; 15],
        &[7; 17],
        &[0, 0, 0, 64],
    ];
    let whole = parse_service(&message("R4")).unwrap().service;
    let mut seen = 0;
    for nest in [1_u16, 2, 3, 1 | 0x8000, 2 | 0x8000] {
        for kind in (0..=60_u16).chain([6 | 0x8000, 6 | 0x4000, 10 | 0xc000]) {
            for value in values {
                let odd = attr(kind, value);
                let inner = [whole_nest(&whole), odd.clone(), attr(kind, &odd)].concat();
                let bytes = [vec![1, 1, 0, 0], attr(nest, &inner)].concat();
                let kept = IpvsMessage::parse(&bytes).unwrap();
                assert_eq!(
                    emit(&kept),
                    bytes,
                    "nest {nest}, attribute {kind}, {value:?}"
                );
                let _ = (
                    parse_service(&bytes),
                    parse_destination(&bytes, Family::Ipv4),
                    Daemon::parse(&bytes),
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 2000);
}

/// The attributes of a service as they travel.
fn whole_nest(service: &Service) -> Vec<u8> {
    request(Request::NewService(service))[8..].to_vec()
}

#[test]
fn an_attribute_with_both_flags_keeps_both() {
    let both = netlink_packet_core::NLA_F_NESTED | netlink_packet_core::NLA_F_NET_BYTEORDER;
    let [low, high] = (60 | both).to_ne_bytes();
    let bytes = [15, 1, 0, 0, 5, 0, low, high, 7, 0, 0, 0]; // GET_INFO with an unknown attribute
    assert_eq!(emit(&IpvsMessage::parse(&bytes).unwrap()), bytes);
}
