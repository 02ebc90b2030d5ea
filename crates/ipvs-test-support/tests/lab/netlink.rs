//! The netlink connection against the kernel: outcomes, errors, dumps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipvs_codec::{
    Destination, Protocol, Request, Scheduler, Service, ServiceKey, Timeouts, VirtualServer,
};
use ipvs_netfilter::ipset::{self, Entry, SetFamily, SetSpec, SetType};
use ipvs_netlink::{Binding, BindingReader, IpSetReader, IpSets, Ipvs, Links, Reconciled};
use ipvs_test_support::NetNs;

fn tcp(number: u32) -> ServiceKey {
    let addr = IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + number));
    ServiceKey::endpoint(Protocol::TCP, addr, 80)
}

fn dest(number: u32) -> Destination {
    Destination::new(SocketAddr::new(
        Ipv4Addr::from_bits(0x0af4_0000 + number).into(),
        8080,
    ))
}

#[test]
fn a_table_is_reconciled_with_a_list_and_what_is_not_ours_stays() {
    let namespace = NetNs::new("nl-reconcile").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let server = |last, real_servers: &[u32]| {
                let real_servers = real_servers.iter().map(|last| dest(*last)).collect();
                VirtualServer::new(Service::new(tcp(last), Scheduler::RR), real_servers)
            };
            let foreign = Service::new(tcp(9), Scheduler::WLC);
            ipvs.request(&Request::NewService(&foreign)).unwrap();
            let mine = |key: &ServiceKey| *key != foreign.key;
            let texts = |done: &Reconciled| -> Vec<String> {
                assert!(done.succeeded(), "{done:?}");
                done.changes.iter().map(|(change, _)| change.to_string()).collect()
            };
            let first = [server(1, &[1, 2]), server(2, &[1])];
            assert_eq!(texts(&ipvs.reconcile(&first, mine).unwrap()).len(), 5);
            assert!(texts(&ipvs.reconcile(&first, mine).unwrap()).is_empty());
            let second = [server(1, &[2, 3])];
            let changes = texts(&ipvs.reconcile(&second, mine).unwrap());
            let key = tcp(1);
            assert_eq!(
                changes,
                [
                    format!("add real server {key} -> {}", dest(3).addr),
                    format!("remove real server {key} -> {}", dest(1).addr),
                    format!("remove virtual server {}", tcp(2)),
                ]
            );
            let left = ipvs.snapshot().unwrap().into_iter().map(VirtualServer::from);
            let mut left: Vec<_> = left.collect();
            left.sort_by_key(|server| server.service.key);
            assert!(left[0].service.same_config(&second[0].service));
            assert_eq!(left[0].real_servers(), second[0].real_servers());
            assert!(left[1].service.same_config(&foreign));
            assert_eq!(left.len(), 2);
            // What the kernel refuses has its name, and what can be done.
            let odd = Service::new(tcp(3), "nosuch".parse().unwrap());
            let wanted = [VirtualServer::new(odd, Vec::new())];
            let done = ipvs.reconcile(&wanted, |_| false).unwrap();
            let failures: Vec<String> = done.failures().map(ToString::to_string).collect();
            let text = format!(
                "add virtual server {}: No such file or directory (os error 2): no scheduler nosuch: `modprobe ip_vs_nosuch`",
                tcp(3)
            );
            assert_eq!(failures, [text]);
            let error = ipvs.request(&Request::DelService(&tcp(3))).unwrap_err();
            assert!(error.to_string().ends_with("there is no such virtual server"), "{error}");
        })
        .unwrap();
}

