//! Rows 81 to 94: traffic policies, topology, terminating endpoints.

use crate::fixture::*;
use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_model::WithoutLocal;
use ipvs_model::input::Change;

#[test]
fn row_085_and_086_terminating_endpoints() {
    let going = |ip: &str, serving: bool| {
        format!(
            r#"{{"addresses": ["{ip}"], "conditions": {{"ready": false, "serving": {serving}, "terminating": true}}}}"#
        )
    };
    let (serving, dead) = (going("10.244.0.8", true), going("10.244.0.9", false));
    let mut node = Node::with([s(PLAIN), slice(&[E1, &serving, &dead])]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    node.change(slice(&[&serving, &dead]));
    let weights = |node: &Node| {
        let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
        let servers = node.known.virtual_servers[&key].real_servers().iter();
        servers
            .map(|rs| format!("{} {}", rs.addr.ip(), rs.weight))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        weights(&node),
        ["10.244.0.5 0", "10.244.0.8 1"],
        "the ready one drains"
    );
}

#[test]
fn row_081_to_083_internal_policy_local() {
    let local = r#""internalTrafficPolicy": "Local","#;
    let node = Node::with([node_port("TCP", local), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    assert_eq!(node.real_servers("192.168.1.10", 30080).len(), 2);
    let pure = Node::with([
        with_spec(r#""internalTrafficPolicy": "Local""#, ""),
        slice(&[E2]),
    ]);
    assert!(pure.real_servers("10.96.0.10", 80).is_empty());
    assert_eq!(pure.model.desired().without_local(Family::Ipv4).internal, 1);
    let q1 = Node::with([node_port("TCP", local), slice(&[E2]), node_addresses()]);
    assert_eq!(q1.real_servers("10.96.0.10", 80), ["10.244.3.9:8080"]);
}

#[test]
fn row_084_without_endpoints_no_policy_lacks_local_ones() {
    let both = r#""externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local","#;
    let mut node = Node::with([node_port("TCP", both), node_addresses()]);
    assert_eq!(
        node.model.desired().without_local(Family::Ipv4),
        WithoutLocal::default()
    );
    node.change(slice(&[E2]));
    let one_each = WithoutLocal {
        internal: 1,
        external: 1,
    };
    assert_eq!(node.model.desired().without_local(Family::Ipv4), one_each);
    node.change(slice(&[E1, E2]));
    assert_eq!(
        node.model.desired().without_local(Family::Ipv4),
        WithoutLocal::default()
    );
}

#[test]
fn row_087_local_terminating_beside_remote_ready() {
    let going = E1.replace(
        r#""ready": true"#,
        r#""ready": false, "serving": true, "terminating": true"#,
    );
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([
        node_port("TCP", local),
        slice(&[&going, E2]),
        node_addresses(),
    ]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.3.9:8080"]);
}

#[test]
fn row_088_to_092_topology_hints() {
    let zone = |name: &str| format!(r#""forZones": [{{"name": "{name}"}}]"#);
    let (a, b) = (hinted(E1, &zone("a")), hinted(E2, &zone("b")));
    let served = |node_object: Vec<Change>, endpoints: &[&str]| {
        Node::with([s(PLAIN), slice(endpoints), node_object])
            .real_servers("10.96.0.10", 80)
            .len()
    };
    assert_eq!(served(n1("a"), &[&a, &b]), 1, "row 88");
    assert_eq!(served(n1("a"), &[&a, E2]), 2, "row 89: one has no hint");
    assert_eq!(served(n1("c"), &[&a, &b]), 2, "row 90: none for this zone");
    assert_eq!(
        served(Vec::new(), &[&a, &b]),
        2,
        "row 91: the zone is not known"
    );
    let node = |zones: &str, name: &str| format!(r#"{zones}, "forNodes": [{{"name": "{name}"}}]"#);
    let (here, there) = (
        hinted(E1, &node(&zone("b"), "n1")),
        hinted(E2, &node(&zone("b"), "n2")),
    );
    assert_eq!(
        served(n1("b"), &[&here, &there]),
        1,
        "row 92: the node comes before the zone"
    );
    let elsewhere = hinted(E1, &node(&zone("b"), "n3"));
    assert_eq!(
        served(n1("b"), &[&elsewhere, &there]),
        2,
        "row 92: none for this node: the zone"
    );
}

#[test]
fn row_093_another_zone_is_followed() {
    let zone = |name: &str| format!(r#""forZones": [{{"name": "{name}"}}]"#);
    let mut node = Node::with([
        s(PLAIN),
        slice(&[&hinted(E1, &zone("a")), &hinted(E2, &zone("b"))]),
        n1("a"),
    ]);
    let done = node.change(n1("b"));
    assert!(
        done.contains(
            &"add real server 10.96.0.10:80/TCP -> 10.244.3.9:8080 weight 1 Masq".to_owned()
        ),
        "{done:?}"
    );
}

#[test]
fn row_094_external_policy_local_ignores_hints() {
    let hint = |endpoint: &str| hinted(endpoint, r#""forZones": [{"name": "b"}]"#);
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([
        node_port("TCP", local),
        slice(&[&hint(E1), &hint(E2)]),
        node_addresses(),
        n1("b"),
    ]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
}
