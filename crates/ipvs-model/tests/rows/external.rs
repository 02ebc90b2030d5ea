//! Rows 47 to 68, 100 and 102: external IPs and load balancers.

use crate::fixture::*;
use ipvs_codec::{Family, Protocol};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, FilterSet};

#[test]
fn row_047_and_052_external_ips() {
    let node = Node::with([with_spec(EXTERNAL, ""), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.vips(), ["10.96.0.10", "203.0.113.5"]);
    assert_eq!(
        node.real_servers("203.0.113.5", 80),
        ["10.244.0.5:8080", "10.244.3.9:8080"]
    );
    assert_eq!(node.members(FilterSet::ExternalIp), ["203.0.113.5:80/TCP"]);
    assert!(node.members(FilterSet::ExternalIpLocal).is_empty());
    assert!(
        node.ipv6_members(FilterSet::ExternalIp).is_empty(),
        "the service has no IPv6 cluster IP"
    );
}

#[test]
fn row_048_external_ips_with_policy_local() {
    let spec = format!(r#"{EXTERNAL}, "type": "NodePort", "externalTrafficPolicy": "Local""#);
    let node = Node::with([with_spec(&spec, ""), slice(&[E1, E2])]);
    assert_eq!(
        node.members(FilterSet::ExternalIpLocal),
        ["203.0.113.5:80/TCP"]
    );
    assert!(node.members(FilterSet::ExternalIp).is_empty());
    assert_eq!(node.real_servers("203.0.113.5", 80), ["10.244.0.5:8080"]);
    assert_eq!(node.real_servers("10.96.0.10", 80).len(), 2);
}

#[test]
fn row_049_050_051_an_external_ip_that_the_node_has() {
    let mut node = Node::with([
        with_spec(r#""externalIPs": ["192.168.1.10"]"#, ""),
        slice(&[E1]),
        node_addresses(),
    ]);
    assert!(node.service(Protocol::TCP, "192.168.1.10", 80).is_some());
    assert_eq!(node.vips(), ["10.96.0.10"]);
    assert_eq!(node.members(FilterSet::Vip), ["10.96.0.10"]);
    node.change(vec![Change::NodeAddresses(Vec::new())]);
    assert_eq!(node.vips(), ["10.96.0.10", "192.168.1.10"]);
    node.change(node_addresses());
    assert_eq!(node.vips(), ["10.96.0.10"]);
}

#[test]
fn row_053_external_ips_may_be_forbidden() {
    let config = Config {
        external_ips: false,
        ..config()
    };
    let node = Node::new(config, [with_spec(EXTERNAL, ""), slice(&[E1])]);
    assert_eq!(node.vips(), ["10.96.0.10"]);
    assert!(node.service(Protocol::TCP, "203.0.113.5", 80).is_none());
    assert!(node.members(FilterSet::ExternalIp).is_empty());
}

#[test]
fn row_054_external_ips_without_endpoints() {
    let node = Node::with([with_spec(EXTERNAL, "")]);
    assert!(node.real_servers("203.0.113.5", 80).is_empty());
    assert_eq!(node.vips(), ["10.96.0.10", "203.0.113.5"]);
}

#[test]
fn row_055_056_057_load_balancer_addresses() {
    let node = Node::with([with_spec(LOAD_BALANCER, INGRESS), slice(&[E1])]);
    assert_eq!(node.members(FilterSet::LoadBalancer), ["198.18.0.7:80/TCP"]);
    assert_eq!(node.vips(), ["10.96.0.10", "198.18.0.7"]);
    for (ingress, served) in [
        (r#"{"ip": "198.18.0.7", "ipMode": "Proxy"}"#, false),
        (r#"{"ip": "198.18.0.7", "ipMode": "VIP"}"#, true),
        (r#"{"hostname": "lb.example.org"}"#, false),
    ] {
        let status = format!(r#""loadBalancer": {{"ingress": [{ingress}]}}"#);
        let node = Node::with([with_spec(LOAD_BALANCER, &status), slice(&[E1])]);
        assert_eq!(
            node.service(Protocol::TCP, "198.18.0.7", 80).is_some(),
            served,
            "{ingress}"
        );
    }
}

#[test]
fn row_058_and_059_load_balancer_with_policy_local() {
    let spec = format!(r#"{LOAD_BALANCER}, "externalTrafficPolicy": "Local""#);
    let mut node = Node::with([with_spec(&spec, INGRESS), slice(&[E1, E2])]);
    assert_eq!(
        node.members(FilterSet::LoadBalancerLocal),
        ["198.18.0.7:80/TCP"]
    );
    assert_eq!(node.real_servers("198.18.0.7", 80), ["10.244.0.5:8080"]);
    node.change(vec![Change::EndpointSliceGone(ObjectName::new(
        "ns", "s-1",
    ))]);
    let node = Node::with([with_spec(&spec, INGRESS), slice(&[E2])]);
    assert_eq!(
        node.real_servers("198.18.0.7", 80),
        ["10.244.3.9:8080"],
        "none here: those of the cluster"
    );
    assert_eq!(node.model.desired().without_local(Family::Ipv4).external, 1);
}

#[test]
fn row_060_source_ranges_without_the_node() {
    let node = ranges(r#""172.16.0.0/12""#);
    assert_eq!(node.members(FilterSet::Firewalled), ["198.18.0.7:80/TCP"]);
    assert_eq!(
        node.members(FilterSet::SourceRange),
        ["198.18.0.7:80/TCP from 172.16.0.0/12"]
    );
    assert!(node.members(FilterSet::SourceAddress).is_empty());
    assert_eq!(refused(&node), ["198.18.0.7:80/TCP"]);
}

#[test]
fn row_061_source_ranges_with_the_node() {
    let node = ranges(r#""192.168.0.0/16""#);
    assert_eq!(
        node.members(FilterSet::SourceAddress),
        ["198.18.0.7:80/TCP from 198.18.0.7"]
    );
    assert!(refused(&node).is_empty());
}

#[test]
fn row_062_to_065_odd_source_ranges() {
    assert!(
        ranges(r#""10.0.0.0/8", "0.0.0.0/0""#)
            .members(FilterSet::Firewalled)
            .is_empty()
    );
    let trimmed = ranges(r#"" 10.0.0.0/8 ""#);
    assert_eq!(
        trimmed.members(FilterSet::SourceRange),
        ["198.18.0.7:80/TCP from 10.0.0.0/8"]
    );
    assert!(
        ranges(r#""fd00::/8""#)
            .members(FilterSet::Firewalled)
            .is_empty()
    );
    let single = ranges(r#""9.9.9.9/32""#);
    assert_eq!(
        single.members(FilterSet::SourceRange),
        ["198.18.0.7:80/TCP from 9.9.9.9/32"]
    );
}

#[test]
fn row_066_services_that_share_an_address_keep_their_own_ranges() {
    let spec = |ranges: &str, ip: &str, port: u16| {
        format!(
            r#"{LOAD_BALANCER}, {ranges} "clusterIP": "{ip}", "ports": [{{"name": "p", "port": {port}}}]"#
        )
    };
    let service = |name: &str, spec: &str| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "ns"}},
                 "spec": {{{spec}}}, "status": {{{INGRESS}}}}}"#
        ))
    };
    let restricted = r#""loadBalancerSourceRanges": ["172.16.0.0/12"],"#;
    let mut node = Node::with([
        service("s", &spec(restricted, "10.96.0.10", 80)),
        service("open", &spec("", "10.96.0.11", 81)),
        n1("a"),
    ]);
    assert_eq!(refused(&node).len(), 1);
    assert_eq!(node.members(FilterSet::Firewalled), ["198.18.0.7:80/TCP"]);
    assert_eq!(node.members(FilterSet::LoadBalancer).len(), 2);
    let done = node.change(vec![Change::ServiceGone(ObjectName::new("ns", "s"))]);
    assert!(
        !done
            .iter()
            .any(|operation| operation.contains("unbind VIP 198")),
        "the other has it still: {done:?}"
    );
}

#[test]
fn row_067_a_load_balancer_address_goes() {
    let spec = format!(r#"{LOAD_BALANCER}, "loadBalancerSourceRanges": ["172.16.0.0/12"]"#);
    let mut node = Node::with([with_spec(&spec, INGRESS), slice(&[E1]), n1("a")]);
    node.change(with_spec(&spec, ""));
    assert_eq!(node.vips(), ["10.96.0.10"]);
    assert!(node.members(FilterSet::Firewalled).is_empty() && refused(&node).is_empty());
    assert!(node.service(Protocol::TCP, "198.18.0.7", 80).is_none());
}

#[test]
fn row_068_two_load_balancer_addresses() {
    let status = r#""loadBalancer": {"ingress": [{"ip": "198.18.0.7"}, {"ip": "198.18.0.8"}]}"#;
    let node = Node::with([with_spec(LOAD_BALANCER, status), slice(&[E1])]);
    assert_eq!(node.vips(), ["10.96.0.10", "198.18.0.7", "198.18.0.8"]);
    assert_eq!(
        node.members(FilterSet::LoadBalancer),
        ["198.18.0.7:80/TCP", "198.18.0.8:80/TCP"]
    );
    assert_eq!(node.known.virtual_servers.len(), 3);
}

#[test]
fn row_100_the_health_check_port_changes_and_goes() {
    let spec = |port: u16| {
        format!(
            r#"{LOAD_BALANCER}, "externalTrafficPolicy": "Local", "healthCheckNodePort": {port}"#
        )
    };
    let mut node = Node::with([with_spec(&spec(30000), INGRESS), slice(&[E1])]);
    node.change(with_spec(&spec(30001), INGRESS));
    assert_eq!(node.members(FilterSet::HealthCheckPort), ["IPv4:30001"]);
    node.change(vec![Change::ServiceGone(ObjectName::new("ns", "s"))]);
    assert!(node.members(FilterSet::HealthCheckPort).is_empty());
}

/// Section 4 of the specification: everything at once.
#[test]
fn row_102_the_worked_example() {
    let service = changes(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalIPs": ["203.0.113.5"],
            "loadBalancerSourceRanges": ["172.16.0.0/12"], "sessionAffinity": "ClientIP",
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.18.0.7"}]}}}"#,
    );
    let slice = changes(
        r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080}], "endpoints": [
            {"addresses": ["10.244.0.5"], "nodeName": "n1"}, {"addresses": ["10.244.3.9"], "nodeName": "n2"}]}"#,
    );
    let node = Node::with([service, slice, node_addresses(), n1("a")]);
    let mut servers: Vec<String> = node
        .known
        .virtual_servers
        .keys()
        .map(ToString::to_string)
        .collect();
    servers.sort();
    assert_eq!(
        servers,
        [
            "10.244.0.1:30080/TCP",
            "10.96.0.10:80/TCP",
            "192.168.1.10:30080/TCP",
            "198.18.0.7:80/TCP",
            "203.0.113.5:80/TCP"
        ]
    );
    assert!(
        node.known
            .virtual_servers
            .values()
            .all(|server| server.service.timeout == 10_800)
    );
    assert_eq!(node.vips(), ["10.96.0.10", "198.18.0.7", "203.0.113.5"]);
    assert_eq!(refused(&node).len(), 1);
    let filter = &node.known.filters[&Family::Ipv4];
    let filled: Vec<FilterSet> = filter.shape.as_ref().unwrap().filled.iter().collect();
    for set in [
        FilterSet::ClusterIp,
        FilterSet::ExternalIp,
        FilterSet::LoadBalancer,
    ] {
        assert!(filled.contains(&set), "{filled:?}");
    }
}
