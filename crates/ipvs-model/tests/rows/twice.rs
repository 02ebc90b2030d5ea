//! A Service that asks for one address and port twice has no conflict with itself.

use ipvs_codec::Protocol;
use ipvs_model::{FilterSet, Problem};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::fixture::{E1, E2, Node, n1, s, slice, with_spec};

fn problems(node: &Node) -> Vec<Problem> {
    let problems = node.model.desired().problems();
    problems.map(|(_, problem)| problem).collect()
}

/// Usual with MetalLB and kube-vip.
#[test]
fn an_external_ip_that_is_the_load_balancers_address_is_no_conflict() {
    let spec = r#""type": "LoadBalancer", "externalIPs": ["203.0.113.5"], "loadBalancerSourceRanges": ["198.51.100.0/24"]"#;
    let status = r#""loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"ip": "203.0.113.5"}]}"#;
    let node = Node::with([with_spec(spec, status), slice(&[E1])]);
    assert_eq!(problems(&node), []);
    for set in [
        FilterSet::ExternalIp,
        FilterSet::LoadBalancer,
        FilterSet::Firewalled,
    ] {
        assert_eq!(node.members(set), ["203.0.113.5:80/TCP"], "{set}");
    }
    assert_eq!(node.real_servers("203.0.113.5", 80).len(), 1);
}

/// Its traffic policies differ: the external one counts, as in kube-proxy, which comes to it last.
#[test]
fn a_cluster_ip_that_is_an_external_ip_has_the_external_policy() {
    let spec = r#""externalIPs": ["10.96.0.10"], "internalTrafficPolicy": "Local""#;
    let mut node = Node::with([with_spec(spec, ""), slice(&[E1, E2]), n1("a")]);
    assert_eq!(problems(&node), []);
    assert_eq!(node.real_servers("10.96.0.10", 80).len(), 2);
    node.change(slice(&[E2]));
    assert_eq!(problems(&node), []);
    node.change(slice(&[E1, E2]));
    assert_eq!(node.real_servers("10.96.0.10", 80).len(), 2);
}

#[test]
fn a_node_port_at_an_external_ip_of_this_node_is_no_conflict() {
    let spec = r#""type": "NodePort", "clusterIP": "10.96.0.10", "externalIPs": ["192.168.0.1"],
        "ports": [{"name": "p", "port": 30080, "nodePort": 30080}]"#;
    let mut node = Node::with([s(spec), slice(&[E1])]);
    let addresses = vec!["192.168.0.1".parse().unwrap()];
    node.change(vec![ipvs_model::input::Change::NodeAddresses(addresses)]);
    assert_eq!(problems(&node), []);
    assert!(node.service(Protocol::TCP, "192.168.0.1", 30080).is_some());
}

proptest! {
    #[test]
    fn no_service_is_in_its_own_way(
        external in subsequence(vec!["10.96.0.10", "192.168.0.1", "203.0.113.5"], 0..4),
        ingress in subsequence(vec!["10.96.0.10", "192.168.0.1", "203.0.113.5"], 0..4),
        ports in proptest::collection::vec((select(vec![80, 30080]), select(vec![30080, 30081])), 1..3),
        internal in select(vec!["Cluster", "Local"]),
    ) {
        let ports: Vec<String> = ports.iter().map(|(port, node_port)| {
            format!(r#"{{"name": "p", "port": {port}, "nodePort": {node_port}}}"#)
        }).collect();
        let external: Vec<String> = external.iter().map(|ip| format!("{ip:?}")).collect();
        let ingress: Vec<String> = ingress.iter().map(|ip| format!(r#"{{"ip": "{ip}"}}"#)).collect();
        let service = crate::fixture::changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns"}}, "spec": {{
                 "type": "LoadBalancer", "clusterIP": "10.96.0.10", "externalIPs": [{}], "internalTrafficPolicy": "{internal}",
                 "ports": [{}]}}, "status": {{"loadBalancer": {{"ingress": [{}]}}}}}}"#,
            external.join(","), ports.join(","), ingress.join(","),
        ));
        let addresses = || vec![ipvs_model::input::Change::NodeAddresses(vec!["192.168.0.1".parse().unwrap()])];
        let fresh = Node::with([addresses(), service.clone(), slice(&[E1, E2])]);
        prop_assert_eq!(problems(&fresh), []);
        // Each change leaves the same.
        let mut node = Node::with([addresses(), service, slice(&[E2])]);
        node.change(slice(&[E1, E2]));
        prop_assert_eq!(problems(&node), []);
        for key in fresh.known.virtual_servers.keys() {
            let (left, right) = (node.model.desired(), fresh.model.desired());
            prop_assert_eq!(left.virtual_server(key), right.virtual_server(key));
        }
    }
}
