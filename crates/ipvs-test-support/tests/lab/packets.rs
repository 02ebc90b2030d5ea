//! Real requests through the VIPs of `examples/manifests`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use ipvs_test_support::{Answer, Cluster, ask_tcp, ask_udp, run_kube_proxy, serve_tcp, workspace};

use crate::changes::{POD_A, POD_B, web};
use crate::state::{open_plan, route_config};

use crate::shop::shop;

pub(crate) const CIDR: &str = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48";

fn start(prefix: &str, arguments: &[&str]) -> Cluster {
    let cluster = Cluster::new(prefix).unwrap();
    let shop = shop();
    let arguments: Vec<&str> = [shop.as_str(), "--once", CIDR]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let output = run_kube_proxy(&cluster.node, &arguments).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    cluster
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Who answers four requests.
pub(crate) fn pods(ask: impl Fn() -> Result<Answer>) -> BTreeSet<String> {
    (0..4).map(|_| ask().unwrap().pod).collect()
}

fn both() -> BTreeSet<String> {
    ["pod-a", "pod-b"].map(str::to_owned).into()
}

fn every_service_answers(cluster: &Cluster) {
    for from in [&cluster.client, &cluster.node, &cluster.pods[0].namespace] {
        let tcp = |server: &str| pods(|| ask_tcp(from, addr(server)));
        assert_eq!(tcp("10.96.0.10:80"), both(), "web from {}", from.name());
        assert_eq!(
            tcp("10.96.0.20:80"),
            ["pod-b".to_owned()].into(),
            "api from {}",
            from.name()
        );
        assert_eq!(
            tcp("10.96.0.20:9100"),
            ["pod-b".to_owned()].into(),
            "api metrics from {}",
            from.name()
        );
        assert_eq!(
            tcp("10.96.0.53:53"),
            both(),
            "dns over TCP from {}",
            from.name()
        );
        assert_eq!(
            pods(|| ask_udp(from, addr("10.96.0.53:53"))),
            both(),
            "dns from {}",
            from.name()
        );
        assert_eq!(
            tcp("[fd00:10:96::30]:80"),
            both(),
            "docs from {}",
            from.name()
        );
        assert_eq!(tcp("10.96.0.40:80"), both(), "images from {}", from.name());
        assert_eq!(
            tcp("[fd00:10:96::40]:80"),
            both(),
            "images over IPv6 from {}",
            from.name()
        );
        assert_eq!(tcp("10.96.0.50:80").len(), 1, "cart from {}", from.name());
    }
}

#[test]
fn every_service_answers_outside_node_and_pod_with_addresses() {
    let cluster = start("pk-addr", &[]);
    every_service_answers(&cluster);
    let addresses = cluster
        .node
        .output("ip", &["-o", "addr", "show", "dev", "kube-ipvs0"])
        .unwrap();
    assert_eq!(
        addresses
            .lines()
            .filter(|line| !line.contains("fe80:"))
            .count(),
        7,
        "{addresses}"
    );
}

#[test]
fn every_service_answers_outside_node_and_pod_with_routes_and_no_address() {
    let cluster = start("pk-route", &["--vip-binding=route"]);
    every_service_answers(&cluster);
    let addresses = cluster.node.output("ip", &["-o", "addr"]).unwrap();
    assert!(
        !addresses.contains("10.96.") && !addresses.contains("fd00:10:96:"),
        "{addresses}"
    );
    let from_node = ask_tcp(&cluster.node, addr("10.96.0.20:80")).unwrap();
    assert_ne!(
        from_node.client,
        addr("10.96.0.20:80").ip(),
        "the node does not come from the VIP"
    );
    let config = ipvs_model::Config {
        local_traffic: ipvs_model::LocalTraffic::ClusterCidrs(
            ["10.244.0.0/16", "fd00:10:244::/48"]
                .map(|cidr| cidr.parse().unwrap())
                .into(),
        ),
        ..route_config()
    };
    let plan = open_plan(
        &cluster.node,
        &workspace().join("examples/manifests"),
        &config,
    );
    assert!(plan.is_empty(), "a second sync would do\n{plan}");
}

#[test]
fn switching_the_binding_leaves_nothing_of_the_other() {
    let cluster = start("pk-switch", &[]);
    for (binding, on_link) in [("route", 0), ("address", 7)] {
        let binding = format!("--vip-binding={binding}");
        let output = run_kube_proxy(
            &cluster.node,
            &[shop().as_str(), "--once", CIDR, binding.as_str()],
        )
        .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let addresses = cluster
            .node
            .output("ip", &["-o", "addr", "show", "dev", "kube-ipvs0"])
            .unwrap();
        assert_eq!(
            addresses
                .lines()
                .filter(|line| !line.contains("fe80:"))
                .count(),
            on_link,
            "{addresses}"
        );
        assert_eq!(
            pods(|| ask_tcp(&cluster.client, addr("10.96.0.10:80"))),
            both()
        );
    }
}

#[test]
fn a_foreign_address_leaves_without_the_routes() {
    let cluster = start("pk-flush", &["--vip-binding=route"]);
    // With the last IPv4 address of a link the kernel takes away its IPv4 routes too.
    cluster
        .node
        .ip("addr add 4.4.4.4/32 dev kube-ipvs0")
        .unwrap();
    let output = run_kube_proxy(
        &cluster.node,
        &[shop().as_str(), "--once", CIDR, "--vip-binding=route"],
    )
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        !cluster
            .node
            .output("ip", &["addr"])
            .unwrap()
            .contains("4.4.4.4")
    );
    every_service_answers(&cluster);
}