#[test]
fn a_batch_has_one_outcome_for_each_request_in_order() {
    let namespace = NetNs::new("nl-batch").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let (a, b) = (
                Service::new(tcp(1), Scheduler::RR),
                Service::new(tcp(2), Scheduler::RR),
            );
            let odd = Service::new(tcp(3), "nosuch".parse().unwrap());
            let one = dest(1);
            let outcomes = ipvs.batch(&[
                Request::NewService(&a),
                Request::NewService(&a),
                Request::NewService(&b),
                Request::NewService(&odd),
                Request::NewDest(&a.key, &one),
                Request::NewDest(&odd.key, &one),
                Request::DelDest(&b.key, one.addr),
            ]);
            let errnos: Vec<Option<i32>> = outcomes
                .iter()
                .map(|outcome| outcome.as_ref().err().and_then(|cause| cause.errno()))
                .collect();
            let (enoent, esrch, eexist) = (Some(2), Some(3), Some(17));
            assert_eq!(errnos, [None, eexist, None, enoent, None, esrch, enoent]);
            assert!(outcomes[1].as_ref().is_err_and(|cause| cause.is_exists()));
            assert!(
                outcomes[5]
                    .as_ref()
                    .is_err_and(|cause| cause.is_not_found())
            );
            assert_eq!(ipvs.services().unwrap().len(), 2);
            assert_eq!(ipvs.destinations(&a.key).unwrap()[0].destination, one);
            assert!(ipvs.service(&odd.key).unwrap().is_none());
            assert!(
                ipvs.service(&a.key)
                    .unwrap()
                    .unwrap()
                    .service
                    .same_config(&a)
            );
        })
        .unwrap();
}

#[test]
fn large_tables_are_read_completely_and_each_entry_once() {
    let namespace = NetNs::new("nl-large").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let services: Vec<Service> = (0..1500)
                .map(|n| Service::new(tcp(n), Scheduler::RR))
                .collect();
            let requests: Vec<Request<'_>> = services.iter().map(Request::NewService).collect();
            assert!(ipvs.batch(&requests).iter().all(Result::is_ok));
            let dests: Vec<Destination> = (1..=400).map(dest).collect();
            let requests: Vec<Request<'_>> = dests
                .iter()
                .map(|dest| Request::NewDest(&services[7].key, dest))
                .collect();
            assert!(ipvs.batch(&requests).iter().all(Result::is_ok));

            let mut keys: Vec<ServiceKey> = ipvs
                .services()
                .unwrap()
                .iter()
                .map(|o| o.service.key)
                .collect();
            keys.sort_unstable();
            assert_eq!(
                keys,
                services
                    .iter()
                    .map(|service| service.key)
                    .collect::<Vec<_>>()
            );
            assert_eq!(ipvs.destinations(&services[7].key).unwrap().len(), 400);
            assert!(ipvs.batch(&[Request::Flush])[0].is_ok());
            assert!(ipvs.services().unwrap().is_empty());
        })
        .unwrap();
}

#[test]
fn every_request_of_a_large_batch_may_fail() {
    let namespace = NetNs::new("nl-errors").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let keys: Vec<ServiceKey> = (0..2000).map(tcp).collect();
            let requests: Vec<Request<'_>> = keys.iter().map(Request::DelService).collect();
            let outcomes = ipvs.batch(&requests);
            assert_eq!(outcomes.len(), 2000);
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| outcome.as_ref().is_err_and(|cause| cause.is_not_found()))
            );
        })
        .unwrap();
}

#[test]
fn timeouts_are_set_and_read() {
    let namespace = NetNs::new("nl-timeouts").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let request = Request::SetConfig(Timeouts {
                tcp: 0,
                tcp_fin: 60,
                udp: 0,
            });
            assert!(ipvs.batch(&[request])[0].is_ok());
            assert_eq!(
                ipvs.timeouts().unwrap(),
                Timeouts {
                    tcp: 900,
                    tcp_fin: 60,
                    udp: 300
                }
            );
            assert!(ipvs.info().unwrap().version >= 0x0001_0201);
        })
        .unwrap();
}

