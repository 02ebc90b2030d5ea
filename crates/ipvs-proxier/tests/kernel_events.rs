//! What others do in the kernel is put right as soon as it comes out: by what the kernel tells, by canaries where it tells
//! nothing, and by a resync that comes less and less often. The clock is a number.

mod web;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs_codec::{Destination, Family, ForwardMethod, Protocol, Scheduler, Service, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{
    AddressAndPort, Config, FilterEntry, FilterSet, Known, Model, NeverBind, Vip, VirtualServer,
};
use ipvs_netlink::Cause;
use ipvs_proxier::{
    Activity, ChangedBy, Concern, Control, DataPlane, DriftCause, Ended, KernelEvent, News, Pace,
    PlaneError, Section, Signs, Simulated, Step,
};

use web::node::Node;
use web::refusing::Refusing;
use web::{changes, key, web};

const SECOND: Duration = Duration::from_secs(1);
/// What the kernel tells of is put right in this time, and what a canary sees.
const TOLD: Duration = Duration::from_millis(200);
const SEEN: Duration = Duration::from_millis(1500);

const PACE: Pace = Pace {
    min_sync: Duration::ZERO,
    sync: Duration::from_secs(30),
    max_sync: Duration::from_secs(600),
    drain: Duration::from_secs(60),
    canary: Some(SECOND),
};

fn listening(config: Config, pace: Pace) -> Node<Simulated> {
    let mut plane = Simulated::default();
    plane.listen(&config, &Control::new()).unwrap();
    plane.set_node_addresses(vec!["192.168.50.10".parse().unwrap()]);
    Node::with_pace(Model::new(config), plane, pace)
}

/// With a node port, so that several virtual servers are there.
fn service() -> Vec<Change> {
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
fn at_rest(pace: Pace) -> Node<Simulated> {
    let mut node = listening(Config::default(), pace);
    node.changes(service());
    let ended = during(&mut node, SECOND).ended;
    assert_eq!(activities(&ended), [Activity::Start]);
    node
}

#[derive(Debug, Default)]
struct Seen {
    ended: Vec<Ended>,
    news: Vec<News>,
    /// When each of those ended.
    at: Vec<Instant>,
}

/// Lets so much time pass, in which everything that is due is done.
fn during<P: DataPlane>(node: &mut Node<P>, time: Duration) -> Seen {
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

fn activities(ended: &[Ended]) -> Vec<Activity> {
    ended.iter().map(|ended| ended.activity).collect()
}

fn causes(ended: &[Ended]) -> Vec<DriftCause> {
    let mut causes: Vec<DriftCause> = ended
        .iter()
        .flat_map(|ended| ended.drift.keys().map(|(_, cause)| *cause))
        .collect();
    causes.dedup();
    causes
}

/// What others do, and its name.
type Hand = (&'static str, fn(&mut Known));

const CLUSTER_IPS: (FilterSet, Family) = (FilterSet::ClusterIp, Family::Ipv4);

fn entry(last: u8) -> FilterEntry {
    FilterEntry::ClusterIp(AddressAndPort {
        address: [10, 96, 0, last].into(),
        protocol: Protocol::TCP,
        port: 80,
    })
}

fn foreign() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 99].into(), 81)
}

fn add_foreign(known: &mut Known) {
    let server = VirtualServer::new(Service::new(foreign(), Scheduler::RR), Vec::new());
    known.virtual_servers.insert(foreign(), server.into());
}

fn vip() -> std::net::IpAddr {
    [10, 96, 0, 10].into()
}

/// What the kernel tells of.
const TOLD_OF: [Hand; 4] = [
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
const RULES: [Hand; 1] = [("rules go", |known| known.filters.clear())];

/// What the kernel tells nobody of.
const ASKED_FOR: [Hand; 7] = [
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

/// What has no sign either: tables are read as a whole, in turn,
const TABLES: [Hand; 2] = [
    ("an entry is exchanged", exchange_an_entry),
    ("a virtual server has another scheduler", |known| {
        let server = known.virtual_servers.get_mut(&key(Protocol::TCP)).unwrap();
        Arc::make_mut(server).service.scheduler = Scheduler::WRR;
    }),
];

/// and virtual servers one by one.
const REAL_SERVERS: [Hand; 2] = [
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

fn exchange_an_entry(known: &mut Known) {
    let entries = known.sets.get_mut(&CLUSTER_IPS).unwrap();
    assert!(entries.remove(&entry(10)) && entries.insert(entry(11)));
}

fn with_real_servers(known: &mut Known, change: fn(Vec<Destination>) -> Vec<Destination>) {
    let server = known.virtual_servers.get_mut(&key(Protocol::TCP)).unwrap();
    let before = server.real_servers().to_vec();
    *server = VirtualServer::new(server.service, change(before)).into();
}

fn is_put_right(node: &mut Node<Simulated>, hand: Hand, within: Duration, cause: DriftCause) {
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

#[test]
fn what_the_kernel_tells_of_is_put_right_at_once() {
    let pace = Pace {
        sync: 1000 * SECOND,
        canary: None,
        ..PACE
    };
    let mut node = at_rest(pace);
    for hand in TOLD_OF.into_iter().chain(RULES) {
        is_put_right(&mut node, hand, TOLD, DriftCause::Notification);
    }
}

#[test]
fn what_it_does_not_tell_of_is_put_right_by_a_canary() {
    // No resync comes between.
    let pace = Pace {
        sync: 1000 * SECOND,
        ..PACE
    };
    let mut node = listening(Config::default(), pace);
    node.plane().use_legacy_rules();
    node.changes(service());
    during(&mut node, SECOND);
    let in_turn = TABLES.into_iter().chain(REAL_SERVERS);
    for hand in ASKED_FOR.into_iter().chain(RULES).chain(in_turn) {
        is_put_right(&mut node, hand, SEEN, DriftCause::Canary);
    }
}

/// So many services of one virtual server each.
fn many(count: u16) -> Vec<Change> {
    let service = |number: u16| {
        let [a, b] = number.to_be_bytes();
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                "spec": {{"clusterIP": "10.97.{a}.{b}", "ports": [{{"port": 80}}]}}}}"#
        ))
    };
    (0..count).flat_map(service).collect()
}

#[test]
fn what_is_read_in_turn_comes_out_in_a_time_that_grows_with_the_number_of_services() {
    // No resync comes between.
    let pace = Pace {
        sync: 10_000 * SECOND,
        ..PACE
    };
    for services in [100_u16, 1_000] {
        let mut node = at_rest(pace);
        node.changes(many(services));
        during(&mut node, SECOND);
        let servers = u32::try_from(node.plane().state().virtual_servers.len()).unwrap();
        let entries: usize = node
            .plane()
            .state()
            .sets
            .values()
            .map(|entries| entries.len())
            .sum();
        // 64 virtual servers a second, and 150 objects of tables, of which each counts for 10 more.
        let of_server = SECOND * (servers / 64 + 2);
        let objects = servers + u32::try_from(entries).unwrap();
        let of_table = SECOND * (objects / 150 + 3);
        let hands = TABLES.map(|hand| (hand, of_table)).into_iter();
        for (hand, within) in hands.chain(REAL_SERVERS.map(|hand| (hand, of_server))) {
            is_put_right(&mut node, hand, within, DriftCause::Canary);
        }
    }
}

#[test]
fn own_changes_cost_nothing() {
    let mut node = at_rest(PACE);
    node.plane().use_legacy_rules();
    let (mut reads, mut seen) = (0, Vec::new());
    for count in 1..20_u8 {
        let endpoints = [format!("10.244.0.{count}")];
        let before = node.plane().reads();
        node.changes(web("TCP", &[&endpoints[0]]));
        seen.extend(activities(&during(&mut node, SECOND / 20).ended));
        reads += node.plane().reads() - before;
    }
    assert_eq!(reads, 0);
    assert!(
        seen.iter().all(|activity| *activity == Activity::Sync),
        "{seen:?}"
    );
}

#[test]
fn two_hands_at_once_are_one_repair_of_each_section() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    let state = node.plane().state_mut();
    state.vips.clear();
    state.filters.clear();
    state.virtual_servers.clear();
    let seen = during(&mut node, SEEN);
    assert!(*node.plane().state() == wanted);
    assert_eq!(
        causes(&seen.ended),
        [DriftCause::Notification, DriftCause::Canary]
    );
}

