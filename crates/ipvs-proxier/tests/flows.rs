//! Rows 134 to 139: tracked flows of UDP, on the simulated kernel.

mod node;

use std::net::{IpAddr, SocketAddr};

use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model};
use ipvs_netfilter::conntrack::{Flow, Tuple};
use ipvs_proxier::Simulated;

use node::Node;

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

fn dns(protocol: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "dns"}}, "spec": {{"type": "LoadBalancer",
             "clusterIP": "10.96.0.53", "externalIPs": ["203.0.113.5"],
             "ports": [{{"port": 53, "nodePort": 30053, "protocol": "{protocol}"}}]}},
             "status": {{"loadBalancer": {{"ingress": [{{"ip": "198.18.0.7"}}]}}}}}}"#
    ))
}

/// Endpoints as `10.244.0.1`, or `10.244.0.1 going` for one that terminates and still serves.
fn slice(protocol: &str, endpoints: &[&str]) -> Vec<Change> {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|endpoint| match endpoint.strip_suffix(" going") {
            Some(ip) => format!(
                r#"{{"addresses": ["{ip}"], "conditions": {{"ready": false, "serving": true, "terminating": true}}}}"#
            ),
            None => format!(r#"{{"addresses": ["{endpoint}"]}}"#),
        })
        .collect();
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "dns-1", "labels": {{"kubernetes.io/service-name": "dns"}}}},
             "ports": [{{"port": 5353, "protocol": "{protocol}"}}], "endpoints": [{}]}}"#,
        endpoints.join(",")
    ))
}

fn flow(protocol: u8, to: &str, server: &str) -> Flow {
    let (client, to, server): (SocketAddr, SocketAddr, SocketAddr) = (
        "10.244.9.9:4444".parse().unwrap(),
        to.parse().unwrap(),
        server.parse().unwrap(),
    );
    let tuple = |from: SocketAddr, to: SocketAddr| Tuple {
        source: from.ip(),
        destination: to.ip(),
        protocol,
        ports: Some((from.port(), to.port())),
    };
    Flow {
        original: tuple(client, to),
        reply: tuple(server, client),
        zone: 0,
        id: None,
    }
}

/// A node with endpoints that were synced, and flows that came since.
fn node(protocol: &str, endpoints: &[&str], flows: &[Flow]) -> Node<Simulated> {
    let mut kernel = Simulated::default();
    let address: IpAddr = "192.168.1.10".parse().unwrap();
    kernel.set_node_addresses(vec![address]);
    let mut node = Node::new(Model::new(Config::default()), kernel);
    let objects = dns(protocol).into_iter().chain(slice(protocol, endpoints));
    objects.for_each(|change| node.change(change));
    assert!(node.sync().unwrap().failures.is_empty());
    node.plane().tracked_flows().extend_from_slice(flows);
    node
}

fn take(node: &mut Node<Simulated>, changes: Vec<Change>) -> Vec<Flow> {
    changes.into_iter().for_each(|change| node.change(change));
    assert!(node.sync().unwrap().failures.is_empty());
    node.plane().tracked_flows().clone()
}

const UDP: u8 = 17;
const A: &str = "10.244.0.1:5353";
const B: &str = "10.244.0.2:5353";

#[test]
fn row_134_flows_to_an_endpoint_that_is_gone_are_forgotten() {
    let [gone, stays] = [A, B].map(|server| flow(UDP, "10.96.0.53:53", server));
    let other = flow(UDP, "10.96.0.99:53", A);
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &[gone, stays, other]);
    let left = take(&mut node, slice("UDP", &["10.244.0.2"]));
    assert_eq!(left, [stays, other]);
}

#[test]
fn row_135_by_every_address_of_the_service() {
    let to = [
        "192.168.1.10:30053",
        "198.18.0.7:53",
        "203.0.113.5:53",
        "10.96.0.53:53",
    ];
    let flows = to.map(|to| flow(UDP, to, A));
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &flows);
    assert!(take(&mut node, slice("UDP", &["10.244.0.2"])).is_empty());
}

