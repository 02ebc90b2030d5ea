//! Rows of the acceptance table, on the model alone.

use ipvs_codec::{Destination, Family, Protocol, Scheduler, Service, ServiceFlags, ServiceKey};
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Known, Member, Model, Operation, Plan, Vip};

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

/// The addresses of the fixture's node: eth0 and cni0.
fn node_addresses() -> Vec<Change> {
    vec![Change::NodeAddresses(
        ["192.168.1.10", "10.244.0.1", "fd00:1::10"]
            .map(|ip| ip.parse().unwrap())
            .into(),
    )]
}

/// The Node object of the fixture.
fn n1(zone: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n1",
             "labels": {{"topology.kubernetes.io/zone": "{zone}"}}}},
             "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.1.10"}}]}}}}"#
    ))
}

/// The fixture of the table: node n1, cluster CIDR 10.244.0.0/16.
fn config() -> Config {
    let mut config = Config {
        node_name: "n1".into(),
        ..Config::default()
    };
    config.local_traffic.cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    config
}

/// Service `ns/s` with these fields of its spec.
fn s(spec: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns"}},
             "spec": {{{spec}}}}}"#
    ))
}

const PLAIN: &str = r#""clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 80}]"#;
const E1: &str =
    r#"{"addresses": ["10.244.0.5"], "nodeName": "n1", "conditions": {"ready": true}}"#;
const E2: &str =
    r#"{"addresses": ["10.244.3.9"], "nodeName": "n2", "conditions": {"ready": true}}"#;
const PORTS: &str = r#"{"name": "p", "port": 8080}"#;

fn slice_of(name: &str, ports: &str, endpoints: &[&str]) -> Vec<Change> {
    let family = if endpoints.iter().any(|endpoint| endpoint.contains("::")) {
        "IPv6"
    } else {
        "IPv4"
    };
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "{family}",
             "metadata": {{"name": "{name}", "namespace": "ns", "labels": {{"kubernetes.io/service-name": "s"}}}},
             "ports": [{ports}], "endpoints": [{}]}}"#,
        endpoints.join(",")
    ))
}

fn slice(endpoints: &[&str]) -> Vec<Change> {
    slice_of("s-1", PORTS, endpoints)
}

/// A model and the state that its plans have made.
struct Node {
    model: Model,
    known: Known,
}

impl Node {
    fn new(config: Config, all: impl IntoIterator<Item = Vec<Change>>) -> Self {
        let mut node = Self {
            model: Model::new(config),
            known: Known::default(),
        };
        all.into_iter()
            .flatten()
            .for_each(|change| node.model.change(change));
        let plan = node.model.plan_everything(&node.known);
        node.apply(&plan);
        node
    }

    fn with(all: impl IntoIterator<Item = Vec<Change>>) -> Self {
        Self::new(config(), all)
    }

    fn apply(&mut self, plan: &Plan) {
        plan.operations
            .iter()
            .for_each(|operation| self.known.applied(operation));
    }

    /// Takes in changes; what the plan for them does.
    fn change(&mut self, changes: Vec<Change>) -> Vec<String> {
        changes
            .into_iter()
            .for_each(|change| self.model.change(change));
        let plan = self.model.plan(&self.known);
        self.apply(&plan);
        assert!(
            self.model.plan_everything(&self.known).is_empty(),
            "the plan was not enough"
        );
        plan.operations.iter().map(ToString::to_string).collect()
    }

    fn service(&self, protocol: Protocol, address: &str, port: u16) -> Option<Service> {
        let key = ServiceKey::endpoint(protocol, address.parse().unwrap(), port);
        self.known
            .virtual_servers
            .get(&key)
            .map(|server| server.service)
    }

    fn real_servers(&self, address: &str, port: u16) -> Vec<String> {
        let key = ServiceKey::endpoint(Protocol::TCP, address.parse().unwrap(), port);
        self.known.virtual_servers[&key]
            .real_servers()
            .iter()
            .map(|rs| rs.addr.to_string())
            .collect()
    }

