//! For all values: what is written is read back, as bytes and as text, and no bytes panic.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use ipvs_codec::wire::IpvsMessage;
use ipvs_codec::{
    Daemon, DaemonState, Destination, Family, ForwardMethod, InvalidValue, Netmask, PeName,
    Protocol, Request, SavedLine, Scheduler, Service, ServiceFlags, ServiceKey, TextError,
    Timeouts, Tunnel, TunnelFlags, parse_destination, parse_service,
};
use netlink_packet_core::Emitable as _;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ]
}

fn key(protocol: impl Strategy<Value = Protocol> + 'static) -> impl Strategy<Value = ServiceKey> {
    let family = prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)];
    prop_oneof![
        (protocol, address(), any::<u16>())
            .prop_map(|(protocol, addr, port)| ServiceKey::endpoint(protocol, addr, port)),
        (family, 1..u32::MAX).prop_map(|(family, mark)| ServiceKey::fwmark(family, mark).unwrap()),
    ]
}

fn any_protocol() -> impl Strategy<Value = Protocol> + 'static {
    any::<u16>().prop_map(Protocol::from_number)
}

fn balanced() -> impl Strategy<Value = Protocol> + 'static {
    prop_oneof![
        Just(Protocol::TCP),
        Just(Protocol::UDP),
        Just(Protocol::SCTP)
    ]
}

fn service(key: impl Strategy<Value = ServiceKey>) -> impl Strategy<Value = Service> {
    (
        key,
        prop_oneof![Just("sh".to_owned()), Just("mh".to_owned()), "[a-z]{1,15}"],
        any::<u32>(),
        0..2_147_483_u32,
        proptest::option::of("[a-z]{1,16}"),
        1..=32_u8,
    )
        .prop_map(|(key, scheduler, flags, timeout, pe, prefix)| Service {
            flags: ServiceFlags::from_bits_retain(flags),
            timeout,
            pe: pe.map(|name| name.parse::<PeName>().unwrap()),
            netmask: Netmask::prefix(key.family(), prefix).unwrap(),
            ..Service::new(key, scheduler.parse().unwrap())
        })
}

/// What a line of text can say: the rest has no meaning to IPVS.
fn as_text_says(service: Service) -> Service {
    let said = ServiceFlags::PERSISTENT
        | ServiceFlags::ONE_PACKET
        | ServiceFlags::SCHED_1
        | ServiceFlags::SCHED_2
        | ServiceFlags::SCHED_3;
    let service = Service {
        flags: service.flags & said,
        ..service
    };
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        return service;
    }
    Service {
        timeout: 0,
        netmask: Netmask::host(service.key.family()),
        ..service
    }
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let flags = || (0..4_u16).prop_map(TunnelFlags::from_bits_retain);
    prop_oneof![
        Just(Tunnel::Ipip),
        (1..u16::MAX, flags()).prop_map(|(port, flags)| Tunnel::Gue {
            port: NonZeroU16::new(port).unwrap(),
            flags
        }),
        flags().prop_map(|flags| Tunnel::Gre { flags }),
        (3..u8::MAX, any::<u16>(), flags()).prop_map(|(kind, port, flags)| Tunnel::Other {
            kind,
            port,
            flags
        }),
    ]
}

