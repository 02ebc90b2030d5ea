//! The whole table read back: completely, in slices, while it changes, from another namespace, after a reload.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipvs_codec::{
    Daemon, DaemonState, Destination, Protocol, Request, Scheduler, Service, ServiceKey,
};
use ipvs_netlink::{Cause, Error, Ipvs, IpvsReader, NetworkNamespace, Slice};
use ipvs_test_support::NetNs;

fn key(number: u32) -> ServiceKey {
    let addr = IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + number));
    ServiceKey::endpoint(Protocol::TCP, addr, 80)
}

fn make(ipvs: &mut Ipvs, numbers: std::ops::Range<u32>, destinations: u32) {
    let services: Vec<Service> = numbers
        .map(|number| Service::new(key(number), Scheduler::RR))
        .collect();
    let address = |number| (Ipv4Addr::from_bits(0x0af4_0000 + number), 8080).into();
    let destinations: Vec<Destination> = (0..destinations)
        .map(|number| Destination::new(address(number)))
        .collect();
    let mut requests: Vec<Request<'_>> = services.iter().map(Request::NewService).collect();
    for service in &services {
        requests.extend(
            destinations
                .iter()
                .map(|destination| Request::NewDest(&service.key, destination)),
        );
    }
    assert!(ipvs.batch(&requests).iter().all(Result::is_ok));
}

fn in_slices(reader: &mut IpvsReader, most: usize) -> Vec<(ServiceKey, usize)> {
    let mut read = Vec::new();
    loop {
        match reader.step(most).unwrap() {
            Slice::Listing => {}
            Slice::Servers(servers) => {
                assert!(servers.len() <= most);
                let of = |server: ipvs_netlink::ObservedVirtualServer| {
                    (server.service.service.key, server.destinations.len())
                };
                read.extend(servers.into_iter().map(of));
            }
            Slice::Complete => return read,
        }
    }
}

#[test]
fn a_snapshot_and_slices_hold_everything() {
    let namespace = NetNs::new("table-all").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            make(&mut ipvs, 0..700, 3);
            make(&mut ipvs, 700..701, 0);
            let snapshot = ipvs.snapshot().unwrap();
            assert_eq!(snapshot.len(), 701);
            let read: usize = snapshot
                .iter()
                .map(|server| server.destinations.len())
                .sum();
            assert_eq!(read, 2100);

            let mut reader = IpvsReader::open().unwrap();
            for _ in 0..2 {
                let read = in_slices(&mut reader, 40);
                let keys: BTreeSet<ServiceKey> = read.iter().map(|(key, _)| *key).collect();
                assert_eq!((read.len(), keys.len()), (701, 701));
                assert_eq!(read.iter().filter(|(_, count)| *count == 3).count(), 700);
            }

            // The list alone, also after one that was left halfway.
            let mut some = Vec::new();
            assert!(!reader.list(&mut some).unwrap());
            assert!((1..701).contains(&some.len()), "{}", some.len());
            assert_eq!(in_slices(&mut reader, 700).len(), 701);
            assert!(!reader.list(&mut some).unwrap());
            reader.restart().unwrap();
            let mut all = Vec::new();
            while !reader.list(&mut all).unwrap() {}
            assert_eq!(all.len(), 701);
        })
        .unwrap();
}

#[test]
fn what_stays_is_read_while_the_rest_comes_and_goes() {
    let namespace = NetNs::new("table-churn").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        namespace
            .run(|| make(&mut Ipvs::open().unwrap(), 0..500, 1))
            .unwrap();
        scope.spawn(|| {
            namespace
                .run(|| {
                    let mut ipvs = Ipvs::open().unwrap();
                    while !over.load(Ordering::Relaxed) {
                        make(&mut ipvs, 1000..1200, 0);
                        let keys: Vec<ServiceKey> = (1000..1200).map(key).collect();
                        let requests: Vec<_> = keys.iter().map(Request::DelService).collect();
                        assert!(ipvs.batch(&requests).iter().all(Result::is_ok));
                    }
                })
                .unwrap();
        });
        let read = namespace.run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let (mut complete, mut unstable) = (0, 0);
            for _ in 0..10 {
                match ipvs.services() {
                    Ok(services) => {
                        let stays = |observed: &&ipvs_codec::ObservedService| {
                            (0..500).any(|number| observed.service.key == key(number))
                        };
                        assert_eq!(services.iter().filter(stays).count(), 500);
                        complete += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error.cause(), Cause::Unstable(_)), "{error}");
                        unstable += 1;
                    }
                }
                // Slices promise less: no service twice, and none that is gone with destinations.
                let read = in_slices(&mut IpvsReader::open().unwrap(), 100);
                let keys: BTreeSet<ServiceKey> = read.iter().map(|(key, _)| *key).collect();
                assert_eq!(keys.len(), read.len());
            }
            (complete, unstable)
        });
        over.store(true, Ordering::Relaxed);
        let (complete, unstable) = read.unwrap();
        println!("{complete} complete lists, {unstable} times the table kept changing");
    });
}

