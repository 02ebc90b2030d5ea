//! Random histories of a cluster, and what may never happen in one.

use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Model, Operation, Plan};
use proptest::prelude::*;

fn parse(json: &str) -> Change {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
        .remove(0)
}

/// Few names and addresses, so that services meet: two may claim one address, and slices change owners.
fn service() -> impl Strategy<Value = Change> {
    let affinity = prop::sample::select(&["ClientIP", "None"][..]);
    let protocol = prop::sample::select(&["TCP", "UDP"][..]);
    let service_type = prop::sample::select(&["ClusterIP", "NodePort", "LoadBalancer"][..]);
    let policy = || prop::sample::select(&["Cluster", "Cluster", "Local"][..]);
    let external =
        prop::sample::select(&["", r#""203.0.113.1""#, r#""203.0.113.2", "192.168.1.1""#][..]);
    let ranges = prop::sample::select(&["", r#""10.0.0.0/8""#, r#""192.168.0.0/16""#][..]);
    let annotations = prop::sample::select(
        &[
            "",
            r#""ipvs-proxier/scheduler": "lc""#,
            r#""ipvs-proxier/weigh-by-node": "true""#,
        ][..],
    );
    let scalars = (0..4_u8, 1..4_u8, 80..82_u16, 1..3_u8);
    let kind = (protocol, affinity, service_type, annotations);
    (scalars, kind, policy(), policy(), external, ranges).prop_map(
        |((name, ip, port, ingress), (protocol, affinity, service_type, annotations), inside, outside, external, ranges)| {
            let node_port = if service_type == "ClusterIP" { 0 } else { 30_000 + u32::from(port) };
            let ingress = if service_type == "LoadBalancer" {
                format!(r#"{{"ip": "198.18.0.{ingress}"}}"#)
            } else {
                String::new()
            };
            parse(&format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{name}", "annotations": {{{annotations}}}}},
                     "spec": {{"type": "{service_type}", "clusterIPs": ["10.96.0.{ip}", "fd00:96::{ip}"],
                     "sessionAffinity": "{affinity}", "internalTrafficPolicy": "{inside}",
                     "externalTrafficPolicy": "{outside}", "externalIPs": [{external}], "healthCheckNodePort": 32000,
                     "loadBalancerSourceRanges": [{ranges}],
                     "ports": [{{"port": {port}, "nodePort": {node_port}, "protocol": "{protocol}"}}]}},
                     "status": {{"loadBalancer": {{"ingress": [{ingress}]}}}}}}"#
            ))
        },
    )
}

fn slice() -> impl Strategy<Value = Change> {
    let protocol = prop::sample::select(&["TCP", "UDP"][..]);
    let hints = prop::sample::select(&["", r#"{"name": "a"}"#, r#"{"name": "b"}"#][..]);
    let endpoint = (1..5_u8, any::<[bool; 3]>(), any::<bool>(), hints).prop_map(
        |(ip, [ready, serving, going], local, hints)| {
            let node = if local { "n1" } else { "n2" };
            format!(
                r#"{{"addresses": ["10.244.0.{ip}"], "nodeName": "{node}", "hints": {{"forZones": [{hints}]}},
                     "conditions": {{"ready": {ready}, "serving": {serving}, "terminating": {going}}}}}"#
            )
        },
    );
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    (0..4_u8, 0..4_u8, protocol, endpoints).prop_map(|(name, owner, protocol, endpoints)| {
        parse(&format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "e{name}", "labels": {{"kubernetes.io/service-name": "s{owner}"}}}},
                 "ports": [{{"port": 8080, "protocol": "{protocol}"}}], "endpoints": [{}]}}"#,
            endpoints.join(",")
        ))
    })
}

fn node() -> impl Strategy<Value = Change> {
    let zone = prop::sample::select(&["a", "b"][..]);
    (1..3_u8, zone, 1..3_u8).prop_map(|(name, zone, last)| {
        parse(&format!(
            r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n{name}", "labels": {{
                 "topology.kubernetes.io/zone": "{zone}", "ipvs-proxier/weight": "{last}"}}}},
                 "spec": {{"podCIDR": "10.244.{last}.0/24"}},
                 "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.1.{last}"}}]}}}}"#
        ))
    })
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let name = || 0..4_u8;
    let addresses =
        prop::sample::subsequence(vec!["192.168.1.1", "192.168.1.2", "fd00:1::1"], 0..3);
    prop_oneof![
        8 => service(),
        10 => slice(),
        2 => name().prop_map(|n| Change::ServiceGone(ObjectName::new("default", &format!("s{n}")))),
        2 => name().prop_map(|n| Change::EndpointSliceGone(ObjectName::new("default", &format!("e{n}")))),
        1 => node(),
        1 => addresses.prop_map(|all| Change::NodeAddresses(all.iter().map(|ip| ip.parse().unwrap()).collect())),
    ]
}

pub(crate) fn model() -> Model {
    Model::new(Config {
        node_name: "n1".into(),
        ..Config::default()
    })
}

/// The last word on each object.
pub(crate) fn last_words(history: &[Change]) -> Vec<Change> {
    let name = |change: &Change| match change {
        Change::Service(service) => ("s", service.name.to_string()),
        Change::ServiceGone(name) => ("s", name.to_string()),
        Change::EndpointSlice(slice) => ("e", slice.name.to_string()),
        Change::EndpointSliceGone(name) => ("e", name.to_string()),
        Change::Node(node) => ("n", node.name.clone()),
        Change::NodeAddresses(_) => ("a", String::new()),
        _ => unreachable!("no other change is made here"),
    };
    let is_last = |(at, change): &(usize, &Change)| {
        !history[at + 1..]
            .iter()
            .any(|later| name(later) == name(change))
    };
    history
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, change)| change.clone())
        .collect()
}

/// What goes is wanted by nobody.
pub(crate) fn nothing_wanted_goes(plan: &Plan, model: &Model) -> Result<(), TestCaseError> {
    let desired = model.desired();
    for operation in plan {
        let wanted = match operation {
            Operation::RemoveVirtualServer { virtual_server } => {
                desired.virtual_server(virtual_server).is_some()
            }
            Operation::UnbindVip { vip } => desired.vip(vip.address()) == Some(*vip),
            Operation::RemoveMember { member } => desired.has_member(member),
            Operation::RemoveRealServer {
                virtual_server,
                address,
            } => {
                let server = desired.virtual_server(virtual_server);
                server.is_some_and(|server| server.real_server(*address).is_some())
            }
            _ => false,
        };
        prop_assert!(!wanted, "{} is wanted", operation);
    }
    Ok(())
}

/// Somebody else's, on a node where we run.
pub(crate) fn foreign() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, [10, 0, 0, 1].into(), 6443)
}