#[test]
fn a_storm_costs_one_look_and_makes_no_change_wait() {
    let mut node = at_rest(PACE);
    let reads = node.plane().reads();
    let clock = node.clock;
    for _ in 0..5_000 {
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
    // Looks are due, and the change comes first all the same.
    node.after(TOLD);
    node.changes(web("TCP", &["10.244.0.7"]));
    let Step::Did(report) = node.poll() else {
        panic!("nothing was done")
    };
    assert_eq!(report.ended.unwrap().activity, Activity::Sync);
    let seen = during(&mut node, SECOND / 2);
    assert_eq!(activities(&seen.ended), [Activity::Repair]);
    assert_eq!(node.plane().reads() - reads, 1);
}

#[test]
fn each_step_in_a_storm_is_small_and_the_next_one_after_a_change_syncs_it() {
    let mut node = failing_at_rest();
    node.changes(many(2_000));
    during(&mut node, SECOND);
    let (mut reads, mut rereads) = (node.plane().reads, 0);
    for round in 0..300_u32 {
        let clock = node.clock;
        for _ in 0..50 {
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
        let ended = match node.poll() {
            Step::Did(report) => report.ended.map(|ended| ended.activity),
            Step::More | Step::Wait(_) => None,
        };
        rereads += usize::from(ended == Some(Activity::Repair));
        // A chunk, and before the first one a call that begins.
        let read = node.plane().reads - std::mem::replace(&mut reads, node.plane().reads);
        assert!(read <= 2, "{read} in round {round}");
        if round % 7 == 0 {
            let endpoint = format!("10.244.1.{}", round % 250 + 1);
            node.changes(web("TCP", &[&endpoint]));
            let Step::Did(report) = node.poll() else {
                panic!("nothing was done in round {round}")
            };
            assert_eq!(report.ended.unwrap().activity, Activity::Sync);
            assert!(report.plan.operations().len() <= 4, "round {round}");
            assert_eq!(node.plane().reads, reads, "round {round}");
        }
        node.after(SECOND / 1_000);
    }
    assert!(rereads > 0, "it was read again");
}

#[test]
fn what_others_do_while_it_starts_or_resyncs_is_put_right_after_it() {
    for steps in 0..60 {
        let mut node = at_rest(PACE);
        let wanted = node.plane().state().clone();
        node.controller.hurry(Activity::Resync, node.clock);
        for _ in 0..steps {
            let _ = node.poll();
        }
        let hand = TOLD_OF[steps % TOLD_OF.len()];
        hand.1(node.plane().state_mut());
        let seen = during(&mut node, TOLD);
        assert!(*node.plane().state() == wanted, "{} after {steps}", hand.0);
        assert!(activities(&seen.ended).contains(&Activity::Repair) || steps < 2);
    }
    for steps in 0..60 {
        let mut node = listening(Config::default(), PACE);
        node.changes(service());
        for _ in 0..steps {
            let _ = node.poll();
        }
        let hand: Hand = ("the link goes", |known| {
            known.link = None;
            known.vips.clear();
        });
        hand.1(node.plane().state_mut());
        during(&mut node, 2 * SECOND);
        assert!(node.plane().state().link.is_some(), "after {steps}");
        assert!(
            node.plane().state().vips.contains_key(&vip()),
            "after {steps}"
        );
    }
}

#[test]
fn a_resync_goes_on_after_whatever_others_do_meanwhile() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    node.controller.hurry(Activity::Resync, node.clock);
    let mut repairs = 0;
    for round in 0.. {
        node.plane().state_mut().vips.remove(&vip());
        let ended = during(&mut node, SECOND / 5).ended;
        repairs += ended
            .iter()
            .filter(|one| one.activity == Activity::Repair)
            .count();
        if ended.iter().any(|one| one.activity == Activity::Resync) {
            break;
        }
        assert!(round < 10, "it does not come to its end");
    }
    during(&mut node, SECOND);
    assert!(repairs > 0 && *node.plane().state() == wanted);
}

#[test]
fn what_was_lost_is_read_again() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    let state = node.plane().state_mut();
    state.vips.clear();
    state.filters.clear();
    node.plane().set_node_addresses(Vec::new());
    node.plane().lose_events();
    let seen = during(&mut node, TOLD);
    assert_eq!(causes(&seen.ended), [DriftCause::Lost]);
    let state = node.plane().state();
    assert!(state.vips == wanted.vips);
    assert!(state.filters[&Family::Ipv4].shape.is_some());
    assert_eq!(
        state.virtual_servers.len(),
        1,
        "no node port without an address"
    );
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut node = at_rest(PACE);
    let server = |ip: [u8; 4]| ServiceKey::endpoint(Protocol::TCP, ip.into(), 30_080);
    let (first, second) = ([192, 168, 50, 10], [192, 168, 50, 77]);
    for addresses in [vec![first, second], vec![first], vec![second], vec![]] {
        let ips = addresses.iter().map(|ip| (*ip).into()).collect();
        node.plane().set_node_addresses(ips);
        let seen = during(&mut node, TOLD);
        assert_eq!(activities(&seen.ended), [Activity::Sync]);
        for ip in [first, second] {
            let servers = &node.plane().state().virtual_servers;
            let is_served = servers.contains_key(&server(ip));
            assert_eq!(is_served, addresses.contains(&ip), "{ip:?}");
        }
    }
    // The same again is no change.
    node.plane().set_node_addresses(Vec::new());
    assert_eq!(activities(&during(&mut node, TOLD).ended), []);
}