#[test]
fn handles_open_in_other_namespaces() {
    let namespace = NetNs::new("table-other").unwrap();
    let other = NetworkNamespace::named("table-other").unwrap();
    let mut there = Ipvs::open_in(&other).unwrap();
    make(&mut there, 0..5, 1);
    let mut here = Ipvs::open().unwrap();
    assert!(here.service(&key(0)).unwrap().is_none());
    let seen = namespace
        .run(|| Ipvs::open().unwrap().services().unwrap().len())
        .unwrap();
    assert_eq!((seen, there.snapshot().unwrap().len()), (5, 5));
    let by_file = std::fs::File::open("/run/netns/table-other").unwrap();
    let mut reader = IpvsReader::open_in(&NetworkNamespace::from_fd(by_file.into())).unwrap();
    assert_eq!(in_slices(&mut reader, 2).len(), 5);

    let absent = NetworkNamespace::named("no-such").unwrap_err().to_string();
    assert!(absent.contains("/run/netns/no-such"), "{absent}");
    let no_namespace = std::fs::File::open("/etc/hostname").unwrap();
    let refused = Ipvs::open_in(&NetworkNamespace::from_fd(no_namespace.into())).unwrap_err();
    assert!(refused.to_string().starts_with("open IPVS: "), "{refused}");
}

#[test]
fn daemons_are_started_listed_and_stopped() {
    let namespace = NetNs::new("table-daemons").unwrap();
    namespace
        .ip("link add sync0 type dummy\naddr add 192.168.70.1/24 dev sync0\nlink set sync0 up multicast on\n")
        .unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let interface = "sync0".parse().unwrap();
            let master = Daemon::new(DaemonState::Master, interface, 7)
                .with_group("239.1.1.1".parse().unwrap())
                .unwrap();
            let backup = Daemon::new(DaemonState::Backup, interface, 9);
            let requests = [
                Request::NewDaemon(&master),
                Request::NewDaemon(&master),
                Request::NewDaemon(&backup),
            ];
            let outcomes = ipvs.batch(&requests);
            assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
            assert!(outcomes[1].as_ref().is_err_and(Error::is_exists));
            let listed = ipvs.daemons().unwrap();
            assert_eq!(listed.len(), 2);
            assert_eq!((listed[0].group, listed[0].sync_id), (master.group, 7));
            assert_eq!(
                (listed[1].state, listed[1].port),
                (DaemonState::Backup, 8848)
            );
            let stop = [
                Request::DelDaemon(DaemonState::Master),
                Request::DelDaemon(DaemonState::Master),
            ];
            let outcomes = ipvs.batch(&stop);
            assert!(outcomes[0].is_ok());
            assert!(outcomes[1].as_ref().is_err_and(Error::is_not_found));
            let stopped = ipvs
                .batch(&[Request::DelDaemon(DaemonState::Backup)])
                .remove(0);
            assert!(stopped.is_ok(), "{stopped:?}");
            let absent = Daemon::new(DaemonState::Master, "nosuch0".parse().unwrap(), 0);
            let outcome = &ipvs.batch(&[Request::NewDaemon(&absent)])[0];
            assert_eq!(outcome.as_ref().unwrap_err().errno(), Some(19), "ENODEV");
        })
        .unwrap();
}

#[test]
fn only_the_flags_of_the_mask_change() {
    use ipvs_codec::ServiceFlags;
    let namespace = NetNs::new("table-mask").unwrap();
    namespace
        .run(|| {
            let mut ipvs = Ipvs::open().unwrap();
            let plain = Service::new(key(1), Scheduler::MH);
            let both = plain.with_flags(ServiceFlags::SCHED_1 | ServiceFlags::SCHED_2);
            let requests = [
                Request::NewService(&both),
                Request::SetServiceMasked(&plain, ServiceFlags::SCHED_1),
            ];
            assert!(ipvs.batch(&requests).iter().all(Result::is_ok));
            let read = ipvs.service(&key(1)).unwrap().unwrap().service;
            assert!(read.same_config(&plain.with_flags(ServiceFlags::SCHED_2)));
        })
        .unwrap();
}
