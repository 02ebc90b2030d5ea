//! Rows 95 to 108: sets, rules, and the plan itself.

use crate::fixture::*;
use ipvs_codec::Family;
use ipvs_model::input::Change;
use ipvs_model::{
    Config, FilterSet, FilterShape, Known, LocalPods, LocalTraffic, Masquerade, Model, Vip,
};

#[test]
fn row_095_and_101_an_empty_cluster() {
    let node = Node::with([]);
    assert_eq!(node.known.sets.len(), 34);
    for family in Family::ALL {
        let shape = shape(&node, family);
        assert_eq!(
            (shape.filled.iter().count(), &shape.cluster_ips),
            (0, &None)
        );
    }
}

#[test]
fn row_099_addresses_are_canonical() {
    let long = r#"{"addresses": ["FD00:0244::0:0005"], "nodeName": "n1"}"#;
    let spec = r#""clusterIPs": ["fd00:96:0::1"], "ports": [{"name": "p", "port": 80}]"#;
    let node = Node::with([s(spec), slice(&[long])]);
    assert_eq!(
        node.ipv6_members(FilterSet::Hairpin),
        ["[fd00:244::5]:8080/TCP from fd00:244::5"]
    );
    assert_eq!(
        node.ipv6_members(FilterSet::ClusterIp),
        ["[fd00:96::1]:80/TCP"]
    );
}

#[test]
fn row_097_loop_back_has_every_local_endpoint() {
    let unready =
        r#"{"addresses": ["10.244.0.7"], "nodeName": "n1", "conditions": {"ready": false}}"#;
    let node = Node::with([s(PLAIN), slice(&[E1, E2, unready])]);
    let wanted = [
        "10.244.0.5:8080/TCP from 10.244.0.5",
        "10.244.0.7:8080/TCP from 10.244.0.7",
    ];
    assert_eq!(node.members(FilterSet::Hairpin), wanted);
}

fn shape(node: &Node, family: Family) -> &FilterShape {
    node.known.filters[&family].shape.as_ref().unwrap()
}

/// Who is masqueraded on the way to cluster IPs.
fn masqueraded(config: Config, family: Family) -> Masquerade {
    let spec = r#""clusterIPs": ["10.96.0.10", "fd00:96::1"], "ports": [{"port": 80}]"#;
    let node_object = changes(
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}}"#,
    );
    let node = Node::new(config, [s(spec), node_object]);
    shape(&node, family).cluster_ips.clone().unwrap()
}

fn not_from(network: &str) -> Masquerade {
    Masquerade::NotFrom(LocalPods::Network(network.parse().unwrap()))
}

#[test]
fn row_103_masquerade_all() {
    let config = Config {
        masquerade_all: true,
        ..config()
    };
    assert_eq!(masqueraded(config, Family::Ipv4), Masquerade::All);
}

#[test]
fn row_104_a_cluster_cidr() {
    let masqueraded = masqueraded(config(), Family::Ipv4);
    assert_eq!(masqueraded, not_from("10.244.0.0/16"));
}

#[test]
fn row_105_107_nothing_tells_pods_apart() {
    let untold = Config {
        node_name: "n1".into(),
        ..Config::default()
    };
    let node_cidrs = Config {
        local_traffic: LocalTraffic::NodeCidrs,
        ..config()
    };
    for masqueraded in [
        masqueraded(untold, Family::Ipv4),
        masqueraded(config(), Family::Ipv6),
        masqueraded(node_cidrs, Family::Ipv6),
    ] {
        assert_eq!(masqueraded, Masquerade::Node);
    }
}

#[test]
fn row_106_pods_are_told_by_their_interfaces() {
    let is = |local_traffic: LocalTraffic, pods: LocalPods| {
        let config = Config {
            local_traffic,
            ..config()
        };
        for family in Family::ALL {
            let masqueraded = masqueraded(config.clone(), family);
            assert_eq!(masqueraded, Masquerade::NotFrom(pods.clone()));
        }
    };
    let name = |text: &str| text.parse().unwrap();
    is(
        LocalTraffic::Bridge(name("cbr0")),
        LocalPods::Bridge(name("cbr0")),
    );
    is(
        LocalTraffic::InterfacePrefix(name("cali")),
        LocalPods::InterfacePrefix(name("cali")),
    );
}

