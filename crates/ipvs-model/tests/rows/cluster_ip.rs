//! Rows 27 to 46, 153 and 155: cluster IPs, affinity, schedulers, claims.

use crate::fixture::*;
use ipvs_codec::{Destination, Family, Protocol, Scheduler, ServiceFlags, ServiceKey};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, FilterSet, Known, Model, Operation};

#[test]
fn row_027_clusterip_basic() {
    let node = Node::with([s(PLAIN), slice(&[E1, E2])]);
    assert_eq!(node.vips(), ["10.96.0.10"]);
    let service = node.service(Protocol::TCP, "10.96.0.10", 80).unwrap();
    assert_eq!(
        (service.scheduler, service.flags, service.timeout),
        (Scheduler::RR, ServiceFlags::empty(), 0)
    );
    let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
    let wanted =
        ["10.244.0.5:8080", "10.244.3.9:8080"].map(|addr| Destination::new(addr.parse().unwrap()));
    assert_eq!(node.known.virtual_servers[&key].real_servers(), wanted);
    assert_eq!(node.members(FilterSet::ClusterIp), ["10.96.0.10:80/TCP"]);
    assert_eq!(node.members(FilterSet::Vip), ["10.96.0.10"]);
}

#[test]
fn row_028_without_slices() {
    let node = Node::with([s(PLAIN)]);
    assert!(node.real_servers("10.96.0.10", 80).is_empty());
    assert_eq!(node.vips(), ["10.96.0.10"]);
}

#[test]
fn row_029_a_port_without_a_match() {
    let node = Node::with([
        s(PLAIN),
        slice_of("s-1", r#"{"name": "other", "port": 8080}"#, &[E1]),
    ]);
    assert!(node.real_servers("10.96.0.10", 80).is_empty());
}

#[test]
fn row_030_real_servers_have_the_endpoints_port() {
    let node = Node::with([
        s(PLAIN),
        slice_of("s-1", r#"{"name": "p", "port": 9090}"#, &[E1]),
    ]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:9090"]);
}

#[test]
fn row_031_udp_and_tcp_on_one_number() {
    let spec = r#""clusterIP": "10.96.0.53", "ports": [
        {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP"}]"#;
    let node = Node::with([s(spec)]);
    assert!(node.service(Protocol::TCP, "10.96.0.53", 53).is_some());
    assert!(node.service(Protocol::UDP, "10.96.0.53", 53).is_some());
    assert_eq!(
        node.members(FilterSet::ClusterIp),
        ["10.96.0.53:53/TCP", "10.96.0.53:53/UDP"]
    );
    assert_eq!(node.vips(), ["10.96.0.53"]);
}

#[test]
fn row_032_sctp() {
    let node = Node::with([s(
        r#""clusterIP": "10.96.0.10", "ports": [{"port": 7, "protocol": "SCTP"}]"#,
    )]);
    assert!(node.service(Protocol::SCTP, "10.96.0.10", 7).is_some());
    assert_eq!(node.members(FilterSet::ClusterIp), ["10.96.0.10:7/SCTP"]);
}

#[test]
fn row_033_one_of_two_ports_goes() {
    let two = r#""clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 80}, {"name": "q", "port": 81}]"#;
    let mut node = Node::with([s(two), slice(&[E1])]);
    let done = node.change(s(PLAIN));
    assert_eq!(
        done,
        [
            "remove virtual server 10.96.0.10:81/TCP",
            "remove member cluster-ip 10.96.0.10:81/TCP"
        ]
    );
}

#[test]
fn row_034_the_service_goes() {
    let mut node = Node::with([s(PLAIN), slice(&[E1])]);
    let done = node.change(vec![Change::ServiceGone(ObjectName::new("ns", "s"))]);
    assert!(
        done.last().unwrap().starts_with("write IPv4 rules"),
        "its sets are empty now, and nothing needs their rules: {done:?}"
    );
    assert!(
        node.known.virtual_servers.is_empty()
            && node.known.members().next().is_none()
            && node.vips().is_empty()
    );
}

#[test]
fn row_035_what_is_not_programmed() {
    for spec in [
        r#""clusterIP": "None", "ports": [{"port": 80}]"#,
        r#""type": "ExternalName", "externalName": "x.y""#,
    ] {
        let node = Node::with([s(spec), slice(&[E1])]);
        assert!(
            node.known.virtual_servers.is_empty() && node.known.members().next().is_none(),
            "{spec}"
        );
    }
    let foreign = changes(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns",
            "labels": {"service.kubernetes.io/service-proxy-name": "other"}},
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}}"#,
    );
    assert!(Node::with([foreign]).known.virtual_servers.is_empty());
}

#[test]
fn row_036_headless_and_fqdn_slices() {
    let headless = changes(
        r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "h", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s",
            "service.kubernetes.io/headless": ""}}, "ports": [{"name": "p", "port": 1}],
            "endpoints": [{"addresses": ["10.0.0.1"]}]}"#,
    );
    let fqdn = changes(
        r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "FQDN",
            "metadata": {"name": "f", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "p", "port": 1}], "endpoints": [{"addresses": ["example.org"]}]}"#,
    );
    let node = Node::with([s(PLAIN), headless, fqdn]);
    assert!(node.real_servers("10.96.0.10", 80).is_empty());
}