fn destination() -> impl Strategy<Value = Destination> {
    let addr = (address(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    (addr, 0..8_u32, any::<[u32; 3]>(), tunnel()).prop_map(
        |(addr, forward, [weight, upper, lower], tunnel)| Destination {
            addr,
            forward: ForwardMethod::from_number(forward),
            weight,
            upper_threshold: upper,
            lower_threshold: lower,
            tunnel,
        },
    )
}

/// A destination that ipvsadm can make.
fn sayable_destination() -> impl Strategy<Value = Destination> {
    let method = prop_oneof![
        Just(ForwardMethod::MASQUERADE),
        Just(ForwardMethod::TUNNEL),
        Just(ForwardMethod::DIRECT)
    ];
    (destination(), method, 0..65_536_u32, 0..1_000_u32).prop_map(
        |(destination, forward, weight, lower)| {
            let upper = lower + destination.upper_threshold % 1000;
            let tunnelled = forward == ForwardMethod::TUNNEL
                && !matches!(destination.tunnel, Tunnel::Other { .. });
            Destination {
                forward,
                weight,
                tunnel: if tunnelled {
                    destination.tunnel
                } else {
                    Tunnel::Ipip
                },
                ..destination.with_thresholds(upper, lower).unwrap()
            }
        },
    )
}

fn daemon() -> impl Strategy<Value = Daemon> {
    (
        any::<bool>(),
        "[a-z0-9]{1,15}",
        any::<(u32, u16, u16, u8)>(),
        proptest::option::of(address()),
    )
        .prop_map(
            |(master, interface, (sync_id, max_length, port, ttl), group)| {
                let state = match master {
                    true => DaemonState::Master,
                    false => DaemonState::Backup,
                };
                Daemon {
                    sync_id,
                    max_length,
                    group,
                    port,
                    ttl,
                    ..Daemon::new(state, interface.parse().unwrap(), 0)
                }
            },
        )
}

fn emitted(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn services_survive_the_wire(service in service(key(any_protocol()))) {
        let bytes = emitted(Request::NewService(&service));
        prop_assert_eq!(parse_service(&bytes).unwrap().service, service);
    }

    #[test]
    fn destinations_survive_the_wire(key in key(any_protocol()), destination in destination()) {
        let bytes = emitted(Request::NewDest(&key, &destination));
        prop_assert_eq!(parse_destination(&bytes, key.family()).unwrap().destination, destination);
        let message = IpvsMessage::parse(&bytes).unwrap();
        let mut again = vec![0xff; message.buffer_len()];
        message.emit(&mut again);
        prop_assert_eq!(&again, &bytes[4..]);
    }

    #[test]
    fn daemons_and_timeouts_survive_the_wire(daemon in daemon(), [tcp, tcp_fin, udp] in any::<[u32; 3]>()) {
        prop_assert_eq!(Daemon::parse(&emitted(Request::NewDaemon(&daemon))).unwrap(), daemon);
        let timeouts = Timeouts { tcp, tcp_fin, udp };
        prop_assert_eq!(Timeouts::parse(&emitted(Request::SetConfig(timeouts))).unwrap(), timeouts);
    }

    #[test]
    fn saved_lines_are_read_as_they_are_written(
        service in service(key(balanced())),
        key in key(balanced()),
        destination in sayable_destination(),
    ) {
        for line in [SavedLine::Service(as_text_says(service)), SavedLine::Destination(key, destination)] {
            let text = line.to_string();
            prop_assert_eq!(text.parse::<SavedLine>().unwrap(), line, "{}", text);
        }
        prop_assert_eq!(destination.to_string().parse::<Destination>().unwrap(), destination);
        prop_assert_eq!(key.to_string().parse::<ServiceKey>().unwrap(), key);
    }

    #[test]
    fn no_line_panics(words in proptest::collection::vec(
        prop_oneof![
            prop::sample::select(vec![
                "-A", "-a", "-t", "-u", "-f", "-6", "-s", "-p", "-M", "-b", "-o", "-r", "-m", "-i", "-g", "-w", "-x", "-y", "--pe",
                "sip", "--tun-type", "gue", "gre", "--tun-port", "--tun-csum", "--tun-remcsum", "--tun-nocsum", "10.0.0.1:80",
                "[::1]:80", "1", "300", "-1", "sh", "sh-port", "flag-3", "255.255.0.0", "64", "rr",
            ]).prop_map(str::to_owned),
            ".{0,8}",
        ],
        0..12,
    ), start in 0..3_usize) {
        let start = ["", "-A -t 10.0.0.1:80 ", "-a -u [::2]:53 -r 10.1.0.1:80 "][start];
        let words = [start.to_owned() + &words.join(" ")];
        if let Ok(line) = words.join(" ").parse::<SavedLine>() {
            prop_assert_eq!(line.to_string().parse::<SavedLine>(), Ok(line));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = IpvsMessage::parse(&bytes) {
            let mut emitted = vec![0xff; message.buffer_len() + 4];
            emitted[..4].copy_from_slice(&[message.cmd.0, 1, 0, 0]);
            message.emit(&mut emitted[4..]);
            prop_assert_eq!(IpvsMessage::parse(&emitted).unwrap(), message);
        }
        let _ = (parse_service(&bytes), parse_destination(&bytes, Family::Ipv6), Daemon::parse(&bytes));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_reads_what_it_writes(
        service in service(key(any_protocol())),
        destination in destination(),
        daemon in daemon(),
    ) {
        fn again<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
            serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
        }
        prop_assert_eq!(again(&service), service);
        prop_assert_eq!(again(&destination), destination);
        prop_assert_eq!(again(&daemon), daemon);
    }

    #[cfg(feature = "arbitrary")]
    #[test]
    fn arbitrary_values_survive_the_wire(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut source = arbitrary::Unstructured::new(&bytes);
        let values: arbitrary::Result<(Service, Destination, Daemon)> = source.arbitrary();
        if let Ok((service, destination, daemon)) = values {
            prop_assert_eq!(parse_service(&emitted(Request::NewService(&service))).unwrap().service, service);
            let bytes = emitted(Request::NewDest(&service.key, &destination));
            prop_assert_eq!(parse_destination(&bytes, Family::Ipv4).unwrap().destination, destination);
            prop_assert_eq!(Daemon::parse(&emitted(Request::NewDaemon(&daemon))).unwrap(), daemon);
        }
    }
}

#[test]
fn what_the_kernel_mangles_is_refused() {
    let key = ServiceKey::endpoint(Protocol::TCP, "::1".parse().unwrap(), 1);
    let destination = Destination::new("1.2.3.4:5".parse().unwrap());
    let error = |error: InvalidValue| error.to_string();
    assert_eq!(
        Service::new(key, Scheduler::RR).persistent(u32::MAX),
        Err(InvalidValue::Timeout {
            seconds: u32::MAX,
            most: 4_294_967
        })
    );
    assert_eq!(
        Timeouts::new(1, 2, 3_000_000),
        Err(InvalidValue::Timeout {
            seconds: 3_000_000,
            most: 2_147_483
        })
    );
    assert_eq!(
        Netmask::prefix(Family::Ipv6, 0),
        Err(InvalidValue::Prefix(0, 128))
    );
    assert_eq!(
        Netmask::prefix(Family::Ipv4, 33),
        Err(InvalidValue::Prefix(33, 32))
    );
    let hole = "255.0.255.0".parse().unwrap();
    assert_eq!(Netmask::mask(hole), Err(InvalidValue::Netmask(hole)));
    assert!(Netmask::mask("255.255.0.0".parse().unwrap()).is_ok());
    assert!(destination.with_weight(1 << 31).is_err());
    assert!(destination.with_thresholds(0, 1).is_err());
    assert!(destination.with_thresholds(1 << 31, 0).is_err());
    assert_eq!(Protocol::try_from(300), Err(InvalidValue::Protocol(300)));
    assert_eq!(
        ServiceKey::fwmark(Family::Ipv4, 0).map_err(error),
        Err(
            "firewall mark 0 is no mark: the kernel would make the service TCP 0.0.0.0:0 of it"
                .into()
        )
    );
    assert!("a-scheduler-name".parse::<Scheduler>().is_err(), "16 bytes");
    assert!("r r".parse::<Scheduler>().is_err());
}

#[test]
fn a_mask_without_persistence_means_nothing() {
    let line: SavedLine = "-A -u [2001:db8::1]:53 -s rr -M 64 -o".parse().unwrap();
    assert_eq!(line.to_string(), "-A -u [2001:db8::1]:53 -s rr -o");
    assert_eq!(line.to_string().parse(), Ok(line));
}

#[test]
fn a_wrong_line_says_what_is_wrong() {
    let error = |line: &str| line.parse::<SavedLine>().unwrap_err().to_string();
    assert_eq!(error(""), "-A or -a is missing");
    assert_eq!(error("-A -t 10.0.0.1"), "-t: cannot read \"10.0.0.1\"");
    assert_eq!(error("-A -t 10.0.0.1:80 -w 1"), "unexpected \"-w\"");
    assert_eq!(error("-A -t 10.0.0.1:80 -s"), "-s needs a value");
    assert_eq!(
        error("-A -t 10.0.0.1:80 -s rr -b sh-port"),
        "-b: cannot read \"sh-port\""
    );
    assert_eq!(error("-a -t 10.0.0.1:80"), "-r is missing");
    let gue = "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i --tun-type gue";
    assert_eq!(
        gue.parse::<SavedLine>(),
        Err(TextError::Missing("--tun-port"))
    );
    let masked = "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m --tun-type gre";
    assert_eq!(error(masked), "unexpected \"--tun-type\"");
    let heavy = "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -w 4294967295";
    assert_eq!(error(heavy), "weight 4294967295: at most 2147483647");
}
