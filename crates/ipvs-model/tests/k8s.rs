//! Objects by `k8s-openapi` are the same as objects by manifest.
#![cfg(feature = "k8s")]

use ipvs_model::input::{Change, EndpointSlice, Manifest, Node, Service};
use serde_json::Value;

fn both(object: Value) -> (Change, Change) {
    let manifest: Manifest = serde_json::from_value(object.clone()).unwrap();
    let by_manifest = manifest.into_changes().unwrap().remove(0);
    let by_client = match object["kind"].as_str().unwrap() {
        "Service" => {
            let typed: k8s_openapi::api::core::v1::Service =
                serde_json::from_value(object).unwrap();
            Change::Service(Service::try_from(typed).unwrap())
        }
        "EndpointSlice" => {
            let typed: k8s_openapi::api::discovery::v1::EndpointSlice =
                serde_json::from_value(object).unwrap();
            Change::EndpointSlice(EndpointSlice::try_from(typed).unwrap())
        }
        "Node" => {
            let typed: k8s_openapi::api::core::v1::Node = serde_json::from_value(object).unwrap();
            Change::Node(Node::try_from(typed).unwrap())
        }
        other => unreachable!("{other}"),
    };
    (by_manifest, by_client)
}

#[test]
fn every_field_arrives() {
    let objects = r#"[
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop",
         "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"ipvs-proxier/scheduler": "lc"},
         "labels": {"a": "b"}}, "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.10",
         "clusterIPs": ["10.96.0.10", "fd00::1"], "externalIPs": ["203.0.113.5"], "externalTrafficPolicy": "Local",
         "internalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["10.0.0.0/8"], "healthCheckNodePort": 32000,
         "loadBalancerClass": "example.org/x", "sessionAffinity": "ClientIP",
         "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
         "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080}]},
         "status": {"loadBalancer": {"ingress": [{"ip": "198.18.0.7", "ipMode": "VIP"}, {"hostname": "x"}]}}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
         "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
         "endpoints": [{"addresses": ["10.244.0.5"], "nodeName": "n1",
           "conditions": {"ready": false, "serving": true, "terminating": true},
           "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}}]},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1",
         "labels": {"topology.kubernetes.io/zone": "a", "ipvs-proxier/weight": "3"}},
         "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00:244::/64"]},
         "status": {"addresses": [{"type": "InternalIP", "address": "192.168.1.10"}]}}
    ]"#;
    for object in serde_json::from_str::<Vec<Value>>(objects).unwrap() {
        let (by_manifest, by_client) = both(object);
        assert_eq!(by_manifest, by_client);
    }
}

#[test]
fn an_impossible_value_is_named() {
    let object = r#"{"metadata": {"name": "web"}, "spec": {"ports": [{"port": 70000}]}}"#;
    let typed: k8s_openapi::api::core::v1::Service = serde_json::from_str(object).unwrap();
    let error = Service::try_from(typed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.ports[0].port: 70000: a port is 1 to 65535"
    );
}