    fn members(&self, set: &str) -> Vec<String> {
        let of_set = |member: &&Member| member.set.name(member.family).as_str() == set;
        let mut members: Vec<String> = self
            .known
            .members
            .iter()
            .filter(of_set)
            .map(|m| m.entry.to_string())
            .collect();
        members.sort();
        members
    }

    fn vips(&self) -> Vec<String> {
        self.known.vips.keys().map(ToString::to_string).collect()
    }
}

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
    assert_eq!(node.members("KUBE-CLUSTER-IP"), ["10.96.0.10,tcp:80"]);
    assert_eq!(node.members("KUBE-IPVS-IPS"), ["10.96.0.10"]);
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
fn row_031_udp_and_tcp_on_one_number() {
    let spec = r#""clusterIP": "10.96.0.53", "ports": [
        {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP"}]"#;
    let node = Node::with([s(spec)]);
    assert!(node.service(Protocol::TCP, "10.96.0.53", 53).is_some());
    assert!(node.service(Protocol::UDP, "10.96.0.53", 53).is_some());
    assert_eq!(
        node.members("KUBE-CLUSTER-IP"),
        ["10.96.0.53,tcp:53", "10.96.0.53,udp:53"]
    );
    assert_eq!(node.vips(), ["10.96.0.53"]);
}

#[test]
fn row_032_sctp() {
    let node = Node::with([s(
        r#""clusterIP": "10.96.0.10", "ports": [{"port": 7, "protocol": "SCTP"}]"#,
    )]);
    assert!(node.service(Protocol(132), "10.96.0.10", 7).is_some());
    assert_eq!(node.members("KUBE-CLUSTER-IP"), ["10.96.0.10,sctp:7"]);
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
            "remove member KUBE-CLUSTER-IP 10.96.0.10,tcp:81"
        ]
    );
}

#[test]
fn row_034_the_service_goes() {
    let mut node = Node::with([s(PLAIN), slice(&[E1])]);
    let done = node.change(vec![Change::ServiceGone(ObjectName::new("ns", "s"))]);
    assert!(
        done[0].starts_with("write IPv4 rules"),
        "its sets are empty now: {done:?}"
    );
    assert!(
        node.known.virtual_servers.is_empty()
            && node.known.members.is_empty()
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
            node.known.virtual_servers.is_empty() && node.known.members.is_empty(),
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
    let node = Node::new(
        Config {
            scheduler: Scheduler::MH,
            ..config()
        },
        [s(PLAIN)],
    );
    assert_eq!(
        node.service(Protocol::TCP, "10.96.0.10", 80)
            .unwrap()
            .flags
            .bits(),
        0x10
    );
}

#[test]
fn row_085_and_086_terminating_endpoints() {
    let going = |ip: &str, serving: bool| {
        format!(
            r#"{{"addresses": ["{ip}"], "conditions": {{"ready": false, "serving": {serving}, "terminating": true}}}}"#
        )
    };
    let (serving, dead) = (going("10.244.0.8", true), going("10.244.0.9", false));
    let mut node = Node::with([s(PLAIN), slice(&[E1, &serving, &dead])]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    node.change(slice(&[&serving, &dead]));
    let weights = |node: &Node| {
        let key = ServiceKey::endpoint(Protocol::TCP, "10.96.0.10".parse().unwrap(), 80);
        let servers = node.known.virtual_servers[&key].real_servers().iter();
        servers
            .map(|rs| format!("{} {}", rs.addr.ip(), rs.weight))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        weights(&node),
        ["10.244.0.5 0", "10.244.0.8 1"],
        "the ready one drains"
    );
}

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
fn row_153_added_and_deleted_between_syncs() {
    let mut node = Node::with([]);
    let mut batch = s(PLAIN);
    batch.push(Change::ServiceGone(ObjectName::new("ns", "s")));
    assert!(node.change(batch).is_empty());
}

#[test]
fn row_155_dual_stack() {
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
        node.members("KUBE-6-LOOP-BACK"),
        ["fd00:244::5,tcp:8080,fd00:244::5"]
    );
    let only_v4 = Node::new(
        Config {
            families: vec![Family::Ipv4],
            ..config()
        },
        [s(spec), slice(&[E1]), v6],
    );
    assert_eq!(only_v4.known.virtual_servers.len(), 1, "row 156");
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
    let conflicts = node.model.desired().conflicts();
    assert_eq!(
        conflicts[0].to_string(),
        "default/a claims 10.96.0.10:80/TCP, which default/b has: the older service keeps it"
    );
    let done = node.change(vec![Change::ServiceGone(ObjectName::new("default", "b"))]);
    assert_eq!(
        done,
        ["set virtual server 10.96.0.10:80/TCP scheduler rr persistent 10800 s"]
    );
    assert!(node.model.desired().conflicts().is_empty());
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
        .operations
        .iter()
        .filter(|operation| matches!(operation, Operation::AddVirtualServer { .. }))
        .map(ToString::to_string)
        .collect();
    assert!(
        order[0].contains("10.96.0.3:443") && order[1].contains("10.96.0.2:53"),
        "{order:?}"
    );
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

fn with_spec(more: &str, status: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns"}},
             "spec": {{{PLAIN}, {more}}}, "status": {{{status}}}}}"#
    ))
}

