//! The same random operations through the simulated and the real kernel: the same errors, the same final state.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use ipvs_codec::{
    Destination, Family, ForwardMethod, Netmask, Protocol, Service, ServiceFlags, ServiceKey,
    Tunnel, TunnelFlags,
};
use ipvs_model::{AddressAndPort, FilterEntry, FilterSet, Known, Operation, Vip};
use ipvs_proxier::{DataPlane as _, IptablesBackend, Linux, Simulated, observe};
use ipvs_test_support::NetNs;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Few objects, so that operations meet.
fn key() -> impl Strategy<Value = ServiceKey> {
    let addr = prop_oneof![Just("10.96.0.1"), Just("10.96.0.2"), Just("fd00:10:96::1")];
    let protocol = prop_oneof![
        Just(Protocol::TCP),
        Just(Protocol::UDP),
        Just(Protocol::SCTP)
    ];
    let endpoint = (addr, protocol)
        .prop_map(|(addr, protocol)| ServiceKey::endpoint(protocol, addr.parse().unwrap(), 80));
    let mark = prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
        .prop_map(|family| ServiceKey::fwmark(family, 7).unwrap());
    prop_oneof![5 => endpoint, 1 => mark]
}

fn service() -> impl Strategy<Value = Service> {
    let scheduler = prop::sample::select(&["rr", "wlc", "sh", "none", "nosuch"][..]);
    let engine = prop::sample::select(&[None, None, None, Some("sip"), Some("nosuch")][..]);
    let prefix = prop::sample::select(&[128_u8, 128, 64, 1, 0, 129][..]);
    (key(), scheduler, any::<bool>(), engine, prefix).prop_map(
        |(key, scheduler, persistent, engine, prefix)| {
            let mut service = Service::new(key, scheduler.parse().unwrap());
            if persistent {
                service = service.persistent(60).unwrap();
            }
            service.pe = engine.map(|name| name.parse().unwrap());
            if key.family() == Family::Ipv6 {
                service.netmask = Netmask::Ipv6(prefix);
            }
            service
        },
    )
}

const IPV4: &[&str] = &[
    "10.244.0.1",
    "10.244.0.1",
    "10.244.0.2",
    "224.0.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
];
const IPV6: &[&str] = &[
    "fd00:244::1",
    "fd00:244::1",
    "fd00:244::2",
    "ff02::1",
    "::",
    "fe80::1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
];
const WEIGHTS: [u32; 5] = [0, 1, i32::MAX as u32, 1 << 31, u32::MAX];
const THRESHOLDS: [(u32, u32); 4] = [(0, 0), (10, 5), (1, 2), (0, 1)];
const FORWARD_METHODS: std::ops::Range<u32> = 0..6;

fn tunnels() -> Vec<Tunnel> {
    let port = NonZeroU16::new(6080).unwrap();
    let flags = TunnelFlags::CHECKSUM;
    let other = |kind, port| Tunnel::Other { kind, port, flags };
    vec![
        Tunnel::Ipip,
        Tunnel::Ipip,
        Tunnel::Gue { port, flags },
        Tunnel::Gre { flags },
        other(1, 0),
        other(3, 9),
    ]
}

fn real_server(family: Family) -> impl Strategy<Value = Destination> {
    let (own, other) = match family {
        Family::Ipv4 => (IPV4, IPV6),
        Family::Ipv6 => (IPV6, IPV4),
    };
    let addr = prop_oneof![4 => prop::sample::select(own), 1 => prop::sample::select(other)];
    let weight = prop::sample::select(&WEIGHTS[..]);
    let thresholds = prop::sample::select(&THRESHOLDS[..]);
    let tunnel = prop::sample::select(tunnels());
    (addr, weight, thresholds, FORWARD_METHODS, tunnel).prop_map(
        |(addr, weight, (upper, lower), forward, tunnel)| Destination {
            weight,
            upper_threshold: upper,
            lower_threshold: lower,
            forward: ForwardMethod::from_number(forward),
            tunnel,
            ..Destination::new(SocketAddr::new(addr.parse().unwrap(), 8080))
        },
    )
}

/// Every kind of real server that chance may pick above, each once: chance takes weeks to pick some of them.
fn every_real_server() -> Vec<Operation> {
    let mut operations = Vec::new();
    for addr in ["10.96.0.1", "fd00:10:96::1"] {
        let key = ServiceKey::endpoint(Protocol::TCP, addr.parse().unwrap(), 80);
        let service = Service::new(key, "rr".parse().unwrap());
        operations.push(Operation::AddVirtualServer { service });
        let mut port = 1;
        let mut add = |addr: &str, change: &dyn Fn(&mut Destination)| {
            let mut real_server = Destination::new(SocketAddr::new(addr.parse().unwrap(), port));
            port += 1;
            change(&mut real_server);
            operations.push(Operation::AddRealServer {
                virtual_server: key,
                real_server,
            });
        };
        for addr in IPV4.iter().chain(IPV6) {
            for method in FORWARD_METHODS {
                for tunnel in tunnels() {
                    add(addr, &|server| {
                        server.forward = ForwardMethod::from_number(method);
                        server.tunnel = tunnel;
                    });
                }
            }
        }
        for weight in WEIGHTS {
            for (upper, lower) in THRESHOLDS {
                add("10.244.0.1", &|server| {
                    server.forward = ForwardMethod::TUNNEL;
                    server.weight = weight;
                    (server.upper_threshold, server.lower_threshold) = (upper, lower);
                });
            }
        }
    }
    operations
}

