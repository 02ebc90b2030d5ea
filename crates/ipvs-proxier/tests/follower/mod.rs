//! A node on the simulated kernel that follows an API server in this process.
#![allow(dead_code, reason = "not every test needs all of it")]

#[path = "../node/mod.rs"]
mod node;

use std::path::Path;
use std::time::{Duration, Instant};

use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::{Config, Model};
use ipvs_proxier::{Access, Cluster, Nodes, Simulated, Source as _, Trigger};
use ipvs_test_support::ApiServer;

use self::node::Node;

pub(crate) const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#;
pub(crate) const A: &str = r#"{"addresses": ["10.244.0.1"]}"#;
pub(crate) const B: &str = r#"{"addresses": ["10.244.0.2"]}"#;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn service(name: &str, ip: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "ns",
             "managedFields": [{{"manager": "kubectl", "operation": "Update"}}]}},
             "spec": {{"clusterIP": "{ip}", "ports": [{{"name": "p", "port": 80}}]}}}}"#
    )
}

pub(crate) fn slice(endpoints: &str) -> String {
    slice_of("web", endpoints)
}

pub(crate) fn slice_of(service: &str, endpoints: &str) -> String {
    format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "{service}-1", "namespace": "ns", "labels": {{"kubernetes.io/service-name": "{service}"}}}},
             "ports": [{{"name": "p", "port": 8080}}], "endpoints": [{endpoints}]}}"#
    )
}

/// A kubeconfig in a folder, for a cluster and a user.
pub(crate) fn kubeconfig(folder: &Path, cluster: &str, user: &str) -> Access {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters:\n- name: lab\n  cluster: {cluster}\n\
         contexts:\n- name: lab\n  context: {{cluster: lab, user: me}}\nusers:\n- name: me\n  user: {user}\n"
    );
    let path = folder.join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    Access {
        kubeconfig: Some(path),
        ..Access::default()
    }
}

/// A node on the simulated kernel that follows a server.
pub(crate) struct Follower {
    pub(crate) server: ApiServer,
    pub(crate) cluster: Cluster,
    pub(crate) node: Node<Simulated>,
    pub(crate) problems: Vec<String>,
    pub(crate) triggers: Vec<Trigger>,
}

impl Follower {
    pub(crate) fn new(objects: &[String]) -> Self {
        let server = ApiServer::start().unwrap();
        objects
            .iter()
            .for_each(|object| server.put(object).unwrap());
        Self::of(server)
    }

    pub(crate) fn of(server: ApiServer) -> Self {
        let access = Access {
            master: Some(server.url()),
            ..Access::default()
        };
        Self::by(server, &access)
    }

    /// One that reaches the server in a way of its own.
    pub(crate) fn by(server: ApiServer, access: &Access) -> Self {
        let this = std::thread::current();
        let wake = move || this.unpark();
        let cluster = Cluster::connect(access, Nodes::Only("n1".into()), wake).unwrap();
        let node = Node::new(Model::new(Config::default()), Simulated::default());
        Self {
            server,
            cluster,
            node,
            problems: Vec::new(),
            triggers: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self) {
        let polled = self.cluster.poll();
        self.problems.extend(polled.problems);
        self.triggers.extend(polled.triggers);
        polled
            .changes
            .into_iter()
            .for_each(|change| self.node.change(change));
        if self.cluster.is_complete() {
            let report = self.node.sync().unwrap();
            assert!(report.failures.is_empty(), "{:?}", report.failures);
        }
    }

    /// Follows until something is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "not in time: {what}");
            std::thread::park_timeout(Duration::from_millis(50));
            self.step();
        }
    }

    pub(crate) fn real_servers(&mut self, ip: &str) -> Option<Vec<String>> {
        let key = ServiceKey::endpoint(Protocol::TCP, ip.parse().unwrap(), 80);
        let server = self.node.plane().state().virtual_servers.get(&key)?;
        let servers = server.real_servers().iter().filter(|rs| rs.weight > 0);
        Some(servers.map(|rs| rs.addr.to_string()).collect())
    }

    pub(crate) fn serves(&mut self, ip: &str) -> bool {
        self.real_servers(ip).is_some()
    }
}
