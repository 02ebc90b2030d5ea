//! The fixture of the acceptance table, and a node that applies plans to what it knows.

use ipvs_codec::{Family, Protocol, Service, ServiceKey};
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, FilterEntry, FilterSet, Known, LocalTraffic, Model, Plan};

pub(crate) fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

/// The addresses of the fixture's node: eth0 and cni0.
pub(crate) fn node_addresses() -> Vec<Change> {
    vec![Change::NodeAddresses(
        ["192.168.1.10", "10.244.0.1", "fd00:1::10"]
            .map(|ip| ip.parse().unwrap())
            .into(),
    )]
}

/// The Node object of the fixture.
pub(crate) fn n1(zone: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n1",
             "labels": {{"topology.kubernetes.io/zone": "{zone}"}}}},
             "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.1.10"}}]}}}}"#
    ))
}

/// The fixture of the table: node n1, cluster CIDR 10.244.0.0/16.
pub(crate) fn config() -> Config {
    Config {
        node_name: "n1".into(),
        local_traffic: LocalTraffic::ClusterCidrs(vec!["10.244.0.0/16".parse().unwrap()]),
        ..Config::default()
    }
}

/// Service `ns/s` with these fields of its spec.
pub(crate) fn s(spec: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns"}},
             "spec": {{{spec}}}}}"#
    ))
}

pub(crate) const PLAIN: &str = r#""clusterIP": "10.96.0.10", "ports": [{"name": "p", "port": 80}]"#;
pub(crate) const E1: &str =
    r#"{"addresses": ["10.244.0.5"], "nodeName": "n1", "conditions": {"ready": true}}"#;
pub(crate) const E2: &str =
    r#"{"addresses": ["10.244.3.9"], "nodeName": "n2", "conditions": {"ready": true}}"#;
pub(crate) const PORTS: &str = r#"{"name": "p", "port": 8080}"#;

pub(crate) fn slice_of(name: &str, ports: &str, endpoints: &[&str]) -> Vec<Change> {
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

pub(crate) fn slice(endpoints: &[&str]) -> Vec<Change> {
    slice_of("s-1", PORTS, endpoints)
}

/// A model and the state that its plans have made.
pub(crate) struct Node {
    pub(crate) model: Model,
    pub(crate) known: Known,
}

impl Node {
    pub(crate) fn new(config: Config, all: impl IntoIterator<Item = Vec<Change>>) -> Self {
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

    pub(crate) fn with(all: impl IntoIterator<Item = Vec<Change>>) -> Self {
        Self::new(config(), all)
    }

    pub(crate) fn apply(&mut self, plan: &Plan) {
        plan.iter()
            .for_each(|operation| self.known.applied(operation));
    }

    /// Takes in changes; what the plan for them does.
    pub(crate) fn change(&mut self, changes: Vec<Change>) -> Vec<String> {
        changes
            .into_iter()
            .for_each(|change| self.model.change(change));
        let plan = self.model.plan(&self.known);
        self.apply(&plan);
        assert!(
            self.model.plan_everything(&self.known).is_empty(),
            "the plan was not enough"
        );
        plan.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn service(&self, protocol: Protocol, address: &str, port: u16) -> Option<Service> {
        let key = ServiceKey::endpoint(protocol, address.parse().unwrap(), port);
        self.known
            .virtual_servers
            .get(&key)
            .map(|server| server.service)
    }

    pub(crate) fn real_servers(&self, address: &str, port: u16) -> Vec<String> {
        let key = ServiceKey::endpoint(Protocol::TCP, address.parse().unwrap(), port);
        self.known.virtual_servers[&key]
            .real_servers()
            .iter()
            .map(|rs| rs.addr.to_string())
            .collect()
    }

    /// The entries of a set, without its name.
    pub(crate) fn members(&self, set: FilterSet) -> Vec<String> {
        self.members_of(set, Family::Ipv4)
    }

    pub(crate) fn ipv6_members(&self, set: FilterSet) -> Vec<String> {
        self.members_of(set, Family::Ipv6)
    }

    fn members_of(&self, set: FilterSet, family: Family) -> Vec<String> {
        let of_set = |member: &FilterEntry| (member.set(), member.family()) == (set, family);
        let members = self.known.members().filter(of_set);
        let text = |member: FilterEntry| {
            let text = member.to_string();
            text.split_once(' ').unwrap().1.to_owned()
        };
        let mut members: Vec<String> = members.map(text).collect();
        members.sort();
        members
    }

    pub(crate) fn vips(&self) -> Vec<String> {
        self.known.vips.keys().map(ToString::to_string).collect()
    }
}

pub(crate) fn with_spec(more: &str, status: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s", "namespace": "ns"}},
             "spec": {{{PLAIN}, {more}}}, "status": {{{status}}}}}"#
    ))
}

pub(crate) const EXTERNAL: &str = r#""externalIPs": ["203.0.113.5", "", "fd00:203::5"]"#;

pub(crate) const LOAD_BALANCER: &str = r#""type": "LoadBalancer""#;
pub(crate) const INGRESS: &str = r#""loadBalancer": {"ingress": [{"ip": "198.18.0.7"}]}"#;

pub(crate) fn ranges(list: &str) -> Node {
    let spec = format!(r#"{LOAD_BALANCER}, "loadBalancerSourceRanges": [{list}]"#);
    Node::with([with_spec(&spec, INGRESS), slice(&[E1]), n1("a")])
}

/// The ports that the node itself must not reach.
pub(crate) fn refused(node: &Node) -> Vec<String> {
    let filter = &node.known.filters[&Family::Ipv4];
    let shape = filter.shape.as_ref().unwrap();
    shape.refused.iter().map(ToString::to_string).collect()
}

pub(crate) fn node_port(protocol: &str, more: &str) -> Vec<Change> {
    s(&format!(
        r#""type": "NodePort", "clusterIP": "10.96.0.10", {more}
           "ports": [{{"name": "p", "port": 80, "protocol": "{protocol}", "nodePort": 30080}}]"#
    ))
}

pub(crate) fn hinted(endpoint: &str, hints: &str) -> String {
    endpoint.replacen('{', &format!(r#"{{"hints": {{{hints}}}, "#), 1)
}
