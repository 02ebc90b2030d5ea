//! Section 13 of the specification: where kube-proxy surprises, and whether it is copied.

use crate::fixture::*;
use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Config, FilterSet, Foreign, Model, Ownership, Vip, VirtualServer};

#[test]
fn q1_kept_internal_policy_local_falls_back_where_a_service_is_reached_from_outside() {
    let local = r#""internalTrafficPolicy": "Local","#;
    let node = Node::with([node_port("TCP", local), slice(&[E2]), node_addresses()]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.3.9:8080"]);
}

#[test]
fn q2_fixed_a_node_without_addresses_keeps_its_health_check_port() {
    let spec = format!(
        r#"{LOAD_BALANCER}, "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000"#
    );
    let node = Node::with([with_spec(&spec, INGRESS), slice(&[E1])]);
    assert_eq!(node.members(FilterSet::HealthCheckPort), ["IPv4:32000"]);
}

#[test]
fn q4_fixed_single_addresses_as_source_ranges_do_not_flap() {
    let mut node = ranges(r#""9.9.9.9/32""#);
    assert_eq!(
        node.members(FilterSet::SourceRange),
        ["198.18.0.7:80/TCP from 9.9.9.9/32"]
    );
    assert!(node.model.plan_everything(&node.known).is_empty());
}

#[test]
fn q11_kept_servers_come_before_addresses_and_leave_before_members() {
    let mut node = Node::with([]);
    let added = node.change([s(PLAIN), slice(&[E1])].concat());
    let position = |done: &[String], words: &str| {
        let found = done
            .iter()
            .position(|operation| operation.starts_with(words));
        found.unwrap_or_else(|| panic!("no {words} in {done:?}"))
    };
    let order = ["write", "add member", "add virtual", "add real", "bind VIP"];
    assert!(order.map(|words| position(&added, words)).is_sorted());
    let removed = node.change(vec![Change::ServiceGone(
        ipvs_model::input::ObjectName::new("ns", "s"),
    )]);
    let order = ["remove virtual", "unbind VIP", "remove member", "write"];
    assert!(order.map(|words| position(&removed, words)).is_sorted());
}

#[test]
fn q13_kept_node_ports_are_not_served_on_loopback() {
    let node = Node::with([node_port("TCP", ""), node_addresses()]);
    assert!(node.service(Protocol::TCP, "127.0.0.1", 30080).is_none());
}

fn foreign_server(node: &mut Node, addr: &str) -> ServiceKey {
    let key = ServiceKey::endpoint(Protocol::UDP, addr.parse().unwrap(), 56);
    let service = ipvs_codec::Service::new(key, "rr".parse().unwrap());
    let server = VirtualServer::new(service, Vec::new());
    node.known.virtual_servers.insert(key, server.into());
    let address = addr.parse().unwrap();
    node.known
        .vips
        .insert(address, vec![Vip::Address { address }]);
    key
}

#[test]
fn q12_kept_excluded_networks_protect_virtual_servers_and_not_addresses() {
    let config = Config {
        exclude_cidrs: vec!["4.4.4.4/32".parse().unwrap()],
        ..config()
    };
    let mut node = Node::new(config, [s(PLAIN)]);
    foreign_server(&mut node, "4.4.4.4");
    foreign_server(&mut node, "4.4.4.5");
    let plan = node.model.plan_everything(&node.known).to_string();
    assert_eq!(
        plan,
        "remove virtual server 4.4.4.5:56/UDP\nunbind VIP 4.4.4.4 (address)\nunbind VIP 4.4.4.5 (address)\n"
    );
}

#[test]
fn what_others_made_may_be_kept_and_ours_goes_also_after_a_restart() {
    let config = Config {
        foreign: Foreign::Keep,
        ..config()
    };
    let node_port = node_port("TCP", "");
    let mut node = Node::new(config.clone(), [node_port, slice(&[E1]), node_addresses()]);
    let theirs = foreign_server(&mut node, "192.168.1.10");
    assert!(node.model.plan_everything(&node.known).is_empty());
    // Restarted, and the Service is gone meanwhile.
    let mut restarted = Model::new(config);
    let plan = restarted.plan_everything(&node.known).to_string();
    for ours in [
        "10.96.0.10:80/TCP",
        "192.168.1.10:30080/TCP",
        "VIP 10.96.0.10",
    ] {
        assert!(plan.contains(ours), "{ours} in\n{plan}");
    }
    assert!(!plan.contains(&theirs.to_string()), "{plan}");
    assert!(!plan.contains("VIP 192.168.1.10"), "{plan}");
    // Clean-up asks the same.
    let ownership = Ownership::of(restarted.config(), &node.known);
    let ours = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
    assert!(ownership.may_remove(&ours) && !ownership.may_remove(&theirs));
    // An ordinary deletion.
    let gone = ipvs_model::input::ObjectName::new("ns", "s");
    node.model.change(Change::ServiceGone(gone));
    let plan = node.model.plan(&node.known);
    node.apply(&plan);
    assert_eq!(
        node.known.virtual_servers.keys().collect::<Vec<_>>(),
        [&theirs]
    );
}

/// A Service of this name that was created then, with endpoints of its own, and this external address.
fn external(name: &str, created: &str, cluster_ip: &str, external_ip: &str) -> Vec<Change> {
    let metadata =
        format!(r#""name": "{name}", "namespace": "ns", "creationTimestamp": "{created}""#);
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{{metadata}}},
             "spec": {{"clusterIP": "{cluster_ip}", "externalIPs": ["{external_ip}"], "ports": [{{"name": "p", "port": 80}}]}}}}"#
    ))
}

