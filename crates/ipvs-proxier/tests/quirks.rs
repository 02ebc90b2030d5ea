//! Differences from kube-proxy that show in the kernel.

mod web;

use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Config, Model};
use ipvs_proxier::Simulated;

use web::node::Node;
use web::{changes, take};

fn service(name: &str, created: &str, cluster_ip: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "creationTimestamp": "{created}"}},
             "spec": {{"clusterIP": "{cluster_ip}", "externalIPs": ["203.0.113.5"], "ports": [{{"port": 80}}]}}}}"#
    ))
}

fn slice(name: &str, service: &str, endpoint: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "{name}", "labels": {{"kubernetes.io/service-name": "{service}"}}}},
             "ports": [{{"port": 8080}}], "endpoints": [{{"addresses": ["{endpoint}"]}}]}}"#
    ))
}

/// Services `old` (10.96.0.1, with 10.244.0.1) and `young` (10.96.0.2, with 10.244.0.2), which claim the same external address.
fn node() -> Node<Simulated> {
    let mut node = Node::new(Model::new(Config::default()), Simulated::default());
    let objects = [
        service("young", "2026-02-01T00:00:00Z", "10.96.0.2"),
        service("old", "2026-01-01T00:00:00Z", "10.96.0.1"),
        slice("one", "old", "10.244.0.1"),
        slice("two", "young", "10.244.0.2"),
    ];
    take(&mut node, objects.concat());
    node
}

/// The real servers that new connections go to.
fn servers(node: &mut Node<Simulated>, address: [u8; 4]) -> Vec<String> {
    let key = ServiceKey::endpoint(Protocol::TCP, address.into(), 80);
    let known = &node.plane().state().virtual_servers[&key];
    let used = known
        .real_servers()
        .iter()
        .filter(|server| server.weight > 0);
    used.map(|server| server.addr.to_string()).collect()
}

#[test]
fn q17_fixed_a_slice_that_moves_to_another_service_leaves_the_first_at_once() {
    let mut node = node();
    assert_eq!(servers(&mut node, [10, 96, 0, 1]), ["10.244.0.1:8080"]);
    take(&mut node, slice("one", "young", "10.244.0.1"));
    assert!(servers(&mut node, [10, 96, 0, 1]).is_empty());
    assert_eq!(
        servers(&mut node, [10, 96, 0, 2]),
        ["10.244.0.1:8080", "10.244.0.2:8080"]
    );
}

#[test]
fn q18_fixed_an_external_address_and_port_that_two_services_claim_stays_with_the_older() {
    let mut node = node();
    assert_eq!(servers(&mut node, [203, 0, 113, 5]), ["10.244.0.1:8080"]);
    // Each change of the other one has kube-proxy give it away.
    take(&mut node, slice("two", "young", "10.244.0.3"));
    assert_eq!(servers(&mut node, [203, 0, 113, 5]), ["10.244.0.1:8080"]);
    node.resync().unwrap();
    assert_eq!(servers(&mut node, [203, 0, 113, 5]), ["10.244.0.1:8080"]);
    let gone = ipvs_model::input::ObjectName::new("default", "old");
    take(&mut node, vec![Change::ServiceGone(gone)]);
    assert_eq!(servers(&mut node, [203, 0, 113, 5]), ["10.244.0.3:8080"]);
}
