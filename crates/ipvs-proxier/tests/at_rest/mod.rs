//! A node at rest on the simulated kernel, and what others do to it. The clock is a number.
#![allow(dead_code, reason = "not every test needs all of it")]

#[path = "../web/mod.rs"]
pub(crate) mod web;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs_codec::{Destination, Family, ForwardMethod, Protocol, Scheduler, Service, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{
    AddressAndPort, Config, FilterEntry, FilterSet, Known, Model, Vip, VirtualServer,
};
use ipvs_proxier::{
    Activity, Concern, Control, DataPlane, DriftCause, Ended, KernelEvent, News, Pace, Section,
    Simulated, Step,
};

use self::web::node::Node;
use self::web::refusing::Refusing;
use self::web::{changes, key};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// What the kernel tells of is put right in this time, and what a canary sees.
pub(crate) const TOLD: Duration = Duration::from_millis(200);
pub(crate) const SEEN: Duration = Duration::from_millis(1500);

pub(crate) const PACE: Pace = Pace {
    min_sync: Duration::ZERO,
    sync: Duration::from_secs(30),
    max_sync: Duration::from_secs(600),
    drain: Duration::from_secs(60),
    canary: Some(SECOND),
};

pub(crate) fn listening(config: Config, pace: Pace) -> Node<Simulated> {
    let mut plane = Simulated::default();
    plane.listen(&config, &Control::new()).unwrap();
    plane.set_node_addresses(vec!["192.168.50.10".parse().unwrap()]);
    Node::with_pace(Model::new(config), plane, pace)
}

/// With a node port, so that several virtual servers are there.
pub(crate) fn service() -> Vec<Change> {
    changes(
        r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
         "spec": {"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
         "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.244.0.5"]}]}]}"#,
    )
}

/// A node that is at rest.
pub(crate) fn at_rest(pace: Pace) -> Node<Simulated> {
    let mut node = listening(Config::default(), pace);
    node.changes(service());
    let ended = during(&mut node, SECOND).ended;
    assert_eq!(activities(&ended), [Activity::Start]);
    node
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ended: Vec<Ended>,
    pub(crate) news: Vec<News>,
    /// When each of those ended.
    pub(crate) at: Vec<Instant>,
}

/// Lets so much time pass, in which everything that is due is done.
pub(crate) fn during<P: DataPlane>(node: &mut Node<P>, time: Duration) -> Seen {
    let mut seen = Seen::default();
    let end = node.clock.steady + time;
    loop {
        match node.poll() {
            Step::More => {}
            Step::Did(report) => {
                seen.news.extend(report.news);
                seen.at
                    .extend(report.ended.iter().map(|_| node.clock.steady));
                seen.ended.extend(report.ended);
            }
            Step::Wait(until) => match until.filter(|until| *until <= end) {
                Some(until) => node.set_clock(until),
                None => {
                    node.set_clock(end);
                    return seen;
                }
            },
        }
    }
}

pub(crate) fn activities(ended: &[Ended]) -> Vec<Activity> {
    ended.iter().map(|ended| ended.activity).collect()
}

pub(crate) fn causes(ended: &[Ended]) -> Vec<DriftCause> {
    let mut causes: Vec<DriftCause> = ended
        .iter()
        .flat_map(|ended| ended.drift.keys().map(|(_, cause)| *cause))
        .collect();
    causes.dedup();
    causes
}

/// What others do, and its name.
pub(crate) type Hand = (&'static str, fn(&mut Known));

pub(crate) const CLUSTER_IPS: (FilterSet, Family) = (FilterSet::ClusterIp, Family::Ipv4);

pub(crate) fn entry(last: u8) -> FilterEntry {
    FilterEntry::ClusterIp(AddressAndPort {
        address: [10, 96, 0, last].into(),
        protocol: Protocol::TCP,
        port: 80,
    })
}

pub(crate) fn foreign() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 99].into(), 81)
}

pub(crate) fn add_foreign(known: &mut Known) {
    let server = VirtualServer::new(Service::new(foreign(), Scheduler::RR), Vec::new());
    known.virtual_servers.insert(foreign(), server.into());
}

pub(crate) fn vip() -> std::net::IpAddr {
    [10, 96, 0, 10].into()
}

/// What the kernel tells of.
pub(crate) const TOLD_OF: [Hand; 4] = [
    ("an address goes", |known| drop(known.vips.remove(&vip()))),
    ("an address comes", |known| {
        let address = [10, 96, 0, 200].into();
        known.vips.insert(address, vec![Vip::Address { address }]);
    }),
    ("the link goes", |known| {
        known.link = None;
        known.vips.clear();
    }),
    ("all addresses go", |known| known.vips.clear()),
];

/// Rules, of which it depends.
pub(crate) const RULES: [Hand; 1] = [("rules go", |known| known.filters.clear())];

