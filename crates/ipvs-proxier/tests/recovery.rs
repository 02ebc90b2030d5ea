//! Failures and drift on the simulated kernel.

mod web;

use std::ops::RangeInclusive;
use std::time::Instant;

use ipvs_codec::{Destination, Family, Protocol, Scheduler, Service, ServiceKey};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, FilterEntry, FilterSet, Model, Operation};
use ipvs_proxier::{DataPlane as _, Part, Progress, Section, Simulated};

use web::node::Node;
use web::refusing::{NO_RULES, Refusing};
use web::{addr, changes, key, synced, take, web};

#[test]
fn a_failed_operation_hides_no_other_and_is_tried_again() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    node.plane().refuses = Some(|operation| match operation {
        Operation::AddRealServer { real_server, .. } => real_server.addr == addr("10.0.0.1:8080"),
        _ => false,
    });
    web("TCP", &["10.0.0.1", "10.0.0.2"])
        .into_iter()
        .for_each(|change| node.change(change));
    let report = node.sync().unwrap();
    assert_eq!(report.failures.len(), 1);
    let text = report.failures[0].to_string();
    let wanted = "add real server 10.96.0.10:80/TCP -> 10.0.0.1:8080 weight 1 Masq: Device";
    assert!(text.starts_with(wanted), "{text}");
    let state = node.plane().kernel.state().clone();
    assert!(
        state.virtual_servers[&key(Protocol::TCP)]
            .real_server(addr("10.0.0.2:8080"))
            .is_some()
    );
    assert!(
        state.vips.contains_key(&"10.96.0.10".parse().unwrap()),
        "what comes later was done"
    );
    let again = node.sync().unwrap();
    assert_eq!(again.plan.len(), 1, "only what failed: {}", again.plan);
    web("TCP", &["10.0.0.2"])
        .into_iter()
        .for_each(|change| node.change(change));
    assert!(node.sync().unwrap().plan.is_empty());
}

#[test]
fn without_as_many_outcomes_as_operations_everything_is_read_again() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    assert!(node.sync().unwrap().failures.is_empty());
    let changes = web("TCP", &["10.0.0.1"]).into_iter();
    changes.for_each(|change| node.change(change));
    node.plane().loses = 1;
    let report = node.sync().unwrap();
    let failed = report.failures.iter();
    let failed: Vec<&str> = failed.map(|failure| failure.operation.kind()).collect();
    assert_eq!(failed, ["write-rules", "add-member", "add-member"]);
    let text = report.failures[0].to_string();
    assert!(text.contains("2 outcomes for 3 operations"), "{text}");
    assert!(node.known().is_none(), "what was done is not known");
    assert!(node.sync().unwrap().failures.is_empty());
    let state = node.plane().kernel.state().clone();
    assert!(state.virtual_servers.contains_key(&key(Protocol::TCP)));
    assert_eq!(node.known(), Some(&state));
    assert!(node.resync().unwrap().plan.is_empty());
}

/// Each change is tried with what was refused before, in the middle of a resync.
#[test]
fn what_is_refused_again_and_again_keeps_no_resync_from_its_end() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    let change = |node: &mut Node<Refusing>, endpoints: &[&str]| {
        let changes = web("TCP", endpoints).into_iter();
        changes.for_each(|change| node.change(change));
        node.sync().unwrap()
    };
    assert!(change(&mut node, &["10.0.0.2"]).failures.is_empty());
    node.plane().refuses = Some(|operation| match operation {
        Operation::AddRealServer { real_server, .. } => real_server.addr == addr("10.0.0.1:8080"),
        _ => false,
    });
    let mut done = 0;
    for step in 0..1_000 {
        let other = ["10.0.0.3", "10.0.0.4"][step % 2];
        let report = change(&mut node, &["10.0.0.1", "10.0.0.2", other]);
        assert_eq!(report.failures.len(), 1, "{}", report.plan);
        done += usize::from(matches!(node.resync_some(), Ok(Progress::Done(_))));
    }
    assert!(done > 1, "no resync came to its end");
}