/// A slice `moves` with one endpoint, of this Service.
fn moving(service: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "moves", "namespace": "ns", "labels": {{"kubernetes.io/service-name": "{service}"}}}},
             "ports": [{PORTS}], "endpoints": [{E1}]}}"#
    ))
}

/// The real servers that are wanted; those that drain are not.
fn wanted(node: &Node, ip: &str) -> Vec<String> {
    let key = ServiceKey::endpoint(Protocol::TCP, ip.parse().unwrap(), 80);
    let server = node.model.desired().virtual_server(&key).unwrap();
    let servers = server.real_servers().iter();
    servers.map(|server| server.addr.to_string()).collect()
}

/// kube-proxy notes a slice under the Service that its label names, and does not look at the one before: there its endpoints
/// stay.
#[test]
fn q17_fixed_a_slice_that_moves_to_another_service_leaves_the_first_at_once() {
    let old = "2026-01-01T00:00:00Z";
    let (a, b) = (
        external("a", old, "10.96.0.1", "203.0.113.1"),
        external("b", old, "10.96.0.2", "203.0.113.2"),
    );
    let mut node = Node::with([a, b, moving("a")]);
    let at = |node: &Node| ["10.96.0.1", "10.96.0.2"].map(|ip| wanted(node, ip));
    let server = vec!["10.244.0.5:8080".to_owned()];
    assert_eq!(at(&node), [server.clone(), vec![]]);
    node.change(moving("b"));
    assert_eq!(at(&node), [vec![], server.clone()]);
    node.change(moving("a"));
    assert_eq!(at(&node), [server, vec![]], "and back");
    let gone = ipvs_model::input::ObjectName::new("ns", "moves");
    node.change(vec![Change::EndpointSliceGone(gone)]);
    assert!(at(&node).concat().is_empty());
}

/// kube-proxy makes it of the one that comes last in its map of Services, which has no order.
#[test]
fn q18_fixed_an_external_address_and_port_that_two_services_claim_stays_with_the_older() {
    let shared = "203.0.113.5";
    let older = || external("z", "2026-01-01T00:00:00Z", "10.96.0.1", shared);
    let younger = || external("a", "2026-02-01T00:00:00Z", "10.96.0.2", shared);
    for order in [[older(), younger()], [younger(), older()]] {
        let mut node = Node::with(order.into_iter().chain([moving("z")]));
        let at = |node: &Node| wanted(node, shared);
        assert_eq!(at(&node), ["10.244.0.5:8080"]);
        node.change(younger());
        assert_eq!(
            at(&node),
            ["10.244.0.5:8080"],
            "also where the younger changes"
        );
        let desired = node.model.desired();
        let problems: Vec<String> = desired
            .problems()
            .map(|(service, problem)| format!("{service}: {problem}"))
            .collect();
        assert_eq!(
            problems,
            ["ns/a: 203.0.113.5:80/TCP is ns/z's: the older service keeps it"]
        );
        let gone = ipvs_model::input::ObjectName::new("ns", "z");
        node.change(vec![Change::ServiceGone(gone)]);
        assert_eq!(at(&node), [""; 0], "the younger has it, without endpoints");
    }
}