#[test]
fn a_full_set_is_an_error_of_its_own() {
    let namespace = NetNs::new("nl-full").unwrap();
    namespace
        .run(|| {
            let mut sets = IpSets::open().unwrap();
            let set = SetSpec {
                name: "full".parse().unwrap(),
                set_type: SetType::HashIp,
                family: SetFamily::Inet,
            };
            assert!(sets.negotiate().unwrap().contains(&6));
            sets.create(&set).unwrap();
            sets.create(&set).unwrap(); // again: nothing
            let other = SetSpec {
                set_type: SetType::HashIpPort,
                ..set
            };
            assert!(sets.create(&other).is_err(), "another type");
            // Since Linux 5.6 the limit is kept by regions of the hash table, so that it is not hit exactly.
            let entries: Vec<Entry> = (0..80_000)
                .map(|n| Entry::Ip(Ipv4Addr::from_bits(0x0b00_0000 + n).into()))
                .collect();
            let requests: Vec<ipset::Request<'_>> = entries
                .iter()
                .map(|entry| ipset::Request::Add(set.name, *entry))
                .collect();
            let outcomes = sets.batch(&requests);
            let (added, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            assert!(
                failed.len() > 10_000,
                "{} of 80000 were refused",
                failed.len()
            );
            assert!(
                failed
                    .iter()
                    .all(|outcome| outcome.as_ref().is_err_and(|cause| cause.is_set_full()))
            );
            let (found, members) = sets.list(set.name).unwrap().unwrap();
            assert_eq!((found.spec(), members.len()), (Some(set), added.len()));
            assert_eq!(found.difference(&set), None);
            assert!(sets.list("absent".parse().unwrap()).unwrap().is_none());
        })
        .unwrap();
}

#[test]
fn the_size_of_a_set_is_told_without_its_entries() {
    let namespace = NetNs::new("nl-size").unwrap();
    namespace
        .run(|| {
            let mut sets = IpSets::open().unwrap();
            let set = |name: &str| SetSpec {
                name: name.parse().unwrap(),
                set_type: SetType::HashIp,
                family: SetFamily::Inet,
            };
            let (one, other) = (set("one"), set("other"));
            let size = |sets: &mut IpSets| {
                let mut told = Vec::new();
                let take =
                    |size: ipset::SetSize<'_>| told.push((size.name.to_owned(), size.entries));
                sets.size(one.name, take).unwrap();
                told
            };
            assert_eq!(size(&mut sets), [], "there is no such set");
            sets.create(&one).unwrap();
            sets.create(&other).unwrap();
            assert_eq!(size(&mut sets), [("one".to_owned(), Some(0))]);
            let entry = Entry::Ip([10, 96, 0, 1].into());
            assert!(sets.batch(&[ipset::Request::Add(one.name, entry)])[0].is_ok());
            assert_eq!(size(&mut sets), [("one".to_owned(), Some(1))]);
            sets.destroy(one.name).unwrap();
            assert_eq!(size(&mut sets), []);
        })
        .unwrap();
}

#[test]
fn addresses_and_routes_are_bound_read_and_unbound() {
    let namespace = NetNs::new("nl-bind").unwrap();
    namespace
        .ip("link add node0 type dummy\naddr add 192.168.50.10/24 dev node0\nlink set node0 up\n")
        .unwrap();
    namespace
        .run(|| {
            let mut links = Links::open().unwrap();
            assert!(links.find("kube-ipvs0").unwrap().is_none());
            let link = links.ensure_dummy("kube-ipvs0").unwrap();
            assert!(!link.up && link.is_dummy);
            assert!(!links.find("lo").unwrap().unwrap().is_dummy);
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            let source = Some(ip("192.168.50.10"));
            let route = |address: &str, source, mtu| Binding::Route {
                address: ip(address),
                source,
                mtu,
            };
            let bindings = [
                Binding::Address(ip("10.96.0.10")),
                Binding::Address(ip("fd00:10:96::1")),
                route("10.96.0.11", source, None),
                route("fd00:10:96::2", None, Some(1400)),
            ];
            let errnos = |outcomes: Vec<ipvs_netlink::Outcome>| -> Vec<Option<i32>> {
                outcomes
                    .iter()
                    .map(|outcome| outcome.as_ref().err().and_then(|cause| cause.errno()))
                    .collect()
            };
            // An IPv4 route is taken while the link is down.
            let (down, exists, not_available, no_such) = (Some(100), Some(17), Some(99), Some(3));
            assert_eq!(
                errnos(links.bind(link.index, &bindings)),
                [None, None, None, down]
            );
            links.set_up(link.index).unwrap();
            assert!(links.find("kube-ipvs0").unwrap().unwrap().up);
            assert_eq!(
                errnos(links.bind(link.index, &bindings)),
                [exists, exists, None, None]
            );
            let mut found = links.bindings(link.index).unwrap();
            found.sort_by_key(|binding| format!("{binding:?}"));
            let mut wanted = bindings.to_vec();
            wanted.sort_by_key(|binding| format!("{binding:?}"));
            assert_eq!(found, wanted);
            let routes = |links: &mut Links| {
                let bindings = links.bindings(link.index).unwrap().into_iter();
                let mut routes: Vec<Binding> = bindings
                    .filter(|binding| matches!(binding, Binding::Route { .. }))
                    .collect();
                routes.sort_by_key(|route| format!("{route:?}"));
                routes
            };
            // Each takes the place of the one that is there. What is too large is cut.
            for (source, mtu, found) in [
                (source, Some(1500), Some(1500)),
                (None, Some(1400), Some(1400)),
                (source, None, None),
                (None, Some(65_535), Some(65_520)),
            ] {
                let both = |mtu| ["10.96.0.11", "fd00:10:96::2"].map(|to| (to, mtu));
                let new = both(mtu).map(|(to, mtu)| {
                    let source = source.filter(|_| !to.contains(':'));
                    route(to, source, mtu)
                });
                assert_eq!(errnos(links.bind(link.index, &new)), [None, None]);
                let wanted = new.map(|route| match route {
                    Binding::Route {
                        address, source, ..
                    } => Binding::Route {
                        address,
                        source,
                        mtu: found,
                    },
                    other => other,
                });
                assert_eq!(routes(&mut links), wanted);
            }
            // With another MTU there is none of IPv4, and of IPv6 any is meant.
            let other = [
                route("10.96.0.11", None, Some(1400)),
                route("fd00:10:96::2", None, Some(1400)),
            ];
            assert_eq!(errnos(links.unbind(link.index, &other)), [no_such, None]);
            assert_eq!(errnos(links.bind(link.index, &bindings[2..])), [None, None]);
            // A locked one is not as it should be.
            let locked = "route replace local 10.96.0.11 dev kube-ipvs0 table local proto static mtu lock 1400";
            namespace.ip(locked).unwrap();
            assert_eq!(routes(&mut links)[0], route("10.96.0.11", None, None));
            // The last IPv4 address takes the IPv4 routes with it.
            assert_eq!(
                errnos(links.unbind(link.index, &bindings)),
                [None, None, no_such, None]
            );
            assert_eq!(
                errnos(links.unbind(link.index, &bindings)),
                [not_available, not_available, no_such, no_such]
            );
            assert!(links.bindings(link.index).unwrap().is_empty());
            links.delete(link.index).unwrap();
            // Dummy interfaces and loopback do not count.
            assert_eq!(links.smallest_mtu(1280).unwrap(), None);
            namespace
                .ip("link add v0 type veth peer name v1\nlink set v0 mtu 1300\nlink set v1 mtu 1200\nlink set v1 up")
                .unwrap();
            assert_eq!(links.smallest_mtu(1280).unwrap(), None);
            namespace.ip("link set v0 up").unwrap();
            assert_eq!(links.smallest_mtu(1280).unwrap(), Some(1300));
            assert_eq!(links.smallest_mtu(0).unwrap(), Some(1200));
        })
        .unwrap();
}

#[test]
fn a_set_is_read_in_chunks_between_which_it_changes() {
    let namespace = NetNs::new("nl-chunks").unwrap();
    namespace
        .run(|| {
            let mut sets = IpSets::open().unwrap();
            let set = SetSpec {
                name: "many".parse().unwrap(),
                set_type: SetType::HashIp,
                family: SetFamily::Inet,
            };
            let mut reader = IpSetReader::open().unwrap();
            let none = reader.next_chunk(set.name).unwrap();
            assert!(none.head.is_none() && none.is_last);
            sets.create(&set).unwrap();
            let entry = |n: u32| Entry::Ip(Ipv4Addr::from_bits(0x0b00_0000 + n).into());
            let add = |sets: &mut IpSets, range: std::ops::Range<u32>| {
                let requests: Vec<ipset::Request<'_>> = range
                    .map(|n| ipset::Request::Add(set.name, entry(n)))
                    .collect();
                assert!(sets.batch(&requests).iter().all(Result::is_ok));
            };
            add(&mut sets, 0..10_000);
            let (mut found, mut chunks) = (Vec::new(), 0);
            loop {
                let chunk = reader.next_chunk(set.name).unwrap();
                assert_eq!(chunk.head.and_then(|head| head.spec()), Some(set));
                found.extend(chunk.entries);
                chunks += 1;
                if chunk.is_last {
                    break;
                }
                add(&mut sets, 20_000 + chunks..20_001 + chunks);
            }
            assert!(chunks > 5, "{chunks}");
            let all = (0..10_000).map(entry);
            let found: std::collections::BTreeSet<Entry> = found.into_iter().collect();
            assert_eq!(all.filter(|entry| !found.contains(entry)).count(), 0);
            // Halfway the kernel does not let the set go; begun again, or of another name, it gives all.
            assert!(!reader.next_chunk(set.name).unwrap().is_last);
            let destroy = [ipset::Request::Destroy(set.name)];
            assert!(sets.batch(&destroy).iter().all(Result::is_err));
            let other = reader.next_chunk("other".parse().unwrap()).unwrap();
            assert!(other.head.is_none() && other.is_last);
            assert!(!reader.next_chunk(set.name).unwrap().is_last);
            reader.restart().unwrap();
            assert!(sets.batch(&destroy).iter().all(Result::is_ok));
        })
        .unwrap();
}

#[test]
fn what_is_bound_is_read_in_chunks() {
    let namespace = NetNs::new("nl-bound").unwrap();
    namespace
        .run(|| {
            let mut links = Links::open().unwrap();
            let link = links.ensure_dummy("kube-ipvs0").unwrap().index;
            links.set_up(link).unwrap();
            let binding = |n: u32| {
                let address = Ipv4Addr::from_bits(0x0a60_0000 + n).into();
                if n.is_multiple_of(2) {
                    Binding::Address(address)
                } else {
                    Binding::Route {
                        address,
                        source: None,
                        mtu: n.is_multiple_of(3).then_some(1500),
                    }
                }
            };
            let bindings: Vec<Binding> = (1..=4000).map(binding).collect();
            assert!(links.bind(link, &bindings).iter().all(Result::is_ok));
            let mut reader = BindingReader::open().unwrap();
            let mut found = Vec::new();
            assert!(!reader.next_chunk(link, &mut found).unwrap());
            reader.restart().unwrap();
            found.clear();
            let mut chunks = 1;
            while !reader.next_chunk(link, &mut found).unwrap() {
                chunks += 1;
            }
            assert!(chunks > 5, "{chunks}");
            assert_eq!(found, links.bindings(link).unwrap());
            assert_eq!(found.len(), bindings.len());
        })
        .unwrap();
}