#[test]
fn row_116_a_vip_answers_on_service_ports_only() {
    for (prefix, binding) in [("pk-116a", "address"), ("pk-116r", "route")] {
        let cluster = start(prefix, &[&format!("--vip-binding={binding}")]);
        serve_tcp(&cluster.node, "sshd", 22).unwrap();
        let from_client = |server: &str| ask_tcp(&cluster.client, addr(server));
        assert_eq!(
            from_client("192.168.50.10:22").unwrap().pod,
            "sshd",
            "the node's own address"
        );
        for from in [&cluster.client, &cluster.pods[0].namespace, &cluster.node] {
            let refused = ask_tcp(from, addr("10.96.0.10:22")).unwrap_err();
            assert!(
                refused.to_string().contains("refused"),
                "{binding}, {}: {refused}",
                from.name()
            );
            assert!(
                ask_tcp(from, addr("[fd00:10:96::30]:22")).is_err(),
                "{binding}, {}",
                from.name()
            );
        }
        assert!(from_client("10.96.0.10:80").is_ok());
    }
}

#[test]
fn row_117_a_pod_reaches_itself_through_its_service() {
    let cluster = start("pk-117", &[]);
    let pod = &cluster.pods[0];
    let answers: Vec<Answer> = (0..4)
        .map(|_| ask_tcp(&pod.namespace, addr("10.96.0.10:80")).unwrap())
        .collect();
    let from_itself = answers
        .iter()
        .find(|answer| answer.pod == pod.name)
        .unwrap();
    assert_ne!(
        from_itself.client,
        "10.244.1.11".parse::<IpAddr>().unwrap(),
        "masqueraded: it saw {from_itself:?}"
    );
    let from_other = answers
        .iter()
        .find(|answer| answer.pod != pod.name)
        .unwrap();
    assert_eq!(
        from_other.client,
        "10.244.1.11".parse::<IpAddr>().unwrap(),
        "pods are not masqueraded"
    );
}

#[test]
fn row_118_only_clients_from_outside_the_cluster_are_masqueraded() {
    let cluster = start("pk-118", &[]);
    let client: IpAddr = "192.168.50.1".parse().unwrap();
    assert_ne!(
        ask_tcp(&cluster.client, addr("10.96.0.20:80"))
            .unwrap()
            .client,
        client
    );
    let pod = ask_tcp(&cluster.pods[0].namespace, addr("10.96.0.20:80")).unwrap();
    assert_eq!(pod.client, "10.244.1.11".parse::<IpAddr>().unwrap());
    let all = start("pk-118all", &["--masquerade-all"]);
    let pod = ask_tcp(&all.pods[0].namespace, addr("10.96.0.20:80")).unwrap();
    assert_ne!(pod.client, "10.244.1.11".parse::<IpAddr>().unwrap());
}