const EXTERNAL: &str = r#""externalIPs": ["203.0.113.5", "", "fd00:203::5"]"#;

#[test]
fn row_047_and_052_external_ips() {
    let node = Node::with([with_spec(EXTERNAL, ""), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.vips(), ["10.96.0.10", "203.0.113.5"]);
    assert_eq!(
        node.real_servers("203.0.113.5", 80),
        ["10.244.0.5:8080", "10.244.3.9:8080"]
    );
    assert_eq!(node.members("KUBE-EXTERNAL-IP"), ["203.0.113.5,tcp:80"]);
    assert!(node.members("KUBE-EXTERNAL-IP-LOCAL").is_empty());
    assert!(
        node.members("KUBE-6-EXTERNAL-IP").is_empty(),
        "the service has no IPv6 cluster IP"
    );
}

#[test]
fn row_048_external_ips_with_policy_local() {
    let spec = format!(r#"{EXTERNAL}, "type": "NodePort", "externalTrafficPolicy": "Local""#);
    let node = Node::with([with_spec(&spec, ""), slice(&[E1, E2])]);
    assert_eq!(
        node.members("KUBE-EXTERNAL-IP-LOCAL"),
        ["203.0.113.5,tcp:80"]
    );
    assert!(node.members("KUBE-EXTERNAL-IP").is_empty());
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
    assert_eq!(node.members("KUBE-IPVS-IPS"), ["10.96.0.10"]);
    node.change(vec![Change::NodeAddresses(Vec::new())]);
    assert_eq!(node.vips(), ["10.96.0.10", "192.168.1.10"]);
    node.change(node_addresses());
    assert_eq!(node.vips(), ["10.96.0.10"]);
}

const LOAD_BALANCER: &str = r#""type": "LoadBalancer""#;
const INGRESS: &str = r#""loadBalancer": {"ingress": [{"ip": "198.18.0.7"}]}"#;

#[test]
fn row_055_056_057_load_balancer_addresses() {
    let node = Node::with([with_spec(LOAD_BALANCER, INGRESS), slice(&[E1])]);
    assert_eq!(node.members("KUBE-LOAD-BALANCER"), ["198.18.0.7,tcp:80"]);
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
        node.members("KUBE-LOAD-BALANCER-LOCAL"),
        ["198.18.0.7,tcp:80"]
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
}

fn ranges(list: &str) -> Node {
    let spec = format!(r#"{LOAD_BALANCER}, "loadBalancerSourceRanges": [{list}]"#);
    Node::with([with_spec(&spec, INGRESS), slice(&[E1]), n1("a")])
}

fn out_filter(node: &Node) -> Vec<String> {
    let saved = &node.known.rules[&Family::Ipv4];
    let rules = saved
        .rules(
            ipvs_netfilter::iptables::Table::Filter,
            "KUBE-IPVS-OUT-FILTER",
        )
        .unwrap();
    rules.iter().map(ToString::to_string).collect()
}

#[test]
fn row_060_source_ranges_without_the_node() {
    let node = ranges(r#""172.16.0.0/12""#);
    assert_eq!(node.members("KUBE-LOAD-BALANCER-FW"), ["198.18.0.7,tcp:80"]);
    assert_eq!(
        node.members("KUBE-LOAD-BALANCER-SOURCE-CIDR"),
        ["198.18.0.7,tcp:80,172.16.0.0/12"]
    );
    assert!(node.members("KUBE-LOAD-BALANCER-SOURCE-IP").is_empty());
    let rule = "-s 198.18.0.7/32 -m ipvs --vproto 6 --vaddr 198.18.0.7 --vport 80 -j DROP";
    assert_eq!(out_filter(&node), [rule]);
}

#[test]
fn row_061_source_ranges_with_the_node() {
    let node = ranges(r#""192.168.0.0/16""#);
    assert_eq!(
        node.members("KUBE-LOAD-BALANCER-SOURCE-IP"),
        ["198.18.0.7,tcp:80,198.18.0.7"]
    );
    assert!(out_filter(&node).is_empty());
}

#[test]
fn row_062_to_065_odd_source_ranges() {
    assert!(
        ranges(r#""10.0.0.0/8", "0.0.0.0/0""#)
            .members("KUBE-LOAD-BALANCER-FW")
            .is_empty()
    );
    let trimmed = ranges(r#"" 10.0.0.0/8 ""#);
    assert_eq!(
        trimmed.members("KUBE-LOAD-BALANCER-SOURCE-CIDR"),
        ["198.18.0.7,tcp:80,10.0.0.0/8"]
    );
    assert!(
        ranges(r#""fd00::/8""#)
            .members("KUBE-LOAD-BALANCER-FW")
            .is_empty()
    );
    let single = ranges(r#""9.9.9.9/32""#);
    assert_eq!(
        single.members("KUBE-LOAD-BALANCER-SOURCE-CIDR"),
        ["198.18.0.7,tcp:80,9.9.9.9"]
    );
}

#[test]
fn row_067_a_load_balancer_address_goes() {
    let spec = format!(r#"{LOAD_BALANCER}, "loadBalancerSourceRanges": ["172.16.0.0/12"]"#);
    let mut node = Node::with([with_spec(&spec, INGRESS), slice(&[E1]), n1("a")]);
    node.change(with_spec(&spec, ""));
    assert_eq!(node.vips(), ["10.96.0.10"]);
    assert!(node.members("KUBE-LOAD-BALANCER-FW").is_empty() && out_filter(&node).is_empty());
    assert!(node.service(Protocol::TCP, "198.18.0.7", 80).is_none());
}

fn node_port(protocol: &str, more: &str) -> Vec<Change> {
    s(&format!(
        r#""type": "NodePort", "clusterIP": "10.96.0.10", {more}
           "ports": [{{"name": "p", "port": 80, "protocol": "{protocol}", "nodePort": 30080}}]"#
    ))
}

#[test]
fn row_069_and_079_a_node_port_on_every_node_address() {
    let node = Node::with([node_port("TCP", ""), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.real_servers("192.168.1.10", 30080).len(), 2);
    assert_eq!(node.real_servers("10.244.0.1", 30080).len(), 2);
    assert_eq!(node.known.virtual_servers.len(), 3);
    assert_eq!(node.members("KUBE-NODE-PORT-TCP"), ["30080"]);
    assert_eq!(node.vips(), ["10.96.0.10"]);
}

#[test]
fn row_070_and_071_node_ports_of_other_protocols() {
    let udp = Node::with([node_port("UDP", ""), node_addresses()]);
    assert_eq!(udp.members("KUBE-NODE-PORT-UDP"), ["30080"]);
    let sctp = Node::with([node_port("SCTP", ""), node_addresses()]);
    assert_eq!(
        sctp.members("KUBE-NODE-PORT-SCTP-HASH"),
        ["10.244.0.1,sctp:30080", "192.168.1.10,sctp:30080"]
    );
    assert!(sctp.members("KUBE-NODE-PORT-TCP").is_empty());
}

#[test]
fn row_072_a_node_port_with_policy_local() {
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([node_port("TCP", local), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.members("KUBE-NODE-PORT-LOCAL-TCP"), ["30080"]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
    assert_eq!(node.real_servers("10.96.0.10", 80).len(), 2);
}

#[test]
fn row_073_to_076_which_addresses_serve_node_ports() {
    let served = |addresses: ipvs_model::NodePortAddresses| {
        let config = Config {
            node_port_addresses: addresses,
            ..config()
        };
        let node = Node::new(config, [node_port("TCP", ""), node_addresses(), n1("a")]);
        ["192.168.1.10", "10.244.0.1"].map(|ip| node.service(Protocol::TCP, ip, 30080).is_some())
    };
    use ipvs_model::NodePortAddresses::{All, Cidrs, Primary};
    assert_eq!(served(All), [true, true]);
    assert_eq!(served(Primary), [true, false]);
    assert_eq!(
        served(Cidrs(vec!["192.168.1.0/24".parse().unwrap()])),
        [true, false]
    );
    assert_eq!(
        served(Cidrs(vec!["172.31.0.0/16".parse().unwrap()])),
        [false, false]
    );
    assert_eq!(
        served(Cidrs(vec!["fd00::/8".parse().unwrap()])),
        [true, true],
        "none of this family: all"
    );
}

#[test]
fn row_077_and_078_node_addresses_come_and_go() {
    let mut node = Node::with([node_port("TCP", ""), slice(&[E1]), node_addresses()]);
    let done = node.change(vec![Change::NodeAddresses(vec![
        "192.168.1.11".parse().unwrap(),
    ])]);
    assert!(
        done[0].starts_with("add virtual server 192.168.1.11:30080/TCP"),
        "{done:?}"
    );
    assert_eq!(
        done.iter()
            .filter(|operation| operation.starts_with("remove virtual server"))
            .count(),
        2
    );
}

#[test]
fn q2_a_node_without_addresses_keeps_its_health_check_port() {
    let spec = format!(
        r#"{LOAD_BALANCER}, "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000"#
    );
    let node = Node::with([with_spec(&spec, INGRESS), slice(&[E1])]);
    assert_eq!(node.members("KUBE-HEALTH-CHECK-NODE-PORT"), ["32000"]);
}

#[test]
fn row_081_to_083_internal_policy_local() {
    let local = r#""internalTrafficPolicy": "Local","#;
    let node = Node::with([node_port("TCP", local), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.0.5:8080"]);
    assert_eq!(node.real_servers("192.168.1.10", 30080).len(), 2);
    let pure = Node::with([
        with_spec(r#""internalTrafficPolicy": "Local""#, ""),
        slice(&[E2]),
    ]);
    assert!(pure.real_servers("10.96.0.10", 80).is_empty());
    let q1 = Node::with([node_port("TCP", local), slice(&[E2]), node_addresses()]);
    assert_eq!(q1.real_servers("10.96.0.10", 80), ["10.244.3.9:8080"]);
}

#[test]
fn row_087_local_terminating_beside_remote_ready() {
    let going = E1.replace(
        r#""ready": true"#,
        r#""ready": false, "serving": true, "terminating": true"#,
    );
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([
        node_port("TCP", local),
        slice(&[&going, E2]),
        node_addresses(),
    ]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
    assert_eq!(node.real_servers("10.96.0.10", 80), ["10.244.3.9:8080"]);
}

fn hinted(endpoint: &str, hints: &str) -> String {
    endpoint.replacen('{', &format!(r#"{{"hints": {{{hints}}}, "#), 1)
}

#[test]
fn row_088_to_092_topology_hints() {
    let zone = |name: &str| format!(r#""forZones": [{{"name": "{name}"}}]"#);
    let (a, b) = (hinted(E1, &zone("a")), hinted(E2, &zone("b")));
    let served = |node_object: Vec<Change>, endpoints: &[&str]| {
        Node::with([s(PLAIN), slice(endpoints), node_object])
            .real_servers("10.96.0.10", 80)
            .len()
    };
    assert_eq!(served(n1("a"), &[&a, &b]), 1, "row 88");
    assert_eq!(served(n1("a"), &[&a, E2]), 2, "row 89: one has no hint");
    assert_eq!(served(n1("c"), &[&a, &b]), 2, "row 90: none for this zone");
    assert_eq!(
        served(Vec::new(), &[&a, &b]),
        2,
        "row 91: the zone is not known"
    );
    let node = |zones: &str, name: &str| format!(r#"{zones}, "forNodes": [{{"name": "{name}"}}]"#);
    let (here, there) = (
        hinted(E1, &node(&zone("b"), "n1")),
        hinted(E2, &node(&zone("b"), "n2")),
    );
    assert_eq!(
        served(n1("b"), &[&here, &there]),
        1,
        "row 92: the node comes before the zone"
    );
    let elsewhere = hinted(E1, &node(&zone("b"), "n3"));
    assert_eq!(
        served(n1("b"), &[&elsewhere, &there]),
        2,
        "row 92: none for this node: the zone"
    );
}

#[test]
fn row_093_another_zone_is_followed() {
    let zone = |name: &str| format!(r#""forZones": [{{"name": "{name}"}}]"#);
    let mut node = Node::with([
        s(PLAIN),
        slice(&[&hinted(E1, &zone("a")), &hinted(E2, &zone("b"))]),
        n1("a"),
    ]);
    let done = node.change(n1("b"));
    assert!(
        done.contains(
            &"add real server 10.96.0.10:80/TCP -> 10.244.3.9:8080 weight 1 Masq".to_owned()
        ),
        "{done:?}"
    );
}

#[test]
fn row_094_external_policy_local_ignores_hints() {
    let hint = |endpoint: &str| hinted(endpoint, r#""forZones": [{"name": "b"}]"#);
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([
        node_port("TCP", local),
        slice(&[&hint(E1), &hint(E2)]),
        node_addresses(),
        n1("b"),
    ]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
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
    assert_eq!(node.members("KUBE-HEALTH-CHECK-NODE-PORT"), ["30001"]);
    node.change(vec![Change::ServiceGone(ObjectName::new("ns", "s"))]);
    assert!(node.members("KUBE-HEALTH-CHECK-NODE-PORT").is_empty());
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
    assert_eq!(out_filter(&node).len(), 1);
    let saved = &node.known.rules[&Family::Ipv4];
    let rules = saved
        .rules(ipvs_netfilter::iptables::Table::Nat, "KUBE-SERVICES")
        .unwrap();
    let targets: Vec<&str> = rules
        .iter()
        .map(|rule| rule.as_str().rsplit(' ').next().unwrap())
        .collect();
    let wanted = [
        "RETURN",
        "KUBE-LOAD-BALANCER",
        "KUBE-MARK-MASQ",
        "KUBE-MARK-MASQ",
        "ACCEPT",
        "ACCEPT",
        "KUBE-NODE-PORT",
        "ACCEPT",
        "ACCEPT",
    ];
    assert_eq!(targets, wanted);
}