#[test]
fn an_address_of_the_node_concerns_no_service_that_is_not_served_on_it() {
    let mut node = at_rest(PACE);
    for number in 0..100 {
        node.changes(changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                "spec": {{"clusterIP": "10.97.0.{number}", "ports": [{{"port": 80}}]}}}}"#
        )));
    }
    during(&mut node, SECOND);
    let compiled = node.model().compiled();
    node.plane()
        .set_node_addresses(vec![[192, 168, 50, 77].into()]);
    during(&mut node, TOLD);
    assert_eq!(
        node.model().compiled() - compiled,
        1,
        "the one with a node port"
    );
}

#[test]
fn an_address_that_becomes_the_nodes_or_a_gateways_is_not_bound_any_more() {
    let never_bind = NeverBind {
        gateways: true,
        ..NeverBind::default()
    };
    let config = Config {
        never_bind,
        ..Config::default()
    };
    let mut node = listening(config, PACE);
    node.changes(changes(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.1"], "ports": [{"port": 80}]}}"#,
    ));
    during(&mut node, SECOND);
    let external = std::net::IpAddr::from([192, 0, 2, 1]);
    let mut bound_with = |addresses: &[std::net::IpAddr], gateways: &[std::net::IpAddr]| {
        node.plane().set_node_addresses(addresses.to_vec());
        node.plane().set_gateways(gateways.to_vec());
        during(&mut node, TOLD);
        node.plane().state().vips.contains_key(&external)
    };
    assert!(bound_with(&[], &[]));
    assert!(!bound_with(&[external], &[]));
    assert!(bound_with(&[], &[]));
    assert!(!bound_with(&[], &[external]));
    assert!(bound_with(&[], &[]));
}

