//! Recorded messages as types: our requests are the recorded ones, the answers read as what they say.

use std::num::{NonZeroU16, NonZeroU32};

use ipvs_codec::wire::{CmdAttr, DestAttr, IpvsCmd, IpvsMessage, IpvsPayload, ServiceAttr};
use ipvs_codec::{
    Daemon, DaemonState, Destination, Family, ForwardMethod, Info, Netmask, PeName, Protocol,
    Request, Scheduler, Service, ServiceFlags, ServiceKey, Timeouts, Tunnel, TunnelFlags,
    destinations, parse_destination, parse_service, services,
};

use crate::{dest_nest, emit, message, request, vectors};

const GUE_PORT: NonZeroU16 = NonZeroU16::new(6080).unwrap();

fn tcp() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, "10.0.0.1".parse().unwrap(), 80)
}

#[test]
fn services_are_requested_as_ipvsadm_does() {
    let udp = |port| ServiceKey::endpoint(Protocol::UDP, "10.0.0.1".parse().unwrap(), port);
    let plain = Service::new(tcp(), Scheduler::RR);
    assert_eq!(request(Request::NewService(&plain)), message("Q7"));

    let mut masked = Service::new(udp(53), Scheduler::WRR)
        .persistent(300)
        .unwrap();
    masked.netmask = Netmask::prefix(Family::Ipv4, 24).unwrap();
    assert_eq!(request(Request::NewService(&masked)), message("Q9"));

    let v6 = ServiceKey::endpoint(Protocol::TCP, "2001:db8::1".parse().unwrap(), 443);
    let mut hashed = Service::new(v6, Scheduler::SH)
        .with_flags(ServiceFlags::SCHED_1 | ServiceFlags::SCHED_2)
        .persistent(600)
        .unwrap();
    hashed.netmask = Netmask::prefix(Family::Ipv6, 64).unwrap();
    assert_eq!(request(Request::NewService(&hashed)), message("Q10"));

    let mark = ServiceKey::Fwmark {
        family: Family::Ipv4,
        mark: NonZeroU32::MIN,
    };
    let maglev = Service::new(mark, Scheduler::MH).with_flags(ServiceFlags::SCHED_2);
    assert_eq!(request(Request::NewService(&maglev)), message("Q11"));

    let mut sip = Service::new(udp(5060), Scheduler::RR)
        .persistent(60)
        .unwrap();
    sip.pe = Some(PeName::SIP);
    assert_eq!(request(Request::NewService(&sip)), message("Q12"));

    let one_packet = Service::new(udp(514), Scheduler::RR).with_flags(ServiceFlags::ONE_PACKET);
    assert_eq!(request(Request::NewService(&one_packet)), message("Q13"));
    assert_eq!(
        request(Request::SetService(&Service::new(tcp(), Scheduler::WLC))),
        message("Q30")
    );
}

#[test]
fn destinations_are_requested_as_ipvsadm_does() {
    let of = |addr: &str| Destination::new(addr.parse().unwrap());
    let tunnel = |addr: &str, tunnel| Destination {
        forward: ForwardMethod::TUNNEL,
        tunnel,
        ..of(addr)
    };
    let direct = Destination {
        forward: ForwardMethod::DIRECT,
        weight: 100,
        upper_threshold: 200,
        lower_threshold: 100,
        ..of("10.1.0.2:80")
    };
    let cases = [
        ("Q33", of("10.1.0.1:8080").with_weight(3).unwrap()),
        ("Q34", direct),
        (
            "Q35",
            tunnel(
                "10.1.0.3:80",
                Tunnel::Gue {
                    port: GUE_PORT,
                    flags: TunnelFlags::CHECKSUM,
                },
            ),
        ),
        (
            "Q36",
            tunnel(
                "10.1.0.4:80",
                Tunnel::Gre {
                    flags: TunnelFlags::empty(),
                },
            ),
        ),
        ("Q37", tunnel("[2001:db8::5]:80", Tunnel::default())),
        ("Q44", of("10.1.0.1:8080").with_weight(0).unwrap()),
    ];
    for (id, destination) in cases {
        assert_eq!(
            dest_nest(&request(Request::NewDest(&tcp(), &destination))),
            dest_nest(&message(id)),
            "{id}"
        );
    }
}

#[test]
fn short_requests_are_byte_for_byte() {
    assert_eq!(request(Request::GetInfo), message("Q2"));
    assert_eq!(request(Request::GetConfig), message("Q3"));
    assert_eq!(request(Request::DumpServices), message("Q4"));
    assert_eq!(
        request(Request::SetConfig(Timeouts {
            tcp: 1000,
            tcp_fin: 100,
            udp: 200
        })),
        message("Q50")
    );
    assert_eq!(request(Request::Zero(None)), message("Q56"));
    assert_eq!(request(Request::Flush), message("Q59"));
}