#[test]
fn row_098_and_152_drift_is_repaired() {
    let mut node = synced("TCP", &["10.0.0.1"]);
    let wanted = node.plane().state().clone();
    let state = node.plane().state_mut();
    state.virtual_servers.clear();
    state.vips.clear();
    let cluster_ip = state.sets.entry((FilterSet::ClusterIp, Family::Ipv4));
    cluster_ip.or_default().clear();
    let node_port = state.sets.entry((FilterSet::NodePortTcp, Family::Ipv4));
    let entry = FilterEntry::NodePortTcp(Family::Ipv4, 1);
    node_port.or_default().insert(entry);
    state.filters.clear();
    assert!(
        node.sync().unwrap().plan.is_empty(),
        "a sync without a change reads nothing"
    );
    assert!(node.resync().unwrap().failures.is_empty());
    let repaired = node.plane().state();
    assert_eq!(repaired.sets, wanted.sets);
    assert_eq!(repaired.virtual_servers, wanted.virtual_servers);
    assert_eq!(
        (&repaired.vips, &repaired.filters),
        (&wanted.vips, &wanted.filters)
    );
}

#[test]
fn row_128_and_q8_kept_a_weight_that_others_set_stays() {
    let mut node = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    let key = key(Protocol::TCP);
    let by_hand = Operation::SetRealServer {
        virtual_server: key,
        real_server: Destination {
            weight: 5,
            ..Destination::new(addr("10.0.0.1:8080"))
        },
    };
    assert!(node.plane().apply(&[by_hand])[0].is_ok());
    for _ in 0..2 {
        assert!(node.resync().unwrap().plan.is_empty());
    }
    let server = node.plane().state().virtual_servers[&key].clone();
    assert_eq!(server.real_server(addr("10.0.0.1:8080")).unwrap().weight, 5);
    // It is still ours: it leaves with its endpoint, and a restart sets its weight.
    let plane = std::mem::take(node.plane());
    let mut restarted = Node::new(Model::new(Config::default()), plane);
    let done = take(&mut restarted, web("TCP", &["10.0.0.1"]));
    assert!(done[0].contains("set real server") && done[0].contains("weight 1"));
}

#[test]
fn a_resync_that_cannot_read_the_rules_repairs_all_else() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    node.plane().unreadable = Some(|part| part == Part::Rules(Family::Ipv4));
    let change = |node: &mut Node<Refusing>| {
        let changes = web("TCP", &["10.0.0.1"]).into_iter();
        changes.for_each(|change| node.change(change));
    };
    change(&mut node);
    assert!(node.sync().is_err(), "nothing is known yet");
    assert!(node.plane().kernel.state().virtual_servers.is_empty());
    node.plane().unreadable = None;
    assert!(node.sync().unwrap().succeeded());
    let wanted = node.plane().kernel.state().clone();
    node.plane().unreadable = Some(|part| part == Part::Rules(Family::Ipv4));
    let state = node.plane().kernel.state_mut();
    state.virtual_servers.clear();
    state.vips.clear();
    let report = node.resync().unwrap();
    let unread = report.unread().map(|unread| unread.section);
    let unread: Vec<Section> = unread.collect();
    assert_eq!(unread, [Section::Rules(Family::Ipv4)]);
    assert!(report.failures.is_empty() && !report.succeeded());
    assert_eq!(*node.plane().kernel.state(), wanted);
    node.plane().unreadable = None;
    assert!(node.resync().unwrap().succeeded());
}

