//! For all values: what is written is read back, and no bytes panic.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use ipvs_codec::wire::IpvsMessage;
use ipvs_codec::{
    Destination, Family, ForwardMethod, InvalidValue, Netmask, PeName, Protocol, Request,
    Scheduler, Service, ServiceFlags, ServiceKey, Tunnel, parse_destination, parse_service,
};
use netlink_packet_core::Emitable as _;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ]
}

fn key() -> impl Strategy<Value = ServiceKey> {
    let family = prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)];
    prop_oneof![
        (any::<u16>(), address(), any::<u16>()).prop_map(|(protocol, addr, port)| {
            ServiceKey::endpoint(Protocol(protocol), addr, port)
        }),
        (family, 1..u32::MAX).prop_map(|(family, mark)| ServiceKey::Fwmark {
            family,
            mark: NonZeroU32::new(mark).unwrap()
        }),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    (
        key(),
        "[a-z]{1,15}",
        any::<u32>(),
        0..2_147_483_u32,
        proptest::option::of("[a-z]{1,16}"),
        1..=32_u8,
    )
        .prop_map(|(key, scheduler, flags, timeout, pe, prefix)| {
            let mut service = Service::new(key, scheduler.parse().unwrap());
            service.flags = ServiceFlags::from_bits_retain(flags);
            service.timeout = timeout;
            service.pe = pe.map(|name| name.parse::<PeName>().unwrap());
            service.netmask = Netmask::prefix(key.family(), prefix).unwrap();
            service
        })
}

fn destination() -> impl Strategy<Value = Destination> {
    (
        address(),
        any::<u16>(),
        0..8_u32,
        any::<u32>(),
        any::<[u32; 2]>(),
        any::<(u8, u16, u16)>(),
    )
        .prop_map(
            |(addr, port, forward, weight, [upper, lower], (kind, tunnel_port, flags))| {
                Destination {
                    addr: SocketAddr::new(addr, port),
                    forward: ForwardMethod::from_number(forward),
                    weight,
                    upper_threshold: upper,
                    lower_threshold: lower,
                    tunnel: Tunnel {
                        kind,
                        port: tunnel_port,
                        flags,
                    },
                }
            },
        )
}

proptest! {
    #[test]
    fn services_survive_the_wire(service in service()) {
        let mut bytes = Vec::new();
        Request::NewService(&service).emit(&mut bytes);
        prop_assert_eq!(parse_service(&bytes).unwrap().service, service);
    }

    #[test]
    fn destinations_survive_the_wire(key in key(), destination in destination()) {
        let mut bytes = Vec::new();
        Request::NewDest(&key, &destination).emit(&mut bytes);
        prop_assert_eq!(parse_destination(&bytes, key.family()).unwrap().destination, destination);
        let message = IpvsMessage::parse(&bytes).unwrap();
        let mut again = vec![0xff; message.buffer_len()];
        message.emit(&mut again);
        prop_assert_eq!(&again, &bytes[4..]);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = IpvsMessage::parse(&bytes) {
            let mut emitted = vec![0xff; message.buffer_len() + 4];
            emitted[..4].copy_from_slice(&[message.cmd.0, 1, 0, 0]);
            message.emit(&mut emitted[4..]);
            prop_assert_eq!(IpvsMessage::parse(&emitted).unwrap(), message);
        }
        let _ = (parse_service(&bytes), parse_destination(&bytes, Family::Ipv6));
    }
}

#[test]
fn what_the_kernel_mangles_is_refused() {
    let key = ServiceKey::endpoint(Protocol::TCP, "::1".parse().unwrap(), 1);
    assert_eq!(
        Service::new(key, Scheduler::RR).persistent(u32::MAX),
        Err(InvalidValue::Timeout(u32::MAX))
    );
    assert_eq!(
        Netmask::prefix(Family::Ipv6, 0),
        Err(InvalidValue::Prefix(0, 128))
    );
    assert_eq!(
        Netmask::prefix(Family::Ipv4, 33),
        Err(InvalidValue::Prefix(33, 32))
    );
    assert!(
        Destination::new("1.2.3.4:5".parse().unwrap())
            .with_weight(1 << 31)
            .is_err()
    );
    assert!("a-scheduler-name".parse::<Scheduler>().is_err(), "16 bytes");
    assert!("r r".parse::<Scheduler>().is_err());
}
