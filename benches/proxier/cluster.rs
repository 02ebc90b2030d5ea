//! A generated cluster in an API server.

use anyhow::Result;
use ipvs_test_support::ApiServer;

/// Cluster IPs from 10.97.0.1 on.
pub(crate) fn address_of(service: u32) -> [u8; 4] {
    let [_, a, b, c] = (service + 1).to_be_bytes();
    [10, 97 + a, b, c]
}

fn service(name: &str, namespace: &str, [a, b, c, d]: [u8; 4], port: u16) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "{namespace}"}},
             "spec": {{"clusterIP": "{a}.{b}.{c}.{d}", "ports": [{{"name": "p", "port": {port}, "protocol": "TCP",
                       "targetPort": 8080}}]}}}}"#
    )
}

/// The slice of a service: `count` endpoints of those that `endpoints` services before have.
pub(crate) fn slice(service: u32, endpoints: u32, count: u32) -> String {
    let addresses: Vec<String> = (0..count)
        .map(|endpoint| {
            let [_, x, y, z] = (service * endpoints + endpoint + 1).to_be_bytes();
            format!(
                r#"{{"addresses": ["10.{}.{y}.{z}"], "nodeName": "node-{}",
                     "conditions": {{"ready": true, "serving": true, "terminating": false}}}}"#,
                128 + x,
                endpoint % 50 + 1,
            )
        })
        .collect();
    slice_of(&format!("s{service}"), "bench", &addresses.join(","))
}

fn slice_of(name: &str, namespace: &str, endpoints: &str) -> String {
    format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "{name}-a", "namespace": "{namespace}",
                           "labels": {{"kubernetes.io/service-name": "{name}"}}}},
             "ports": [{{"name": "p", "port": 8080, "protocol": "TCP"}}], "endpoints": [{endpoints}]}}"#
    )
}

/// A node, the API server's own service, and others with so many endpoints each.
pub(crate) fn objects(counts: &[u32], endpoints: u32) -> impl Iterator<Item = String> {
    let own = r#"{"addresses": ["192.168.50.1"]}"#;
    let first = [
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}}"#.to_owned(),
        service("kubernetes", "default", [10, 96, 0, 1], 443),
        slice_of("kubernetes", "default", own),
    ];
    let others = (0..).zip(counts).flat_map(move |(number, count)| {
        [
            service(&format!("s{number}"), "bench", address_of(number), 80),
            slice(number, endpoints, *count),
        ]
    });
    first.into_iter().chain(others)
}

/// Puts them into a server.
pub(crate) fn put_all(server: &ApiServer, services: u32, endpoints: u32) -> Result<()> {
    for object in objects(&vec![endpoints; services as usize], endpoints) {
        server.put(&object)?;
    }
    Ok(())
}