/// A node of one family is blind to the other.
#[test]
fn row_131_virtual_servers_of_the_other_family_stay() {
    let config = Config {
        families: vec![Family::Ipv4],
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), Simulated::default());
    let key = |ip: &str| ServiceKey::endpoint(Protocol::TCP, ip.parse().unwrap(), 80);
    for ip in ["4.4.4.4", "fd00::4"] {
        let service = Service::new(key(ip), Scheduler::RR);
        let add = [Operation::AddVirtualServer { service }];
        assert!(node.plane().apply(&add)[0].is_ok());
    }
    assert!(
        take(&mut node, Vec::new()).contains(&"remove virtual server 4.4.4.4:80/TCP".to_owned())
    );
    let state = node.plane().state();
    assert!(state.virtual_servers.contains_key(&key("fd00::4")));
    assert!(!state.virtual_servers.contains_key(&key("4.4.4.4")));
}

/// What is said again is looked at, and nothing is read or written for it.
#[test]
fn row_151_a_resync_of_the_same_objects_costs_nothing() {
    let mut node = synced("TCP", &["10.244.0.1"]);
    let (messages, reads) = (node.plane().messages(), node.plane().reads());
    assert_eq!(take(&mut node, web("TCP", &["10.244.0.1"])), [""; 0]);
    assert_eq!(
        (node.plane().messages(), node.plane().reads()),
        (messages, reads)
    );
}

#[test]
fn row_034_a_service_that_is_gone_leaves_nothing() {
    let mut node = synced("TCP", &["10.0.0.1"]);
    let name = ObjectName::new("default", "web");
    let done = take(&mut node, vec![Change::ServiceGone(name)]);
    let order: Vec<&str> = done
        .iter()
        .map(|operation| operation.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        order,
        ["remove", "unbind", "remove", "remove", "write"],
        "{done:?}"
    );
    let state = node.plane().state();
    assert!(
        state.virtual_servers.is_empty()
            && state.vips.is_empty()
            && state.members().next().is_none()
    );
}

#[test]
fn row_115_rules_that_cannot_be_written_keep_what_is_there() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    web("TCP", &["10.0.0.1"])
        .into_iter()
        .for_each(|change| node.change(change));
    assert!(node.sync().unwrap().failures.is_empty());
    let before = node.plane().kernel.state().clone();
    node.plane().refuses = Some(NO_RULES);
    let name = ObjectName::new("default", "web");
    node.change(Change::ServiceGone(name));
    let other = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new"},
        "spec": {"clusterIP": "10.96.0.11", "externalIPs": ["203.0.113.5"], "ports": [{"port": 81}]}}"#;
    changes(other)
        .into_iter()
        .for_each(|change| node.change(change));
    let report = node.sync().unwrap();
    assert_eq!(report.failures.len(), 1);
    assert!(!report.is_healthy());
    let state = node.plane().kernel.state();
    assert_eq!(state.filters, before.filters);
    for vip in before.vips.keys() {
        assert!(state.vips.contains_key(vip), "{vip} is unbound");
    }
    for key in before.virtual_servers.keys() {
        assert!(state.virtual_servers.contains_key(key), "{key} is deleted");
    }
    assert!(before.members().all(|member| state.has_member(&member)));
    assert!(node.known().is_none(), "not synced");
}

#[test]
fn q7_fixed_rules_that_could_not_be_written_are_tried_again() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    web("TCP", &["10.0.0.1"])
        .into_iter()
        .for_each(|change| node.change(change));
    node.plane().refuses = Some(NO_RULES);
    assert_eq!(node.sync().unwrap().failures.len(), 2, "both families");
    let state = node.plane().kernel.state();
    assert!(
        state.vips.is_empty(),
        "without the filter, host ports would answer on the VIP"
    );
    assert_eq!(state.virtual_servers.len(), 1);
    node.plane().refuses = None;
    assert!(node.sync().unwrap().failures.is_empty());
    assert_eq!(node.plane().kernel.state().vips.len(), 1);
    assert!(node.sync().unwrap().plan.is_empty());
}

#[test]
fn an_address_that_the_filter_does_not_know_is_not_bound() {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    node.plane().refuses = Some(|operation| match operation {
        Operation::AddMember { member } => member.set() == FilterSet::Vip,
        _ => false,
    });
    web("TCP", &["10.0.0.1"])
        .into_iter()
        .for_each(|change| node.change(change));
    assert_eq!(node.sync().unwrap().failures.len(), 1);
    assert!(node.plane().kernel.state().vips.is_empty());
    node.plane().refuses = None;
    assert!(node.sync().unwrap().failures.is_empty());
    assert_eq!(node.plane().kernel.state().vips.len(), 1);
}

