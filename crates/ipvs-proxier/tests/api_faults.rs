//! An API server with a fault: what is served stays as it was, and all is right soon after.
#![cfg(feature = "kube")]

mod follower;

use std::thread;
use std::time::{Duration, Instant};

use follower::{A, B, Follower, NODE, service, slice, slice_of};
use ipvs_proxier::Source as _;
use ipvs_test_support::{ApiServer, Fault};

const FAULTS: [Fault; 15] = [
    Fault::Refused(500),
    Fault::Refused(429),
    Fault::Cut(0),
    Fault::Cut(60),
    Fault::Cut(700),
    Fault::Slow(Duration::from_millis(300)),
    Fault::Garbled,
    Fault::Expired,
    Fault::Stale,
    Fault::Swallowed,
    Fault::Stuck(700),
    Fault::OtherKind,
    Fault::Html,
    Fault::EndsAtOnce,
    Fault::Behind,
];
const TIME: Duration = Duration::from_millis(1500);
const KEPT: &str = "10.96.0.20";
const WEB: &str = "10.96.0.10";
const OLD: &str = "10.96.0.11";
const NEW: &str = "10.96.0.12";

/// Whether a list can come to its end meanwhile.
fn is_of_watches(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Slow(_) | Fault::Expired | Fault::Stale | Fault::EndsAtOnce | Fault::Behind
    )
}

fn during(follower: &mut Follower, mut so: impl FnMut(&mut Follower)) {
    let start = Instant::now();
    while start.elapsed() < TIME {
        thread::park_timeout(Duration::from_millis(20));
        follower.step();
        so(follower);
    }
}

fn in_fault(fault: Fault) {
    let server = ApiServer::start().unwrap();
    for (name, ip) in [("kept", KEPT), ("web", WEB), ("old", OLD)] {
        server.put(&service(name, ip)).unwrap();
        server.put(&slice_of(name, A)).unwrap();
    }
    server.put(NODE).unwrap();
    server.set_fault(Some(fault));
    let mut follower = Follower::of(server);
    during(&mut follower, |follower| {
        let complete = follower.cluster.is_complete();
        assert!(!complete || is_of_watches(fault), "complete");
        let all = [KEPT, WEB, OLD].map(|ip| follower.serves(ip));
        assert!(all == [complete; 3], "{all:?} of a list that is {complete}");
    });
    follower.server.set_fault(None);
    follower.until("the beginning", |follower| {
        follower.serves(OLD) && follower.cluster.is_connected()
    });

    follower.server.set_fault(Some(fault));
    let mut changes = [
        slice_of("web", &format!("{A}, {B}")),
        slice_of("web", B),
        service("new", NEW),
    ]
    .into_iter();
    let mut next = Instant::now();
    during(&mut follower, |follower| {
        if next.elapsed() > TIME / 5 {
            next = Instant::now();
            match changes.next() {
                Some(change) => follower.server.put(&change).unwrap(),
                None => follower.server.delete("Service", "old", true),
            }
        }
        assert!(follower.cluster.is_complete());
        assert_eq!(follower.real_servers(KEPT).unwrap(), ["10.244.0.1:8080"]);
        assert!(!follower.real_servers(WEB).unwrap().is_empty());
    });
    follower.server.set_fault(None);
    follower.until("the end", |follower| {
        assert_eq!(follower.real_servers(KEPT).unwrap(), ["10.244.0.1:8080"]);
        follower.real_servers(WEB).unwrap() == ["10.244.0.2:8080"]
            && follower.serves(NEW)
            && !follower.serves(OLD)
    });
    assert_eq!(follower.problems, [""; 0]);
}

#[test]
fn whatever_the_api_does_what_is_served_stays_and_all_is_right_soon_after() {
    thread::scope(|scope| {
        for fault in FAULTS {
            let named = thread::Builder::new().name(format!("{fault:?}"));
            named.spawn_scoped(scope, move || in_fault(fault)).unwrap();
        }
    });
}

/// Servers cache, and some lag behind others: no list may be of any version.
#[test]
fn a_list_after_the_first_does_not_go_back_in_time() {
    let objects = [service("web", WEB), slice(A), NODE.into()];
    let mut follower = Follower::new(&objects);
    follower.until("listed", |follower| follower.serves(WEB));
    follower.server.set_fault(Some(Fault::Stale));
    follower.server.put(&slice(B)).unwrap();
    let is_b = |follower: &mut Follower| follower.real_servers(WEB).unwrap() == ["10.244.0.2:8080"];
    follower.until("watched", is_b);
    let lists = |follower: &Follower| {
        let mut asked = follower.server.requests();
        asked.retain(|target| target.contains("slices?") && !target.contains("watch=true"));
        assert!(!asked.join("\n").contains("resourceVersion=0"), "{asked:?}");
        asked.len()
    };
    assert_eq!(lists(&follower), 1);
    follower.server.forget_versions();
    follower.until("listed again", |follower| {
        assert!(is_b(follower), "what was before is back");
        lists(follower) > 1 && follower.cluster.is_connected()
    });
    follower.server.put(&slice(&format!("{A}, {B}"))).unwrap();
    follower.until("watched again", |follower| {
        let servers = follower.real_servers(WEB).unwrap();
        assert!(
            servers.contains(&"10.244.0.2:8080".to_owned()),
            "{servers:?}"
        );
        servers.len() == 2
    });
}