fn server_operation() -> impl Strategy<Value = Operation> {
    key()
        .prop_flat_map(|virtual_server| {
            (
                Just(virtual_server),
                real_server(virtual_server.family()),
                0..4,
            )
        })
        .prop_map(|(virtual_server, real_server, kind)| match kind {
            0 => Operation::SetRealServer {
                virtual_server,
                real_server,
            },
            1 => Operation::RemoveRealServer {
                virtual_server,
                address: real_server.addr,
            },
            _ => Operation::AddRealServer {
                virtual_server,
                real_server,
            },
        })
}

fn vip() -> impl Strategy<Value = Vip> {
    let addr = prop_oneof![Just("10.96.0.1"), Just("10.96.0.2"), Just("fd00:10:96::1")];
    let mtu = prop_oneof![Just(None), Just(Some(1500)), Just(Some(1400))];
    (addr, any::<bool>(), mtu).prop_map(|(addr, route, mtu)| {
        let address: IpAddr = addr.parse().unwrap();
        if route {
            Vip::Route {
                address,
                source: None,
                mtu,
            }
        } else {
            Vip::Address { address }
        }
    })
}

fn member() -> impl Strategy<Value = FilterEntry> {
    let ip = || prop_oneof![Just([10, 96, 0, 1]), Just([10, 96, 0, 2])].prop_map(IpAddr::from);
    prop_oneof![
        ip().prop_map(FilterEntry::Vip),
        (ip(), 1..3_u16).prop_map(|(address, port)| {
            FilterEntry::ClusterIp(AddressAndPort {
                address,
                protocol: Protocol::TCP,
                port,
            })
        }),
        (1..3_u16).prop_map(|port| FilterEntry::NodePortTcp(Family::Ipv4, port)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let set = prop_oneof![
        Just(FilterSet::Vip),
        Just(FilterSet::ClusterIp),
        Just(FilterSet::NodePortTcp)
    ];
    prop_oneof![
        6 => service().prop_map(|service| Operation::AddVirtualServer { service }),
        2 => service().prop_map(|service| Operation::SetVirtualServer { service }),
        2 => key().prop_map(|virtual_server| Operation::RemoveVirtualServer { virtual_server }),
        8 => server_operation(),
        1 => any::<bool>().prop_map(|up| Operation::EnsureLink { up }),
        3 => vip().prop_map(|vip| Operation::BindVip { vip }),
        2 => vip().prop_map(|vip| Operation::UnbindVip { vip }),
        2 => set.prop_map(|set| Operation::CreateSet { set, family: Family::Ipv4 }),
        4 => member().prop_map(|member| Operation::AddMember { member }),
        3 => member().prop_map(|member| Operation::RemoveMember { member }),
    ]
}

/// What both can know, in one form: the kernel's own flag left out, and the rules, which no operation here touches.
fn normal(mut known: Known) -> Known {
    known.filters.clear();
    // A proxier does not look at services with marks: they are not its own.
    known
        .virtual_servers
        .retain(|key, _| key.protocol().is_some());
    for server in known.virtual_servers.values_mut() {
        std::sync::Arc::make_mut(server)
            .service
            .flags
            .remove(ServiceFlags::HASHED);
    }
    known
        .vips
        .values_mut()
        .for_each(|vips| vips.sort_unstable());
    known
}

/// Applies the operations to both kernels, the real one in a namespace of its own.
fn compare(namespace: &str, operations: &[Operation]) -> Result<(), TestCaseError> {
    let (real_errors, real) = NetNs::new(namespace)
        .unwrap()
        .run(|| {
            let mut plane = Linux::open(IptablesBackend::Legacy).unwrap();
            let outcomes = plane.apply(operations);
            let errors: Vec<Option<i32>> = outcomes.iter().map(errno).collect();
            (errors, observe(&mut plane, &Family::ALL).unwrap())
        })
        .unwrap();
    let mut simulated = Simulated::default();
    let outcomes = simulated.apply(operations);
    for (at, operation) in operations.iter().enumerate() {
        let (simulated, real) = (errno(&outcomes[at]), real_errors[at]);
        prop_assert_eq!(simulated, real, "operation {}: {}", at, operation);
    }
    prop_assert_eq!(
        normal(observe(&mut simulated, &Family::ALL).unwrap()),
        normal(real)
    );
    Ok(())
}

#[test]
fn the_simulated_kernel_takes_the_same_real_servers() {
    compare("diff-every", &every_real_server()).unwrap();
}

#[test]
fn the_simulated_kernel_obeys_the_rules_of_the_real_one() {
    let case = std::cell::Cell::new(0);
    // The same operations in each run, so that what passes on one machine passes on all. To look further:
    // `PROPTEST_CASES=1000 PROPTEST_RNG_SEED=$RANDOM cargo xtask lab -- …`.
    let asked = Config::default();
    let mut runner = TestRunner::new(Config {
        cases: std::env::var("PROPTEST_CASES").map_or(24, |_| asked.cases),
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        failure_persistence: None,
        ..asked
    });
    let result = runner.run(
        &proptest::collection::vec(operation(), 1..60),
        |operations| {
            case.set(case.get() + 1);
            compare(&format!("diff-{}", case.get()), &operations)
        },
    );
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn errno(outcome: &ipvs_proxier::Outcome) -> Option<i32> {
    outcome
        .as_ref()
        .err()
        .map(|error| error.errno().unwrap_or(-1))
}