/// What is half read is neither forgotten nor taken for all there is when something else happens in between.
/// 65,535 entries are there, one of three more has room. What has none waits, and comes as soon as there is some.
#[test]
fn what_a_full_set_has_no_room_for_waits_and_all_else_is_served() {
    let ports = |ports: RangeInclusive<u16>| -> String {
        let ports =
            ports.map(|port| format!(r#"{{"name": "p{port}", "port": {port}, "targetPort": 80}}"#));
        ports.collect::<Vec<_>>().join(",")
    };
    let service = |name: &str, ip: &str, ports: &str| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}},
                 "spec": {{"clusterIP": "{ip}", "ports": [{ports}]}}}}"#
        ))
    };
    let mut node = Node::new(Model::new(Config::default()), Simulated::default());
    take(&mut node, service("many", "10.97.0.1", &ports(1..=65_535)));
    let few = service("few", "10.96.0.10", &ports(80..=82));
    few.into_iter().for_each(|change| node.change(change));
    for again in [false, true] {
        let report = node.sync().unwrap();
        assert_eq!(report.failures.len(), 2, "{:?}", report.failures);
        assert!(report.is_healthy(), "the node itself is well");
        for failure in report.failures {
            let text = failure.to_string();
            assert!(text.contains("cluster-ip"), "{text}");
            assert!(text.contains("the set is full"), "{text}");
        }
        let done = report.plan.len();
        assert!(!again || done == 2, "{}", report.plan);
        assert_eq!(node.plane().state().virtual_servers.len(), 65_536);
        assert!(node.known().is_some(), "a refusal leaves it as it was");
    }
    // Others go on meanwhile, and nothing is read for them.
    let slice = r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "many-1", "labels": {"kubernetes.io/service-name": "many"}},
        "ports": [{"name": "p1", "port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}"#;
    let slice = changes(slice);
    slice.into_iter().for_each(|change| node.change(change));
    let report = node.sync().unwrap();
    assert_eq!(report.failures.len(), 2);
    assert_eq!(report.plan.len(), 3, "{}", report.plan);
    let gone = ObjectName::new("default", "many");
    node.change(Change::ServiceGone(gone));
    // What comes goes before what leaves, so that nothing is without: there is room after it.
    assert_eq!(node.sync().unwrap().failures.len(), 2);
    take(&mut node, vec![]);
    assert_eq!(node.plane().state().virtual_servers.len(), 3);
}

#[test]
fn a_look_at_draining_real_servers_leaves_a_first_reading_alone() {
    for parts in 0..50 {
        let mut node = Node::new(Model::new(Config::default()), Refusing::default());
        node.plane().is_silent = true;
        let endpoints: [&[&str]; 3] = [&["10.0.0.1", "10.0.0.2"], &["10.0.0.1"], &["10.0.0.3"]];
        for some in endpoints {
            web("TCP", some)
                .into_iter()
                .for_each(|change| node.change(change));
            let report = node.sync().unwrap();
            assert_eq!(report.failures.is_empty(), node.known().is_some());
            node.plane().refuses =
                Some(|operation| matches!(operation, Operation::AddRealServer { .. }));
        }
        assert!(node.known().is_none());
        node.plane().refuses = None;
        let mut report = None;
        for part in 0.. {
            if part == parts {
                assert!(node.drain(Instant::now()).unwrap().plan.is_empty());
            }
            report = node.resync_some().unwrap().done();
            if report.is_some() {
                break;
            }
        }
        let report = report.unwrap();
        assert!(report.failures.is_empty(), "{parts}: {:?}", report.failures);
        let plan = report.plan.to_string();
        assert!(plan.lines().count() <= 1, "{parts}: {plan}");
    }
}
