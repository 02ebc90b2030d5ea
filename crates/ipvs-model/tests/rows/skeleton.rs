//! Rows 95 to 108: sets, rules, and the plan itself.

use crate::fixture::*;
use ipvs_codec::Family;
use ipvs_model::{Config, Known, Model, Vip};

#[test]
fn row_095_and_101_an_empty_cluster() {
    let node = Node::with([]);
    assert_eq!(node.known.sets.len(), 34);
    let saved = &node.known.rules[&Family::Ipv4];
    let rules = |chain: &str| -> Vec<String> {
        let rules = saved
            .rules(ipvs_netfilter::iptables::Table::Nat, chain)
            .unwrap();
        rules.iter().map(ToString::to_string).collect()
    };
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
fn row_097_loop_back_has_every_local_endpoint() {
    let unready =
        r#"{"addresses": ["10.244.0.7"], "nodeName": "n1", "conditions": {"ready": false}}"#;
    let node = Node::with([s(PLAIN), slice(&[E1, E2, unready])]);
    let wanted = [
        "10.244.0.5,tcp:8080,10.244.0.5",
        "10.244.0.7,tcp:8080,10.244.0.7",
    ];
    assert_eq!(node.members("KUBE-LOOP-BACK"), wanted);
}

#[test]
fn row_103_104_105_107_which_traffic_is_masqueraded() {
    let rule = |config: Config, family| {
        let spec = r#""clusterIPs": ["10.96.0.10", "fd00:96::1"], "ports": [{"port": 80}]"#;
        let node = Node::new(config, [s(spec)]);
        let saved = &node.known.rules[&family];
        let rules = saved
            .rules(ipvs_netfilter::iptables::Table::Nat, "KUBE-SERVICES")
            .unwrap();
        rules
            .iter()
            .map(ToString::to_string)
            .find(|rule| rule.ends_with("-j KUBE-MARK-MASQ"))
            .unwrap()
    };
    let all = rule(
        Config {
            masquerade_all: true,
            ..config()
        },
        Family::Ipv4,
    );
    assert!(
        all.starts_with("-m comment") && all.contains("KUBE-CLUSTER-IP dst,dst"),
        "{all}"
    );
    let cidr = rule(config(), Family::Ipv4);
    assert!(
        cidr.starts_with("! -s 10.244.0.0/16 -m comment") && cidr.contains("dst,dst"),
        "{cidr}"
    );
    for none in [
        rule(
            Config {
                node_name: "n1".into(),
                ..Config::default()
            },
            Family::Ipv4,
        ),
        rule(config(), Family::Ipv6),
    ] {
        assert!(
            none.starts_with("-m comment") && none.contains("src,dst"),
            "{none}"
        );
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
    let saved = &node.known.rules[&Family::Ipv4];
    let mark = saved
        .rules(ipvs_netfilter::iptables::Table::Nat, "KUBE-MARK-MASQ")
        .unwrap();
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
