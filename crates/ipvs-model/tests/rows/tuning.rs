//! What is beyond kube-proxy: annotations, and addresses and load balancers that the node is told to leave alone.

use crate::fixture::*;
use ipvs_codec::{ForwardMethod, Protocol, Scheduler, ServiceFlags, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Config, FilterSet, NeverBind, SkippedLoadBalancers};

/// Service `ns/s` with these annotations.
fn annotated(annotations: &str, spec: &str, status: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns",
             "annotations": {{{annotations}}}}}, "spec": {{{PLAIN}{spec}}}, "status": {{{status}}}}}"#
    ))
}

fn problems(node: &Node) -> Vec<String> {
    let problems = node.model.desired().problems();
    problems
        .map(|(service, problem)| format!("{service}: {problem}"))
        .collect()
}

fn scheduled(annotations: &str) -> (Scheduler, ServiceFlags) {
    let node = Node::with([annotated(annotations, "", "")]);
    assert_eq!(problems(&node), [""; 0]);
    let service = node.service(Protocol::TCP, "10.96.0.10", 80).unwrap();
    (service.scheduler, service.flags)
}

#[test]
fn a_service_chooses_its_scheduler_in_either_spelling() {
    let none = ServiceFlags::empty();
    assert_eq!(
        scheduled(r#""ipvs-proxier/scheduler": "lc""#),
        (Scheduler::LC, none)
    );
    assert_eq!(
        scheduled(
            r#""kube-router.io/service.scheduler": "sh", "kube-router.io/service.schedflags": "flag-1,flag-2""#
        ),
        (Scheduler::SH, ServiceFlags::SCHED_1 | ServiceFlags::SCHED_2)
    );
    assert_eq!(
        scheduled(r#""ipvs-proxier/scheduler": "mh""#),
        (Scheduler::MH, ServiceFlags::SCHED_2),
        "as for the whole node"
    );
    assert_eq!(
        scheduled(
            r#""ipvs-proxier/scheduler": "mh", "ipvs-proxier/scheduler-flags": "mh-fallback""#
        ),
        (Scheduler::MH, ServiceFlags::SCHED_1)
    );
}

#[test]
fn an_impossible_annotation_is_told_and_ignored() {
    let bad = r#""ipvs-proxier/scheduler": "a name too long to be one", "ipvs-proxier/one-packet": "yes",
        "ipvs-proxier/drain-deadline": "30s""#;
    let node = Node::with([annotated(bad, "", "")]);
    assert_eq!(
        problems(&node),
        [
            "ns/s: metadata.annotations[ipvs-proxier/scheduler]: a name too long to be one: \
             a scheduler is up to 15 letters; ignored",
            "ns/s: metadata.annotations[ipvs-proxier/one-packet]: yes: true or false; ignored",
        ]
    );
    let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
    let deadline = node.model.desired().drain_deadline(&key);
    assert_eq!(deadline.unwrap().as_secs(), 30, "what is right counts");
}

#[test]
fn a_scheduler_that_the_kernel_lacks_is_replaced_by_the_nodes() {
    let mut node = Node::with([annotated(r#""ipvs-proxier/scheduler": "nope""#, "", "")]);
    let done = node.change(vec![Change::NoScheduler("nope".parse().unwrap())]);
    assert_eq!(done, ["set virtual server 10.96.0.10:80/TCP scheduler rr"]);
    assert!(problems(&node)[0].contains("modprobe ip_vs_nope"));
}

#[test]
fn each_packet_of_udp_by_itself() {
    let both = r#""clusterIP": "10.96.0.10", "ports": [
        {"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]"#;
    let service = changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s",
             "annotations": {{"ipvs-proxier/one-packet": "true"}}}}, "spec": {{{both}}}}}"#
    ));
    let node = Node::with([service]);
    let flags = |protocol| node.service(protocol, "10.96.0.10", 53).unwrap().flags;
    assert_eq!(flags(Protocol::UDP), ServiceFlags::ONE_PACKET);
    assert_eq!(flags(Protocol::TCP), ServiceFlags::empty());
}