#[test]
fn row_037_another_port_number_keeps_the_address() {
    let mut node = Node::with([s(PLAIN), slice(&[E1])]);
    let done = node.change(s(&PLAIN.replace("80", "81")));
    assert!(
        !done.iter().any(|operation| operation.contains("bind")),
        "{done:?}"
    );
    let position = |text: &str| {
        done.iter()
            .position(|operation| operation.starts_with(text))
            .unwrap()
    };
    assert!(
        position("add virtual server") < position("remove virtual server"),
        "{done:?}"
    );
}

#[test]
fn row_038_another_cluster_ip_in_one_batch() {
    let mut node = Node::with([s(PLAIN), slice(&[E1])]);
    let mut batch = vec![Change::ServiceGone(ObjectName::new("ns", "s"))];
    batch.extend(s(&PLAIN.replace("10.96.0.10", "10.96.0.11")));
    node.change(batch);
    assert_eq!(node.vips(), ["10.96.0.11"]);
}

#[test]
fn row_039_a_terminating_duplicate_never_wins() {
    let going = E1.replace(
        r#""ready": true"#,
        r#""ready": false, "serving": true, "terminating": true"#,
    );
    for (first, second) in [(E1, going.as_str()), (going.as_str(), E1)] {
        let node = Node::with([
            s(PLAIN),
            slice_of("s-1", PORTS, &[first]),
            slice_of("s-2", PORTS, &[second]),
        ]);
        assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    }
}