/// kube-proxy ends, to be started anew.
#[test]
fn row_154_fixed_another_pod_network_is_followed_where_it_matters() {
    let config = Config {
        local_traffic: LocalTraffic::NodeCidrs,
        ..config()
    };
    let before = masqueraded(config.clone(), Family::Ipv4);
    assert_eq!(before, not_from("10.244.7.0/24"));
    let mut node = Node::new(config, [s(PLAIN)]);
    let node_object = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.9.0/24"}}"#;
    let done = node.change(changes(node_object));
    assert_eq!(done.len(), 1, "only the rules: {done:?}");
    let after = &shape(&node, Family::Ipv4).cluster_ips;
    assert_eq!(after, &Some(not_from("10.244.9.0/24")));
    let mut by_cluster = Node::new(super::fixture::config(), [s(PLAIN)]);
    let done = by_cluster.change(changes(node_object));
    assert!(done.is_empty(), "{done:?}");
}

#[test]
fn row_109_ports_at_random_where_that_can_be() {
    for random_fully in [true, false] {
        let config = Config {
            random_fully,
            ..config()
        };
        let node = Node::new(config, [s(PLAIN), slice(&[E1])]);
        assert_eq!(shape(&node, Family::Ipv4).random_fully, random_fully);
    }
}

#[test]
fn row_113_policy_local_returns_before_the_mark() {
    use FilterSet::{
        NodePortLocalSctp, NodePortLocalTcp, NodePortLocalUdp, NodePortSctp, NodePortTcp,
        NodePortUdp,
    };
    let local = r#""externalTrafficPolicy": "Local","#;
    for (protocol, of_local, set) in [
        ("TCP", NodePortLocalTcp, NodePortTcp),
        ("UDP", NodePortLocalUdp, NodePortUdp),
        ("SCTP", NodePortLocalSctp, NodePortSctp),
    ] {
        let node = Node::with([node_port(protocol, local), node_addresses()]);
        let filled = shape(&node, Family::Ipv4).filled;
        assert!(filled.contains(of_local) && filled.contains(set));
        assert_eq!(node.members(of_local), node.members(set));
    }
}

#[test]
fn row_108_the_mark_bit() {
    let node = Node::new(
        Config {
            masquerade_mark: 1,
            ..config()
        },
        [],
    );
    assert_eq!(shape(&node, Family::Ipv4).mark, 1);
}

#[test]
fn routes_carry_the_nodes_address_and_the_smallest_mtu_of_its_links() {
    let node_object = changes(
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "192.168.1.10"}]}}"#,
    );
    let config = Config {
        vip_binding: ipvs_model::VipBinding::Route,
        ..config()
    };
    let mut node = Node::new(config, [s(PLAIN), node_object]);
    let address = "10.96.0.10".parse().unwrap();
    let from = |source: &str, mtu| Vip::Route {
        address,
        source: Some(source.parse().unwrap()),
        mtu,
    };
    assert_eq!(node.known.vips[&address], [from("192.168.1.10", None)]);
    // Each takes the place of the one before: to unbind that would take away what is there now.
    let mut replaces = |change, wanted, words: &str| {
        assert_eq!(node.change(vec![change]), [words]);
        assert_eq!(node.known.vips[&address], [wanted]);
        assert!(node.model.plan_everything(&node.known).is_empty());
    };
    replaces(
        Change::SmallestMtu(Some(1450)),
        from("192.168.1.10", Some(1450)),
        "bind VIP 10.96.0.10 (route, source 192.168.1.10, MTU 1450)",
    );
    let moved = changes(
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.1.11"}]}}"#,
    );
    replaces(
        moved.into_iter().next().unwrap(),
        from("192.168.1.11", Some(1450)),
        "bind VIP 10.96.0.10 (route, source 192.168.1.11, MTU 1450)",
    );
    // The kernel would cut a larger one, so that it differed for ever.
    replaces(
        Change::SmallestMtu(Some(65_535)),
        from("192.168.1.11", Some(65_520)),
        "bind VIP 10.96.0.10 (route, source 192.168.1.11, MTU 65520)",
    );
}

#[test]
fn a_plan_is_text_and_json() {
    let mut model = Model::new(config());
    s(PLAIN).into_iter().for_each(|change| model.change(change));
    let plan = model.plan_everything(&Known::default());
    let json = serde_json::to_value(&plan).unwrap();
    let operations = json.as_array().unwrap();
    assert_eq!(operations.len(), plan.len());
    let added = operations
        .iter()
        .find(|operation| operation["operation"] == "add-virtual-server")
        .unwrap();
    assert_eq!(
        (added["key"].as_str(), added["scheduler"].as_str()),
        (Some("10.96.0.10:80/TCP"), Some("rr"))
    );
    assert_eq!(plan.to_string().lines().count(), plan.len());
}