/// The times between resyncs, in seconds.
fn resyncs<P: DataPlane>(node: &mut Node<P>, time: Duration) -> Vec<u64> {
    let mut last = node.clock.steady;
    let seen = during(node, time);
    let resyncs = seen.ended.iter().zip(seen.at);
    let resyncs = resyncs.filter(|(ended, _)| ended.activity == Activity::Resync);
    let between = resyncs.map(|(_, at)| (at - std::mem::replace(&mut last, at)).as_secs());
    between.collect()
}

#[test]
fn resyncs_that_find_nothing_come_less_and_less_often() {
    let mut node = at_rest(PACE);
    let wanted = [29, 60, 120, 240, 480, 600, 600];
    assert_eq!(resyncs(&mut node, Duration::from_secs(2_200)), wanted);
    // Something of which neither the kernel nor a canary says anything: which is found by its turn at the latest.
    node.plane().state_mut().vips.clear();
    let ended = during(&mut node, SECOND).ended;
    assert_eq!(activities(&ended), [Activity::Repair]);
    assert_eq!(resyncs(&mut node, Duration::from_secs(90))[0], 29);

    // Without the one or the other every resync is needed.
    let deaf = Pace {
        canary: None,
        ..PACE
    };
    let mut node = at_rest(deaf);
    assert_eq!(
        resyncs(&mut node, Duration::from_secs(125)),
        [29, 30, 30, 30]
    );
    let mut node = Node::with_pace(Model::new(Config::default()), Simulated::default(), PACE);
    during(&mut node, SECOND);
    assert_eq!(
        resyncs(&mut node, Duration::from_secs(125)),
        [29, 30, 30, 30]
    );
}