#[test]
fn another_forwarding_method_needs_the_same_port_and_keeps_the_client() {
    let external = r#", "externalIPs": ["203.0.113.5"]"#;
    let direct = r#""ipvs-proxier/forwarding-method": "direct""#;
    let methods = |node: &Node, ip: &str| -> Vec<ForwardMethod> {
        let key = ServiceKey::endpoint(Protocol::TCP, ip.parse().unwrap(), 80);
        let servers = node.known.virtual_servers[&key].real_servers().iter();
        servers.map(|rs| rs.forward).collect()
    };
    let same = slice_of("s-1", r#"{"name": "p", "port": 80}"#, &[E1, E2]);
    let node = Node::with([annotated(direct, external, ""), same]);
    assert_eq!(methods(&node, "203.0.113.5"), [ForwardMethod::DIRECT; 2]);
    assert_eq!(methods(&node, "10.96.0.10"), [ForwardMethod::MASQUERADE; 2]);
    assert_eq!(
        node.members(FilterSet::ExternalIpLocal),
        ["203.0.113.5:80/TCP"],
        "no mark for masquerading"
    );
    let node = Node::with([annotated(direct, external, ""), slice(&[E1])]);
    assert_eq!(methods(&node, "203.0.113.5"), [ForwardMethod::MASQUERADE]);
    assert_eq!(problems(&node).len(), 1, "{:?}", problems(&node));
}

#[test]
fn weights_come_from_the_service_or_from_nodes() {
    let weights = |node: &Node| -> Vec<u32> {
        let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
        let servers = node.known.virtual_servers[&key].real_servers().iter();
        servers.map(|rs| rs.weight).collect()
    };
    let own = r#""ipvs-proxier/weights": "n1=3, n2=0""#;
    let node = Node::with([annotated(own, "", ""), slice(&[E1, E2])]);
    assert_eq!(weights(&node), [3, 0]);

    let n2 = |weight: u32| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n2",
                 "labels": {{"ipvs-proxier/weight": "{weight}"}}}}}}"#
        ))
    };
    let by_node = r#""ipvs-proxier/weigh-by-node": "true""#;
    let mut node = Node::with([annotated(by_node, "", ""), slice(&[E1, E2]), n2(7)]);
    assert_eq!(weights(&node), [1, 7]);
    let done = node.change(n2(5));
    assert_eq!(
        done,
        ["set real server 10.96.0.10:80/TCP -> 10.244.3.9:8080 weight 5 Masq"]
    );
    node.change(vec![Change::NodeGone("n2".into())]);
    assert_eq!(weights(&node), [1, 1]);
    let plain = Node::with([s(PLAIN), slice(&[E1, E2]), n2(7)]);
    assert_eq!(weights(&plain), [1, 1], "nobody asked");
}

#[test]
fn some_load_balancers_are_left_alone() {
    let served = |config: Config, annotations: &str| {
        let class = format!(r#", {LOAD_BALANCER}, "loadBalancerClass": "example.org/cloud""#);
        let node = Node::new(config, [annotated(annotations, &class, INGRESS)]);
        assert!(node.service(Protocol::TCP, "10.96.0.10", 80).is_some());
        node.service(Protocol::TCP, "198.18.0.7", 80).is_some()
    };
    let skipped = |skipped_load_balancers| Config {
        skipped_load_balancers,
        ..config()
    };
    assert!(served(config(), ""));
    assert!(!served(
        config(),
        r#""ipvs-proxier/skip-load-balancer": "true""#
    ));
    let networks = vec!["198.18.0.0/15".parse().unwrap()];
    let by_network = SkippedLoadBalancers {
        networks,
        ..SkippedLoadBalancers::default()
    };
    assert!(!served(skipped(by_network), ""));
    let by_class = SkippedLoadBalancers {
        classes: vec!["example.org/cloud".into()],
        ..SkippedLoadBalancers::default()
    };
    assert!(!served(skipped(by_class), ""));
}

#[test]
fn protected_addresses_are_neither_bound_nor_served() {
    let n2 = |ip: &str| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n2"}},
                 "status": {{"addresses": [{{"type": "InternalIP", "address": "{ip}"}}]}}}}"#
        ))
    };
    let claims = with_spec(
        r#""externalIPs": ["192.168.1.11", "192.168.1.1", "203.0.113.5"]"#,
        "",
    );
    let gateways = vec![Change::Gateways(vec!["192.168.1.1".parse().unwrap()])];
    let never_bind = NeverBind {
        networks: vec!["203.0.113.0/24".parse().unwrap()],
        nodes: true,
        gateways: true,
    };
    let config = Config {
        never_bind,
        ..config()
    };
    let mut node = Node::new(config, [claims.clone(), n2("192.168.1.11"), gateways]);
    assert_eq!(node.vips(), ["10.96.0.10"]);
    assert_eq!(node.known.virtual_servers.len(), 1);
    assert_eq!(
        problems(&node),
        [
            "ns/s: 192.168.1.11 is another node's; not programmed",
            "ns/s: 192.168.1.1 is a gateway of this node; not programmed",
            "ns/s: 203.0.113.5 is never bound here; not programmed",
        ]
    );
    node.change(n2("192.168.1.12"));
    assert_eq!(node.vips(), ["10.96.0.10", "192.168.1.11"]);
    node.change(n2("192.168.1.11"));
    assert_eq!(node.vips(), ["10.96.0.10"]);
    let unasked = Node::with([claims, n2("192.168.1.11")]);
    assert_eq!(unasked.vips().len(), 4, "kube-proxy binds them all");
}

#[test]
fn nodes_begin_with_different_real_servers() {
    let endpoints: Vec<String> = (1..=9)
        .map(|last| format!(r#"{{"addresses": ["10.244.0.{last}"]}}"#))
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let first = |name: &str, stagger| {
        let config = Config {
            node_name: name.into(),
            stagger,
            ..config()
        };
        let mut node = Node::new(config, []);
        let done = node.change([s(PLAIN), slice(&endpoints)].concat());
        let added: Vec<String> = done
            .into_iter()
            .filter(|operation| operation.starts_with("add real server"))
            .collect();
        assert_eq!(added.len(), 9);
        added[0].clone()
    };
    let names: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
    let firsts: std::collections::BTreeSet<String> =
        names.iter().map(|name| first(name, true)).collect();
    assert!(firsts.len() > 4, "{firsts:?}");
    assert_eq!(first("node-1", true), first("node-1", true));
    assert!(first("node-1", false).contains("10.244.0.1:8080"));
}
