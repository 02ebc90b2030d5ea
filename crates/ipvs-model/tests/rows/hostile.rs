//! Objects as no API server lets them pass, and of sizes that nobody has: each gets its answer, the others are served.

use ipvs_codec::Protocol;
use ipvs_model::FilterSet;
use ipvs_model::input::Manifest;

use crate::fixture::{
    E1, INGRESS, LOAD_BALANCER, Node, PLAIN, PORTS, s, slice, slice_of, with_spec,
};

/// What is said of an object.
fn refusal(json: &str) -> String {
    let manifest: Manifest = serde_json::from_str(json).unwrap();
    manifest.into_changes().unwrap_err().to_string()
}

/// Addresses at which nothing is served.
const SPECIAL: [&str; 13] = [
    "0.0.0.0",
    "127.0.0.1",
    "127.8.8.8",
    "127.000.000.001",
    "::ffff:127.0.0.1",
    "169.254.169.254",
    "224.0.0.5",
    "239.1.2.3",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
];

#[test]
fn special_addresses_cost_themselves_and_nothing_else_of_the_service() {
    for address in SPECIAL.into_iter().chain(["10.0.0.256", "lb.example"]) {
        let spec =
            format!(r#""type": "LoadBalancer", "externalIPs": ["{address}", "203.0.113.5"]"#);
        let status = format!(
            r#""loadBalancer": {{"ingress": [{{"ip": "{address}"}}, {{"ip": "198.18.0.7"}}]}}"#
        );
        let node = Node::with([with_spec(&spec, &status), slice(&[E1])]);
        let mut served: Vec<String> = node
            .known
            .virtual_servers
            .keys()
            .map(ToString::to_string)
            .collect();
        served.sort();
        let expected = [
            "10.96.0.10:80/TCP",
            "198.18.0.7:80/TCP",
            "203.0.113.5:80/TCP",
        ];
        assert_eq!(served, expected, "{address}");
        let problems = node.model.desired().problems();
        let mut problems: Vec<String> = problems.map(|(_, problem)| problem.to_string()).collect();
        problems.sort();
        let fields = ["spec.externalIPs[0]", "status.loadBalancer.ingress[0].ip"];
        assert_eq!(problems.len(), fields.len(), "{problems:?}");
        for (problem, field) in problems.iter().zip(fields) {
            assert!(
                problem.starts_with(&format!("{field}: {address}: ")),
                "{problem}"
            );
        }
    }
}

#[test]
fn a_cluster_ip_that_cannot_be_served_costs_its_family() {
    let spec = r#""clusterIP": "127.0.0.1", "clusterIPs": ["127.0.0.1", "fd00:96::1"], "ports": [{"name": "p", "port": 80}]"#;
    let node = Node::with([s(spec), slice(&[E1])]);
    let served: Vec<String> = node
        .known
        .virtual_servers
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(served, ["[fd00:96::1]:80/TCP"]);
    assert_eq!(node.model.desired().problems().count(), 1);
}

#[test]
fn source_ranges_of_which_none_can_be_used_let_nobody_in() {
    let spec = |ranges: &str| format!(r#"{LOAD_BALANCER}, "loadBalancerSourceRanges": [{ranges}]"#);
    let some = spec(r#""office", "198.51.100.0/24""#);
    let node = Node::with([with_spec(&some, INGRESS), slice(&[E1])]);
    let allowed = node.members(FilterSet::SourceRange);
    assert_eq!(allowed, ["198.18.0.7:80/TCP from 198.51.100.0/24"]);
    assert_eq!(node.model.desired().problems().count(), 1);
    let none = spec(r#""office""#);
    let node = Node::with([with_spec(&none, INGRESS), slice(&[E1])]);
    assert!(node.service(Protocol::TCP, "198.18.0.7", 80).is_none());
    assert!(node.service(Protocol::TCP, "10.96.0.10", 80).is_some());
    assert_eq!(node.model.desired().problems().count(), 1);
}

#[test]
fn special_addresses_are_refused_where_all_else_stands_on_them() {
    for address in SPECIAL {
        let service = |spec: &str| {
            format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s"}}, {spec}}}"#
            )
        };
        let family = if address.contains(':') {
            "IPv6"
        } else {
            "IPv4"
        };
        let ports = r#""ports": [{"port": 80}]"#;
        let cases = [
            (
                "spec.clusterIP",
                service(&format!(r#""spec": {{"clusterIP": "{address}", {ports}}}"#)),
            ),
            (
                "endpoints[0].addresses[0]",
                format!(
                    r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "{family}",
                         "metadata": {{"name": "s-1", "labels": {{"kubernetes.io/service-name": "s"}}}},
                         "ports": [{{"port": 8080}}], "endpoints": [{{"addresses": ["{address}"]}}]}}"#
                ),
            ),
        ];
        for (field, json) in cases {
            let refusal = refusal(&json);
            let wanted = format!("{field}: {address}: nothing is served at");
            assert!(refusal.contains(&wanted), "{refusal}");
        }
    }
}

#[test]
fn a_service_with_100000_endpoints_is_served_and_so_are_others() {
    let mut all = vec![s(PLAIN)];
    for number in 0..100_u8 {
        let endpoints: Vec<String> = (0..1_000_u16)
            .map(|endpoint| {
                let [high, low] = endpoint.to_be_bytes();
                format!(
                    r#"{{"addresses": ["10.{}.{high}.{low}"], "nodeName": "n2"}}"#,
                    100 + number
                )
            })
            .collect();
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        all.push(slice_of(&format!("s-{number}"), PORTS, &endpoints));
    }
    let mut node = Node::with(all);
    let servers = |node: &Node| {
        let servers = node.known.virtual_servers.values();
        servers
            .map(|server| server.real_servers().len())
            .sum::<usize>()
    };
    assert_eq!(servers(&node), 100_000);
    let gone = slice_of("s-7", PORTS, &[]);
    assert_eq!(node.change(gone).len(), 1_000, "only what left");
}

#[test]
fn a_service_with_every_port_is_served() {
    let ports: Vec<String> = (1..=65_535_u32)
        .map(|port| format!(r#"{{"name": "p{port}", "port": {port}, "targetPort": 8080}}"#))
        .collect();
    let spec = format!(
        r#""clusterIP": "10.96.0.10", "ports": [{}]"#,
        ports.join(",")
    );
    let slice_ports = r#"{"name": "p1", "port": 8080}, {"name": "p65535", "port": 8080}"#;
    let node = Node::with([s(&spec), slice_of("s-1", slice_ports, &[E1])]);
    assert_eq!(node.known.virtual_servers.len(), 65_535);
    let servers = node.known.virtual_servers.values();
    let with_endpoints = servers.filter(|server| !server.real_servers().is_empty());
    assert_eq!(with_endpoints.count(), 2);
}

#[test]
fn ports_that_are_none_are_refused() {
    for port in ["0", "-1", "65536", "99999999999"] {
        let json = format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s"}},
                 "spec": {{"clusterIP": "10.96.0.10", "ports": [{{"port": {port}}}]}}}}"#
        );
        let answer = serde_json::from_str::<Manifest>(&json).map(Manifest::into_changes);
        assert!(!matches!(answer, Ok(Ok(_))), "{port}");
    }
}

/// Names are as long as Kubernetes allows, and longer.
#[test]
fn names_have_no_length_that_matters() {
    for length in [63, 253, 100_000] {
        let name = "n".repeat(length);
        let rename = |json: String| {
            let manifest: Manifest = serde_json::from_str(&json).unwrap();
            manifest.into_changes().unwrap()
        };
        let service = rename(format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "{name}"}},
                 "spec": {{"clusterIP": "10.96.0.11", "ports": [{{"name": "{name}", "port": 80}}]}}}}"#
        ));
        let endpoints = rename(format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "{name}", "namespace": "{name}",
                               "labels": {{"kubernetes.io/service-name": "{name}"}}}},
                 "ports": [{{"name": "{name}", "port": 8080}}], "endpoints": [{E1}]}}"#
        ));
        let node = Node::with([service, endpoints, s(PLAIN), slice(&[E1])]);
        for address in ["10.96.0.10", "10.96.0.11"] {
            assert!(
                node.service(Protocol::TCP, address, 80).is_some(),
                "{address}"
            );
        }
    }
}