/// A node at rest, whose kernel has rules of iptables-legacy and can be made to fail.
fn failing_at_rest() -> Node<Refusing> {
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

#[test]
fn rules_that_others_change_while_some_are_written_are_put_right_too() {
    let mut node = failing_at_rest();
    let wanted = node.plane().kernel.state().clone();
    node.plane().meanwhile = Some(|known| drop(known.filters.remove(&Family::Ipv6)));
    let filters = &mut node.plane().kernel.state_mut().filters;
    filters.remove(&Family::Ipv4);
    during(&mut node, 2 * SEEN);
    assert!(node.plane().meanwhile.is_none(), "they were written");
    assert!(*node.plane().kernel.state() == wanted);
    let rest = during(&mut node, 3 * SECOND);
    assert_eq!(activities(&rest.ended), [], "all is as it is known");
}

#[test]
fn without_whole_canaries_every_resync_is_needed() {
    type Blinded = fn(Signs) -> Result<Signs, PlaneError>;
    let all: [Blinded; 3] = [
        |_| Err(Cause::Lost.into()),
        |mut signs| {
            signs.virtual_servers = None;
            Ok(signs)
        },
        |mut signs| {
            signs.rules = None;
            Ok(signs)
        },
    ];
    for blinded in all {
        let mut node = failing_at_rest();
        resyncs(&mut node, Duration::from_secs(210));
        node.plane().blinded = Some(blinded);
        let blind = resyncs(&mut node, Duration::from_secs(125));
        assert!((30..=31).contains(&blind[0]), "{blind:?}");
        assert_eq!(blind[1..], [30, 30, 30]);
        node.plane().blinded = None;
        let seeing = resyncs(&mut node, Duration::from_secs(300));
        assert!(seeing[1..].starts_with(&[60, 120]), "{seeing:?}");
    }
}

#[test]
fn canaries_do_not_wait_for_a_look_that_waits() {
    let mut node = failing_at_rest();
    node.plane().is_waiting = true;
    node.plane().kernel.state_mut().filters.clear();
    during(&mut node, 2 * SECOND);
    let state = node.plane().kernel.state_mut();
    assert!(state.filters.is_empty(), "they are still being read");
    state.virtual_servers.clear();
    let seen = during(&mut node, 2 * SECOND * 3);
    assert!(activities(&seen.ended).contains(&Activity::Repair));
    let server = key(Protocol::TCP);
    let is_back = |node: &mut Node<Refusing>| {
        let state = node.plane().kernel.state();
        state.virtual_servers.contains_key(&server)
    };
    assert!(is_back(&mut node));
    // What is read already is read once.
    node.plane().is_waiting = false;
    let seen = during(&mut node, 3 * SECOND);
    assert_eq!(causes(&seen.ended), [DriftCause::Canary]);
    assert!(!node.plane().kernel.state().filters.is_empty());
}

#[test]
fn canaries_do_not_wait_for_a_resync_that_waits() {
    let mut node = failing_at_rest();
    let wanted = node.plane().kernel.state().clone();
    node.plane().is_waiting = true;
    node.controller.hurry(Activity::Resync, node.clock);
    during(&mut node, SECOND);
    // Tables that are read as a whole the resync reads itself.
    for hand in ASKED_FOR.into_iter().chain(REAL_SERVERS) {
        hand.1(node.plane().kernel.state_mut());
        let seen = during(&mut node, 2 * SEEN);
        assert!(*node.plane().kernel.state() == wanted, "{}", hand.0);
        assert_eq!(causes(&seen.ended), [DriftCause::Canary], "{}", hand.0);
    }
    node.plane().is_waiting = false;
    let seen = during(&mut node, SECOND);
    assert_eq!(activities(&seen.ended), [Activity::Resync]);
    assert_eq!(causes(&seen.ended), []);
}

#[test]
fn a_resync_that_finds_drift_brings_the_usual_pace_back() {
    let mut node = failing_at_rest();
    resyncs(&mut node, Duration::from_secs(2_200));
    // Nothing says so: there are as many rules, and they refer to the same sets.
    for filter in node.plane().kernel.state_mut().filters.values_mut() {
        filter.shape.as_mut().unwrap().mark = 0x8000;
    }
    let seen = resyncs(&mut node, Duration::from_secs(700));
    assert!(seen[0] <= 600 && seen[1] == 30, "{seen:?}");
}

#[test]
fn whoever_undoes_it_again_and_again_is_named_once_and_answered_less_often() {
    let mut node = at_rest(PACE);
    let (mut news, mut repairs) = (Vec::new(), 0);
    let end = node.clock.steady + Duration::from_secs(300);
    while node.clock.steady < end {
        if node.plane().state().vips.contains_key(&vip()) {
            node.plane().state_mut().vips.clear();
            // The kernel said who it was.
            for event in node.plane().kernel_events().unwrap() {
                let name = "NetworkManager".to_owned();
                let by = Some(ChangedBy { name, process: 42 });
                let clock = node.clock;
                node.controller
                    .kernel_event(KernelEvent { by, ..event }, clock);
            }
        }
        let seen = during(&mut node, SECOND / 100);
        repairs += activities(&seen.ended).len();
        news.extend(seen.news);
    }
    assert!((10..40).contains(&repairs), "{repairs}");
    let texts: Vec<String> = news.iter().map(ToString::to_string).collect();
    let wanted = "others change the dummy interface again and again: put right 5 times, the last change was made by \
                  NetworkManager (process 42); who undoes it at once is answered less and less often";
    assert_eq!(texts, [wanted]);
    // When they give up, all is right soon, and as it was.
    during(&mut node, Duration::from_secs(31));
    assert!(node.plane().state().vips.contains_key(&vip()));
}
