//! Rows 95 to 108: sets, rules, and the plan itself.

use crate::fixture::*;
use ipvs_codec::Family;
use ipvs_model::{Config, FilterSet, Known, LocalTraffic, Model, Vip};
use ipvs_netfilter::iptables::Table;

#[test]
fn row_095_and_101_an_empty_cluster() {
    let node = Node::with([]);
    assert_eq!(node.known.sets.len(), 34);
    let rules = |chain: &str| nat(&node, Family::Ipv4, chain);
    assert_eq!(
        rules("KUBE-SERVICES"),
        [
            "-s 127.0.0.0/8 -j RETURN",
            "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"
        ]
    );
    assert_eq!(rules("KUBE-POSTROUTING").len(), 3);
    assert_eq!(rules("KUBE-LOAD-BALANCER"), ["-j KUBE-MARK-MASQ"]);
    assert!(rules("KUBE-NODE-PORT").is_empty());
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

/// The rule of KUBE-SERVICES that masquerades traffic to cluster IPs.
fn masquerade_rule(config: Config, family: Family) -> String {
    let spec = r#""clusterIPs": ["10.96.0.10", "fd00:96::1"], "ports": [{"port": 80}]"#;
    let node_object = changes(
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "spec": {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}}"#,
    );
    let node = Node::new(config, [s(spec), node_object]);
    let rules = nat(&node, family, "KUBE-SERVICES");
    let masquerades = |rule: &String| rule.ends_with("-j KUBE-MARK-MASQ");
    rules.into_iter().find(masquerades).unwrap()
}

fn nat(node: &Node, family: Family, chain: &str) -> Vec<String> {
    let rules = node.known.rules[&family].rules(Table::Nat, chain).unwrap();
    rules.iter().map(ToString::to_string).collect()
}

#[test]
fn row_103_masquerade_all() {
    let config = Config {
        masquerade_all: true,
        ..config()
    };
    let rule = masquerade_rule(config, Family::Ipv4);
    assert!(
        rule.starts_with("-m comment") && rule.contains("KUBE-CLUSTER-IP dst,dst"),
        "{rule}"
    );
}

#[test]
fn row_104_a_cluster_cidr() {
    let rule = masquerade_rule(config(), Family::Ipv4);
    assert!(
        rule.starts_with("! -s 10.244.0.0/16 -m comment") && rule.contains("dst,dst"),
        "{rule}"
    );
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
    for rule in [
        masquerade_rule(untold, Family::Ipv4),
        masquerade_rule(config(), Family::Ipv6),
        masquerade_rule(node_cidrs, Family::Ipv6),
    ] {
        assert!(
            rule.starts_with("-m comment") && rule.contains("src,dst"),
            "{rule}"
        );
    }
}

#[test]
fn row_106_pods_are_told_by_their_interfaces() {
    let begins = |local_traffic: LocalTraffic, words: &str| {
        let config = Config {
            local_traffic,
            ..config()
        };
        for family in Family::ALL {
            let rule = masquerade_rule(config.clone(), family);
            assert!(
                rule.starts_with(words) && rule.contains("dst,dst"),
                "{rule}"
            );
        }
    };
    let name = |text: &str| text.parse().unwrap();
    begins(LocalTraffic::Bridge(name("cbr0")), "! -i cbr0 -m comment");
    begins(
        LocalTraffic::InterfacePrefix(name("cali")),
        "! -i cali+ -m comment",
    );
}

/// kube-proxy ends, to be started anew.
#[test]
fn row_154_fixed_another_pod_network_is_followed_where_it_matters() {
    let config = Config {
        local_traffic: LocalTraffic::NodeCidrs,
        ..config()
    };
    let rule = masquerade_rule(config.clone(), Family::Ipv4);
    assert!(rule.starts_with("! -s 10.244.7.0/24 "), "{rule}");
    let mut node = Node::new(config, [s(PLAIN)]);
    let node_object = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.9.0/24"}}"#;
    let done = node.change(changes(node_object));
    assert_eq!(done.len(), 1, "only the rules: {done:?}");
    let rules = nat(&node, Family::Ipv4, "KUBE-SERVICES");
    assert!(
        rules
            .iter()
            .any(|rule| rule.starts_with("! -s 10.244.9.0/24")),
        "{rules:?}"
    );
    let mut by_cluster = Node::new(super::fixture::config(), [s(PLAIN)]);
    let done = by_cluster.change(changes(node_object));
    assert!(done.is_empty(), "{done:?}");
}

#[test]
fn row_109_ports_at_random_where_iptables_can() {
    let last = |random_fully| {
        let config = Config {
            random_fully,
            ..config()
        };
        let node = Node::new(config, [s(PLAIN), slice(&[E1])]);
        let rules = nat(&node, Family::Ipv4, "KUBE-POSTROUTING");
        assert!(
            rules[0].ends_with("-j MASQUERADE"),
            "hairpin traffic keeps its port: {rules:?}"
        );
        rules[3].clone()
    };
    assert!(last(true).ends_with("-j MASQUERADE --random-fully"));
    assert!(last(false).ends_with("-j MASQUERADE"));
}

#[test]
fn row_113_policy_local_returns_before_the_mark() {
    let local = r#""externalTrafficPolicy": "Local","#;
    for (protocol, word) in [("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")] {
        let node = Node::with([node_port(protocol, local), node_addresses()]);
        let rules = nat(&node, Family::Ipv4, "KUBE-NODE-PORT");
        assert_eq!(rules.len(), 2);
        assert!(
            rules
                .iter()
                .all(|rule| rule.starts_with(&format!("-p {word} ")))
        );
        assert!(rules[0].contains("-LOCAL-") && rules[0].ends_with("-j RETURN"));
        assert!(rules[1].ends_with("-j KUBE-MARK-MASQ"), "{rules:?}");
    }
}

#[test]
fn row_114_ipv6_rules() {
    let spec = r#""clusterIPs": ["fd00:96::1"], "ports": [{"port": 80}]"#;
    let node = Node::with([s(spec)]);
    let rules = nat(&node, Family::Ipv6, "KUBE-SERVICES");
    assert_eq!(rules[0], "-s ::1/128 -j RETURN");
    let last = rules.last().unwrap();
    assert_eq!(
        last,
        "-m set --match-set KUBE-6-CLUSTER-IP dst,dst -j ACCEPT"
    );
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
    let saved = &node.known.rules[&Family::Ipv4];
    let mark = saved.rules(Table::Nat, "KUBE-MARK-MASQ").unwrap();
    assert_eq!(mark[0].as_str(), "-j MARK --set-xmark 0x1/0x1");
}

#[test]
fn routes_carry_the_nodes_address() {
    let node_object = changes(
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "192.168.1.10"}]}}"#,
    );
    let config = Config {
        vip_binding: ipvs_model::VipBinding::Route,
        ..config()
    };
    let node = Node::new(config, [s(PLAIN), node_object]);
    let source = Some("192.168.1.10".parse().unwrap());
    let address = "10.96.0.10".parse().unwrap();
    assert_eq!(node.known.vips[&address], [Vip::Route { address, source }]);
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