#[test]
fn row_040_readiness() {
    let unknown = r#"{"addresses": ["10.244.0.6"]}"#;
    let unready = r#"{"addresses": ["10.244.0.7"], "conditions": {"ready": false, "serving": true, "terminating": false}}"#;
    let node = Node::with([s(PLAIN), slice(&[unknown, unready])]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.6:8080"]);
}

#[test]
fn row_041_a_port_without_number() {
    let ports = r#"{"name": "p"}, {"name": "q", "port": 0}, {"name": "r", "port": 9}"#;
    let spec = r#""clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 80}, {"name": "r", "port": 81}]"#;
    let node = Node::with([s(spec), slice_of("s-1", ports, &[E1])]);
    assert!(node.real_servers("10.96.0.10", 80).is_empty());
    assert_eq!(node.real_servers("10.96.0.10", 81), ["10.244.0.5:9"]);
}

#[test]
fn row_042_043_044_affinity_changes_in_place() {
    let affinity = |seconds: &str| {
        format!(
            r#"{PLAIN}, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {{"clientIP": {{{seconds}}}}}"#
        )
    };
    let mut node = Node::with([s(&affinity("")), slice(&[E1])]);
    let service = node.service(Protocol::TCP, "10.96.0.10", 80).unwrap();
    assert_eq!(
        (service.flags, service.timeout),
        (ServiceFlags::PERSISTENT, 10_800)
    );
    let done = node.change(s(&affinity(r#""timeoutSeconds": 60"#)));
    assert_eq!(
        done,
        ["set virtual server 10.96.0.10:80/TCP scheduler rr persistent 60 s"]
    );
    let done = node.change(s(PLAIN));
    assert_eq!(done, ["set virtual server 10.96.0.10:80/TCP scheduler rr"]);
}

#[test]
fn row_045_maglev_hashes_ports() {
    let flags = |spec: &str| {
        let config = Config {
            scheduler: Scheduler::MH,
            ..config()
        };
        let node = Node::new(config, [s(spec)]);
        let service = node.service(Protocol::TCP, "10.96.0.10", 80).unwrap();
        service.flags.bits()
    };
    assert_eq!(flags(PLAIN), 0x10);
    let sticky = format!(r#"{PLAIN}, "sessionAffinity": "ClientIP""#);
    assert_eq!(flags(&sticky), 0x11);
}

#[test]
fn row_153_added_and_deleted_between_syncs() {
    let mut node = Node::with([]);
    let mut batch = s(PLAIN);
    batch.push(Change::ServiceGone(ObjectName::new("ns", "s")));
    assert!(node.change(batch).is_empty());
}

#[test]
fn row_155_and_156_dual_stack() {
    let spec = r#""clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"], "ports": [{"name": "p", "port": 80}]"#;
    let v6 = slice_of(
        "s-6",
        PORTS,
        &[r#"{"addresses": ["fd00:244::5"], "nodeName": "n1"}"#],
    );
    let node = Node::with([s(spec), slice(&[E1]), v6.clone()]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    assert_eq!(node.real_servers("fd00:96::10", 80), ["[fd00:244::5]:8080"]);
    assert_eq!(
        node.ipv6_members(FilterSet::Hairpin),
        ["[fd00:244::5]:8080/TCP from fd00:244::5"]
    );
    let only_v4 = Node::new(
        Config {
            families: vec![Family::Ipv4],
            ..config()
        },
        [s(spec), slice(&[E1]), v6],
    );
    assert_eq!(only_v4.known.virtual_servers.len(), 1);
    assert_eq!(only_v4.known.sets.len(), 17);
}

#[test]
fn the_older_of_two_claims_wins_and_the_other_is_reported() {
    let claim = |name: &str, created: &str, target: &str| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "creationTimestamp": "{created}"}},
                 "spec": {{"clusterIP": "10.96.0.10", "ports": [{{"port": 80}}], "sessionAffinity": "{target}"}}}}"#
        ))
    };
    let mut node = Node::with([
        claim("a", "2026-02-01T00:00:00Z", "ClientIP"),
        claim("b", "2026-01-01T00:00:00Z", "None"),
    ]);
    assert_eq!(
        node.service(Protocol::TCP, "10.96.0.10", 80)
            .unwrap()
            .timeout,
        0
    );
    let problems = |node: &Node| -> Vec<String> {
        let problems = node.model.desired().problems();
        problems
            .map(|(service, problem)| format!("{service}: {problem}"))
            .collect()
    };
    assert_eq!(
        problems(&node),
        ["default/a: 10.96.0.10:80/TCP is default/b's: the older service keeps it"]
    );
    let done = node.change(vec![Change::ServiceGone(ObjectName::new("default", "b"))]);
    assert_eq!(
        done,
        ["set virtual server 10.96.0.10:80/TCP scheduler rr persistent 10800 s"]
    );
    assert!(problems(&node).is_empty());
}

#[test]
fn the_api_server_and_dns_come_first() {
    let all = |name: &str, ip: &str, port: u16| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}},
                 "spec": {{"clusterIP": "{ip}", "ports": [{{"port": {port}}}]}}}}"#
        ))
    };
    let mut model = Model::new(config());
    for change in [
        all("a", "10.96.0.1", 80),
        all("dns", "10.96.0.2", 53),
        all("kubernetes", "10.96.0.3", 443),
    ]
    .concat()
    {
        model.change(change);
    }
    let plan = model.plan_everything(&Known::default());
    let order: Vec<String> = plan
        .operations()
        .iter()
        .filter(|operation| matches!(operation, Operation::AddVirtualServer { .. }))
        .map(ToString::to_string)
        .collect();
    assert!(
        order[0].contains("10.96.0.3:443") && order[1].contains("10.96.0.2:53"),
        "{order:?}"
    );
}