#[test]
fn q10_restricted_a_flow_to_the_node_port_of_another_machine_is_left_alone() {
    let elsewhere = flow(UDP, "172.16.0.1:30053", A);
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &[elsewhere]);
    let left = take(&mut node, slice("UDP", &["10.244.0.2"]));
    assert_eq!(left, [elsewhere]);
}

#[test]
fn row_136_an_endpoint_that_terminates_and_serves_keeps_its_flows() {
    let kept = flow(UDP, "10.96.0.53:53", A);
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &[kept]);
    let left = take(&mut node, slice("UDP", &["10.244.0.1 going", "10.244.0.2"]));
    assert_eq!(left, [kept]);
}

#[test]
fn row_137_without_endpoints_nothing_is_forgotten() {
    let kept = flow(UDP, "10.96.0.53:53", A);
    let mut node = node("UDP", &["10.244.0.1"], &[kept]);
    assert_eq!(take(&mut node, slice("UDP", &[])), [kept]);
}

#[test]
fn row_138_a_change_of_tcp_reads_no_flows() {
    let tcp = flow(6, "10.96.0.53:53", A);
    let mut node = node("TCP", &["10.244.0.1", "10.244.0.2"], &[tcp]);
    let reads = node.plane().reads();
    assert_eq!(take(&mut node, slice("TCP", &["10.244.0.2"])), [tcp]);
    assert_eq!(node.plane().reads(), reads);
}

#[test]
fn row_139_the_first_endpoint_frees_flows_that_went_nowhere() {
    let black_hole = flow(UDP, "10.96.0.53:53", "10.96.0.53:53");
    let mut node = node("UDP", &[], &[black_hole]);
    assert!(take(&mut node, slice("UDP", &["10.244.0.1"])).is_empty());
}

/// A pod that terminates normally: its real server leaves while it still serves, and its flows when it is gone.
#[test]
fn an_endpoint_that_has_served_to_its_end_leaves_no_flows() {
    let [gone, stays] = [A, B].map(|server| flow(UDP, "10.96.0.53:53", server));
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &[gone, stays]);
    let going = take(&mut node, slice("UDP", &["10.244.0.1 going", "10.244.0.2"]));
    assert_eq!(going, [gone, stays]);
    let left = take(&mut node, slice("UDP", &["10.244.0.2"]));
    assert_eq!(left, [stays]);
}

/// What changed while nobody looked: the kernel's servers are as wanted, and no operation is due.
#[test]
fn the_first_sync_looks_through_the_flows_of_who_was_there_before() {
    let [gone, stays] = [A, B].map(|server| flow(UDP, "10.96.0.53:53", server));
    let mut before = node("UDP", &["10.244.0.2"], &[gone, stays]);
    let kernel = std::mem::take(before.plane());
    let mut node = Node::new(Model::new(Config::default()), kernel);
    let objects = dns("UDP").into_iter().chain(slice("UDP", &["10.244.0.2"]));
    objects.for_each(|change| node.change(change));
    let report = node.sync().unwrap();
    assert!(report.plan.operations().is_empty(), "{}", report.plan);
    assert_eq!(node.plane().tracked_flows(), &[stays]);
}

/// A Service that changes otherwise, or an endpoint that changes otherwise, has nobody look.
#[test]
fn what_changes_no_endpoint_that_serves_reads_no_flows() {
    let mut node = node("UDP", &["10.244.0.1", "10.244.0.2"], &[]);
    let reads = node.plane().reads();
    take(&mut node, slice("UDP", &["10.244.0.2", "10.244.0.1"]));
    take(
        &mut node,
        vec![Change::NodeAddresses(vec!["192.168.1.10".parse().unwrap()])],
    );
    assert_eq!(node.plane().reads(), reads);
    take(&mut node, slice("UDP", &["10.244.0.1"]));
    assert_eq!(node.plane().reads(), reads + 1, "one family");
}
