//! One service on the simulated kernel.
#![allow(dead_code, reason = "not every test needs all of it")]

#[path = "../node/mod.rs"]
pub(crate) mod node;
pub(crate) mod refusing;

use std::net::SocketAddr;

use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model};
use ipvs_proxier::Simulated;

use self::node::Node;

pub(crate) fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

pub(crate) fn web(protocol: &str, endpoints: &[&str]) -> Vec<Change> {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|ip| format!(r#"{{"addresses": ["{ip}"]}}"#))
        .collect();
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
            {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web"}},
              "spec": {{"clusterIP": "10.96.0.10", "ports": [{{"port": 80, "protocol": "{protocol}"}}]}}}},
            {{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
              "metadata": {{"name": "web-1", "labels": {{"kubernetes.io/service-name": "web"}}}},
              "ports": [{{"port": 8080, "protocol": "{protocol}"}}], "endpoints": [{}]}}]}}"#,
        endpoints.join(",")
    ))
}

pub(crate) fn synced(protocol: &str, endpoints: &[&str]) -> Node<Simulated> {
    let mut node = Node::new(Model::new(Config::default()), Simulated::default());
    take(&mut node, web(protocol, endpoints));
    node
}

/// Takes changes in and syncs; the texts of what was done.
pub(crate) fn take(node: &mut Node<Simulated>, changes: Vec<Change>) -> Vec<String> {
    changes.into_iter().for_each(|change| node.change(change));
    let report = node.sync().unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    report
        .plan
        .operations()
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub(crate) fn key(protocol: Protocol) -> ServiceKey {
    ServiceKey::endpoint(protocol, [10, 96, 0, 10].into(), 80)
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