/// What the kernel tells nobody of.
pub(crate) const ASKED_FOR: [Hand; 7] = [
    ("virtual servers go", |known| known.virtual_servers.clear()),
    ("one virtual server goes", |known| {
        known.virtual_servers.remove(&key(Protocol::TCP));
    }),
    ("a virtual server comes", add_foreign),
    ("sets are emptied", |known| {
        known.sets.values_mut().for_each(|entries| entries.clear());
    }),
    ("an entry goes", |known| {
        assert!(known.sets.get_mut(&CLUSTER_IPS).unwrap().remove(&entry(10)));
    }),
    ("an entry comes", |known| {
        assert!(known.sets.get_mut(&CLUSTER_IPS).unwrap().insert(entry(11)));
    }),
    ("a set goes", |known| drop(known.sets.remove(&CLUSTER_IPS))),
];

/// What has no sign: tables are read as a whole, in turn.
pub(crate) const TABLES: [Hand; 2] = [
    ("an entry is exchanged", exchange_an_entry),
    ("a virtual server has another scheduler", |known| {
        let server = known.virtual_servers.get_mut(&key(Protocol::TCP)).unwrap();
        Arc::make_mut(server).service.scheduler = Scheduler::WRR;
    }),
];

/// What has no sign either: virtual servers are read one by one.
pub(crate) const REAL_SERVERS: [Hand; 2] = [
    ("a real server goes", |known| {
        with_real_servers(known, |_| Vec::new());
    }),
    ("a real server has another forwarding method", |known| {
        with_real_servers(known, |mut before| {
            before[0].forward = ForwardMethod::DIRECT;
            before
        });
    }),
];

pub(crate) fn exchange_an_entry(known: &mut Known) {
    let entries = known.sets.get_mut(&CLUSTER_IPS).unwrap();
    assert!(entries.remove(&entry(10)) && entries.insert(entry(11)));
}

pub(crate) fn with_real_servers(
    known: &mut Known,
    change: fn(Vec<Destination>) -> Vec<Destination>,
) {
    let server = known.virtual_servers.get_mut(&key(Protocol::TCP)).unwrap();
    let before = server.real_servers().to_vec();
    *server = VirtualServer::new(server.service, change(before)).into();
}

pub(crate) fn is_put_right(
    node: &mut Node<Simulated>,
    hand: Hand,
    within: Duration,
    cause: DriftCause,
) {
    let wanted = node.plane().state().clone();
    hand.1(node.plane().state_mut());
    assert!(*node.plane().state() != wanted, "{}", hand.0);
    let seen = during(node, within);
    assert!(*node.plane().state() == wanted, "{}", hand.0);
    assert_eq!(causes(&seen.ended), [cause], "{}", hand.0);
    let only_repairs = |activity: &Activity| *activity == Activity::Repair;
    assert!(
        activities(&seen.ended).iter().all(only_repairs),
        "{}",
        hand.0
    );
    assert!(node.known().unwrap() == &wanted);
    // The resync would find nothing.
    let rest = during(node, 3 * SECOND);
    assert_eq!(activities(&rest.ended), [], "{}", hand.0);
}

/// So many services of one virtual server each.
pub(crate) fn many(count: u16) -> Vec<Change> {
    let service = |number: u16| {
        let [a, b] = number.to_be_bytes();
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                "spec": {{"clusterIP": "10.97.{a}.{b}", "ports": [{{"port": 80}}]}}}}"#
        ))
    };
    (0..count).flat_map(service).collect()
}

/// The times between resyncs, in seconds.
pub(crate) fn resyncs<P: DataPlane>(node: &mut Node<P>, time: Duration) -> Vec<u64> {
    let mut last = node.clock.steady;
    let seen = during(node, time);
    let resyncs = seen.ended.iter().zip(seen.at);
    let resyncs = resyncs.filter(|(ended, _)| ended.activity == Activity::Resync);
    let between = resyncs.map(|(_, at)| (at - std::mem::replace(&mut last, at)).as_secs());
    between.collect()
}

/// A node at rest, whose kernel has rules of iptables-legacy and can be made to fail.
pub(crate) fn failing_at_rest() -> Node<Refusing> {
    let mut plane = Refusing::default();
    plane.listen(&Config::default(), &Control::new()).unwrap();
    plane.kernel.use_legacy_rules();
    let mut node = Node::with_pace(Model::new(Config::default()), plane, PACE);
    node.changes(service());
    let ended = during(&mut node, 2 * SECOND).ended;
    // Others may have changed rules between reading and writing: they are read again.
    assert_eq!(activities(&ended), [Activity::Start, Activity::Repair]);
    node
}

/// The kernel tells of so many changes of the dummy interface and of the node at once.
pub(crate) fn storm<P: DataPlane>(node: &mut Node<P>, count: u32) {
    let clock = node.clock;
    for _ in 0..count {
        for what in [Concern::Section(Section::Link), Concern::Node] {
            let cause = DriftCause::Notification;
            let event = KernelEvent {
                what,
                cause,
                by: None,
            };
            node.controller.kernel_event(event, clock);
        }
    }
}