#[test]
fn replies_are_read_as_types() {
    let service = |id| parse_service(&message(id)).unwrap();
    let traffic = service("R4");
    assert_eq!(traffic.service.key, tcp());
    assert_eq!(
        (
            traffic.stats.connections,
            traffic.stats.in_packets,
            traffic.stats.in_bytes
        ),
        (6, 27, 1457)
    );
    assert_eq!(
        (traffic.stats.out_packets, traffic.stats.out_bytes),
        (26, 1425)
    );

    let persistent = service("R5").service;
    assert_eq!(persistent.timeout, 300);
    assert_eq!(
        persistent.netmask,
        Netmask::prefix(Family::Ipv4, 24).unwrap()
    );
    assert_eq!(service("R6").service.netmask, Netmask::Ipv6(64));
    let mark = NonZeroU32::new(u32::from_ne_bytes([4, 3, 2, 1])).unwrap();
    assert_eq!(
        service("R7").service.key,
        ServiceKey::Fwmark {
            family: Family::Ipv6,
            mark
        }
    );
    assert_eq!(service("R8").service.flags, ServiceFlags::all());
    assert_eq!(service("R9").service.pe, Some(PeName::SIP));
    assert_eq!(service("R10").service.scheduler.to_string(), "none");
    assert_eq!(
        service("R11").service.key.protocol(),
        Some(Protocol::from_number(300))
    );

    let dest = |id| parse_destination(&message(id), Family::Ipv4).unwrap();
    let busy = dest("R17");
    assert_eq!(
        busy.destination,
        Destination::new("10.0.0.254:8080".parse().unwrap())
    );
    assert_eq!((busy.active_connections, busy.inactive_connections), (1, 5));
    assert_eq!(
        dest("R18").destination.forward,
        ForwardMethod::from_number(7)
    );
    assert_eq!(dest("R19").destination.weight, 0x7fff_ffff);
    assert_eq!(
        dest("R20").destination.tunnel,
        Tunnel::Gue {
            port: GUE_PORT,
            flags: TunnelFlags::CHECKSUM
        }
    );
    assert_eq!(
        dest("R22").destination.addr,
        "[2001:db8::5]:80".parse().unwrap()
    );
    assert_eq!(
        (
            dest("R23").destination.upper_threshold,
            dest("R23").destination.lower_threshold
        ),
        (200, 100)
    );

    assert_eq!(
        Info::parse(&message("R2")).unwrap().to_string(),
        "IPVS 1.2.1 (size=4096)"
    );
    assert_eq!(
        Timeouts::parse(&message("R3")).unwrap(),
        Timeouts {
            tcp: 900,
            tcp_fin: 120,
            udp: 300
        }
    );
}

#[test]
fn daemons_are_requested_and_read_as_ipvsadm_does() {
    let daemon = Daemon::parse(&message("R24")).unwrap();
    let shown = "master sync daemon (mcast=dummy0, syncid=255, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)";
    assert_eq!(daemon.to_string(), shown);
    let six = Daemon::parse(&message("R25")).unwrap();
    assert_eq!(six.group, Some("ff05::1".parse().unwrap()));
    assert_eq!(six.max_length, 65_487);

    let mut asked = Daemon::new(DaemonState::Master, "dummy0".parse().unwrap(), 5)
        .with_group("239.1.1.1".parse().unwrap())
        .unwrap();
    (asked.port, asked.ttl, asked.max_length) = (9999, 2, 1400);
    assert_eq!(Daemon::parse(&message("Q53")).unwrap(), asked);
    // Recorded from a client that does not flag nests.
    let mut flagged = message("Q55");
    flagged[7] |= 0x80;
    assert_eq!(request(Request::DelDaemon(DaemonState::Master)), flagged);
    assert_eq!(request(Request::DumpDaemons), message("Q6"));
}

/// S12: what is read from an answer and sent as a request is read again as the same.
#[test]
fn an_answer_that_is_sent_as_a_request_means_the_same() {
    for id in ["R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11"] {
        let service = parse_service(&message(id)).unwrap().service;
        let again = request(Request::NewService(&service));
        assert_eq!(parse_service(&again).unwrap().service, service, "{id}");
    }
    for id in ["R17", "R18", "R19", "R20", "R21", "R22", "R23"] {
        let destination = parse_destination(&message(id), Family::Ipv4)
            .unwrap()
            .destination;
        let again = request(Request::NewDest(&tcp(), &destination));
        let again = parse_destination(&again, Family::Ipv4).unwrap().destination;
        assert_eq!(again, destination, "{id}");
    }
}

#[test]
fn a_datagram_of_a_dump_is_iterated() {
    let datagram = |ids: &[&str]| -> Vec<u8> {
        let of = |id: &&str| vectors().find(|vector| vector.id == *id).unwrap();
        ids.iter().flat_map(|id| of(id).bytes).collect()
    };
    let keys = |bytes: &[u8]| -> Vec<ServiceKey> {
        services(bytes)
            .map(|observed| observed.unwrap().service.key)
            .collect()
    };
    let mixed = datagram(&["R4", "R17", "R5", "R12"]);
    assert_eq!(keys(&mixed).len(), 2);
    assert_eq!(destinations(&mixed, Family::Ipv4).count(), 1);
    assert_eq!(
        keys(&mixed[..mixed.len() - 10]).len(),
        2,
        "the end is cut off"
    );
    let mut lying = mixed;
    lying[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(keys(&lying), []);
}

#[test]
fn an_old_kernel_says_less() {
    let attrs = vec![
        DestAttr::Addr([10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        DestAttr::Port(80),
        DestAttr::Weight(1),
    ];
    let message = IpvsMessage::new(
        IpvsCmd::NEW_DEST,
        IpvsPayload::Cmd(vec![CmdAttr::Dest(attrs.into())]),
    );
    let observed = parse_destination(&emit(&message), Family::Ipv4).unwrap();
    assert_eq!(
        observed.destination,
        Destination::new("10.1.0.1:80".parse().unwrap()),
        "no family, no tunnel"
    );
}

#[test]
fn the_kernels_hashed_flag_is_no_difference() {
    let ours = Service::new(tcp(), Scheduler::RR);
    assert!(ours.same_config(&ours.with_flags(ServiceFlags::HASHED)));
    assert!(!ours.same_config(&ours.with_flags(ServiceFlags::PERSISTENT)));
    let attrs = ours.to_attrs();
    assert!(attrs.contains(&ServiceAttr::Port(80)));
}