/// The service web, also on node port 30080, on 203.0.113.7 with source ranges, and on 198.51.100.8.
fn public_web(policy: &str, ranges: &str) -> String {
    let ports = "  ports:\n  - {name: http, protocol: TCP, port: 80, nodePort: 30080}\n";
    let shop = web(&format!("{POD_A}{}", POD_B.replace("node-0", "node-1")));
    let (head, tail) = shop.split_once("---\n").unwrap();
    let (head, _) = head.split_once("  ports:\n").unwrap();
    format!(
        "{head}  type: LoadBalancer\n  externalTrafficPolicy: {policy}\n  externalIPs: [198.51.100.8]\n  \
         loadBalancerSourceRanges: [{ranges}]\n{ports}status:\n  loadBalancer: {{ingress: [{{ip: 203.0.113.7}}]}}\n\
         ---\n{tail}"
    )
}

fn public(prefix: &str, policy: &str, ranges: &str) -> (Cluster, tempfile::TempDir) {
    let cluster = Cluster::new(prefix).unwrap();
    cluster
        .client
        .ip("route add 203.0.113.7/32 via 192.168.50.10\nroute add 198.51.100.8/32 via 192.168.50.10\n\
             addr add 10.9.9.9/32 dev lo\n")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, public_web(policy, ranges)).unwrap();
    let manifests = format!("--manifests={}", file.display());
    for _ in 0..2 {
        let output = run_kube_proxy(&cluster.node, &[manifests.as_str(), "--once", CIDR]).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    (cluster, folder)
}

#[test]
fn row_119_only_policy_local_keeps_the_clients_address() {
    let client: IpAddr = "192.168.50.1".parse().unwrap();
    let (cluster, _folder) = public("pk-119c", "Cluster", "0.0.0.0/0");
    for server in ["192.168.50.10:30080", "203.0.113.7:80", "198.51.100.8:80"] {
        let answers: Vec<Answer> = (0..4)
            .map(|_| ask_tcp(&cluster.client, addr(server)).unwrap())
            .collect();
        assert!(
            answers.iter().all(|answer| answer.client != client),
            "{server}: {answers:?}"
        );
        assert_eq!(
            answers
                .iter()
                .map(|a| a.pod.clone())
                .collect::<BTreeSet<_>>(),
            both(),
            "{server}"
        );
    }
    let (cluster, _folder) = public("pk-119l", "Local", "0.0.0.0/0");
    for server in ["192.168.50.10:30080", "203.0.113.7:80", "198.51.100.8:80"] {
        let answers: Vec<Answer> = (0..4)
            .map(|_| ask_tcp(&cluster.client, addr(server)).unwrap())
            .collect();
        assert!(
            answers
                .iter()
                .all(|answer| answer.client == client && answer.pod == "pod-a"),
            "{server}: {answers:?}"
        );
    }
}

#[test]
fn row_120_only_source_ranges_reach_a_load_balancer_address() {
    let (cluster, _folder) = public("pk-120", "Cluster", "10.9.9.0/24");
    assert!(
        ask_tcp(&cluster.client, addr("203.0.113.7:80")).is_err(),
        "192.168.50.1 is not in the range"
    );
    assert!(
        ask_tcp(&cluster.node, addr("203.0.113.7:80")).is_err(),
        "nor is the node"
    );
    assert!(
        ask_tcp(&cluster.client, addr("192.168.50.10:30080")).is_ok(),
        "node ports have no ranges"
    );
    cluster
        .client
        .ip("route replace 203.0.113.7/32 via 192.168.50.10 src 10.9.9.9")
        .unwrap();
    cluster
        .node
        .ip("route add 10.9.9.9/32 via 192.168.50.1")
        .unwrap();
    assert!(
        ask_tcp(&cluster.client, addr("203.0.113.7:80")).is_ok(),
        "10.9.9.9 is in the range"
    );
}
