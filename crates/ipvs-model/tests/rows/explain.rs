//! Why something exists, in words that people read.

use crate::fixture::*;
use ipvs_model::Subject;

fn explained(node: &Node, subject: &str) -> String {
    let subject: Subject = subject.parse().unwrap();
    node.model.explain(subject).to_string()
}

fn shop() -> Node {
    let service = s(&format!(
        r#"{PLAIN}, "type": "NodePort", "externalTrafficPolicy": "Local", "externalIPs": ["203.0.113.5"]"#
    ));
    let unready =
        r#"{"addresses": ["10.244.0.7"], "nodeName": "n1", "conditions": {"ready": false}}"#;
    let younger = changes(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "z", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 80}]}}"#,
    );
    Node::with([
        service,
        slice(&[E1, E2, unready]),
        younger,
        node_addresses(),
    ])
}

#[test]
fn a_virtual_server_and_its_endpoints() {
    insta::assert_snapshot!(explained(&shop(), "10.96.0.10:80/TCP"), @r"
    10.96.0.10:80/TCP
      of Service ns/s port p 80/TCP, spec.clusterIPs: every port of a Service is served on its cluster IPs
      claimed by Service ns/z port p 80/TCP, spec.clusterIPs: every port of a Service is served on its cluster IPs
      real server 10.244.0.5:8080 weight 1, EndpointSlice ns/s-1 on n1: ready
      not 10.244.0.7:8080, EndpointSlice ns/s-1 on n1: not ready
      real server 10.244.3.9:8080 weight 1, EndpointSlice ns/s-1 on n2: ready
    ");
    insta::assert_snapshot!(explained(&shop(), "203.0.113.5:80/TCP"), @r"
    203.0.113.5:80/TCP
      of Service ns/s port p 80/TCP, spec.externalIPs: every port of a Service is served on its external IPs
      real server 10.244.0.5:8080 weight 1, EndpointSlice ns/s-1 on n1: ready
      not 10.244.0.7:8080, EndpointSlice ns/s-1 on n1: not ready
      not 10.244.3.9:8080, EndpointSlice ns/s-1 on n2: on another node, and the traffic policy is Local
    ");
}

#[test]
fn a_real_server() {
    insta::assert_snapshot!(explained(&shop(), "203.0.113.5:80/TCP -> 10.244.3.9:8080"), @r"
    203.0.113.5:80/TCP -> 10.244.3.9:8080
      of Service ns/s port p 80/TCP, spec.externalIPs: every port of a Service is served on its external IPs
      not 10.244.3.9:8080, EndpointSlice ns/s-1 on n2: on another node, and the traffic policy is Local
    ");
}

#[test]
fn an_address_and_a_member_have_all_their_owners() {
    insta::assert_snapshot!(explained(&shop(), "10.96.0.10"), @r"
    10.96.0.10
      of Service ns/s port p 80/TCP, spec.clusterIPs: every port of a Service is served on its cluster IPs
      of Service ns/z port p 80/TCP, spec.clusterIPs: every port of a Service is served on its cluster IPs
    ");
    insta::assert_snapshot!(explained(&shop(), "hairpin 10.244.0.5:8080/TCP from 10.244.0.5"), @r"
    hairpin 10.244.0.5:8080/TCP from 10.244.0.5
      of Service ns/s port p 80/TCP, endpoints[].nodeName: an endpoint of this node that connects to itself is masqueraded
    ");
}

#[test]
fn what_nobody_asks_for() {
    insta::assert_snapshot!(explained(&shop(), "10.96.0.99"), @r"
    10.96.0.99
      nothing asks for it
    ");
}

#[test]
fn an_explanation_is_json_too() {
    let subject = "10.96.0.10:80/TCP -> 10.244.0.7:8080".parse().unwrap();
    let json = serde_json::to_value(shop().model.explain(subject)).unwrap();
    assert_eq!(json["subject"], "10.96.0.10:80/TCP -> 10.244.0.7:8080");
    assert_eq!(json["reasons"][0]["service"], "ns/s");
    assert_eq!(json["reasons"][0]["because"], "cluster-ip");
    assert_eq!(json["reasons"][1]["wins"], false);
    assert_eq!(json["endpoints"][0]["because"], "not-ready");
    assert_eq!(json["endpoints"][0]["weight"], serde_json::Value::Null);
}

#[test]
fn a_plan_is_read_by_people() {
    let mut model = ipvs_model::Model::new(config());
    let objects = [s(PLAIN), slice(&[E1, E2])].concat();
    objects.into_iter().for_each(|change| model.change(change));
    let plan = model.plan(&Node::with([]).known);
    insta::assert_snapshot!(plan, @r"
    write IPv4 rules
    add member hairpin 10.244.0.5:8080/TCP from 10.244.0.5
    add member cluster-ip 10.96.0.10:80/TCP
    add member vip 10.96.0.10
    add virtual server 10.96.0.10:80/TCP scheduler rr
    add real server 10.96.0.10:80/TCP -> 10.244.0.5:8080 weight 1 Masq
    add real server 10.96.0.10:80/TCP -> 10.244.3.9:8080 weight 1 Masq
    bind VIP 10.96.0.10 (address)
    ");
}
