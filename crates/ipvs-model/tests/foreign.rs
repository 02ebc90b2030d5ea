//! Virtual servers of somebody else where Services want theirs.

use std::net::IpAddr;
use std::sync::Arc;

use ipvs_codec::{Destination, Family, Protocol, Scheduler, Service, ServiceKey};
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{
    Config, Foreign, Key, Known, Model, Operation, Owner, Ownership, Plan, Problem, VirtualServer,
    entries_that_list, entry_that_names,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

fn service(name: &str, spec: &str) -> Vec<Change> {
    let mut all = changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}}, "spec": {{{spec}}}}}"#
    ));
    all.extend(changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "{name}", "labels": {{"kubernetes.io/service-name": "{name}"}}}},
             "ports": [{{"name": "a", "port": 8080}}, {{"name": "b", "port": 8443}}],
             "endpoints": [{{"addresses": ["10.244.0.1"]}}]}}"#
    )));
    all
}

fn plain(ports: &str) -> Vec<Change> {
    let spec = format!(r#""clusterIP": "10.96.0.10", "ports": [{ports}]"#);
    service("web", &spec)
}

const A: &str = r#"{"name": "a", "port": 80}"#;
const B: &str = r#"{"name": "b", "port": 443}"#;

fn key(address: [u8; 4], port: u16) -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, address.into(), port)
}

const WEB: [u8; 4] = [10, 96, 0, 10];

fn server(key: ServiceKey, real_servers: &[&str]) -> Arc<VirtualServer> {
    let service = Service::new(key, Scheduler::RR);
    let real_servers = real_servers.iter();
    let real_servers = real_servers.map(|addr| Destination::new(addr.parse().unwrap()));
    Arc::new(VirtualServer::new(service, real_servers.collect()))
}

fn theirs(key: ServiceKey) -> Arc<VirtualServer> {
    server(key, &["198.51.100.1:1"])
}

/// A model, and the state that its plans have made.
struct Node {
    model: Model,
    known: Known,
}

impl Node {
    fn new(foreign: Foreign, found: &[Arc<VirtualServer>]) -> Self {
        let mut model = Model::new(Config {
            foreign,
            families: vec![Family::Ipv4],
            ..Config::default()
        });
        let addresses = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        model.change(Change::NodeAddresses(addresses.into()));
        let mut known = Known::default();
        for server in found {
            known
                .virtual_servers
                .insert(server.service.key, Arc::clone(server));
        }
        Self { model, known }
    }

    fn apply(&mut self, plan: &Plan) {
        plan.iter()
            .for_each(|operation| self.known.applied(operation));
    }

    fn start(&mut self, changes: Vec<Change>) {
        changes
            .into_iter()
            .for_each(|change| self.model.change(change));
        let plan = self.model.plan_everything(&self.known);
        self.apply(&plan);
    }

    fn change(&mut self, changes: Vec<Change>) -> Plan {
        changes
            .into_iter()
            .for_each(|change| self.model.change(change));
        let plan = self.model.plan(&self.known);
        self.apply(&plan);
        self.is_settled();
        plan
    }

    /// Somebody takes it away, and a resync sees it.
    fn vanishes(&mut self, key: ServiceKey) {
        self.known.virtual_servers.remove(&key);
        let differing = vec![Key::VirtualServer(key)];
        let plan = self.model.plan_repair(differing, &self.known);
        self.apply(&plan);
        self.is_settled();
    }

    fn is_settled(&mut self) {
        let left = self.model.plan_everything(&self.known);
        assert!(left.is_empty(), "the plan was not enough:\n{left}");
    }

    fn problems(&self, name: &str) -> Vec<Problem> {
        let name = ObjectName::new("default", name);
        self.model.desired().problems_of(&name).collect()
    }

    fn is_listed(&self, key: &ServiceKey) -> bool {
        entries_that_list(key).any(|entry| self.known.has_member(&entry))
    }

    fn owner(&self, key: &ServiceKey) -> Owner {
        Ownership::of(self.model.config(), &self.known).virtual_server(key)
    }
}

#[test]
fn one_that_is_taken_over_is_told_once() {
    let web = key(WEB, 80);
    let mut node = Node::new(Foreign::Remove, &[theirs(web)]);
    node.start(plain(A));
    let taken = node.model.take_taken_over();
    assert_eq!(taken, [(ObjectName::new("default", "web"), web)]);
    assert!(node.is_listed(&web));
    let real_servers = node.known.virtual_servers[&web].real_servers().to_vec();
    assert_eq!(real_servers[0].addr, "10.244.0.1:8080".parse().unwrap());
    assert_eq!(real_servers[1].weight, 0, "theirs drains");
    node.start(plain(B));
    assert!(node.model.take_taken_over().is_empty());
    assert!(node.problems("web").is_empty());
}

#[test]
fn what_is_equal_is_adopted_without_a_word_and_what_is_listed_is_ours() {
    let web = key(WEB, 80);
    for foreign in [Foreign::Remove, Foreign::Keep] {
        for found in [&[][..], &["10.244.0.1:8080"]] {
            let mut node = Node::new(foreign, &[server(web, found)]);
            node.start(plain(A));
            assert!(node.model.take_taken_over().is_empty());
            assert!(node.problems("web").is_empty());
            assert_eq!(node.owner(&web), Owner::Ours);
            assert_eq!(node.known.virtual_servers[&web].real_servers().len(), 1);
        }
        // As a restart finds it after endpoints have changed.
        let mut node = Node::new(foreign, &[theirs(web)]);
        let entry = entries_that_list(&web).next().unwrap();
        let entries = node.known.sets.entry((entry.set(), entry.family()));
        entries.or_default().insert(entry);
        node.start(plain(A));
        assert!(node.model.take_taken_over().is_empty());
        assert!(node.problems("web").is_empty());
        assert_eq!(node.known.virtual_servers[&web].real_servers().len(), 2);
    }
}

#[test]
fn one_that_is_kept_is_left_as_it_is_and_the_rest_of_the_service_is_served() {
    let (web, other) = (key(WEB, 80), key(WEB, 443));
    let mut node = Node::new(Foreign::Keep, &[theirs(web)]);
    node.start(plain(&format!("{A}, {B}")));
    assert_eq!(node.known.virtual_servers[&web], theirs(web));
    assert!(!node.is_listed(&web), "it would look ours");
    assert_eq!(node.owner(&web), Owner::Foreign);
    assert!(node.known.virtual_servers.contains_key(&other));
    assert!(node.is_listed(&other));
    let filtered = entry_that_names(WEB.into());
    assert!(
        !node.known.has_member(&filtered),
        "the filter would close the address to it"
    );
    assert!(node.known.vips.is_empty());
    assert_eq!(node.problems("web"), [Problem::Foreign { key: web }]);
    assert!(node.model.take_taken_over().is_empty());
    node.is_settled();

    node.vanishes(web);
    assert!(node.problems("web").is_empty());
    let changed = node.model.take_problem_changes();
    assert_eq!(changed, [ObjectName::new("default", "web")]);
    assert_eq!(node.known.virtual_servers[&web].real_servers().len(), 1);
    assert!(node.is_listed(&web) && node.known.has_member(&filtered));
    assert!(node.known.vips.contains_key(&IpAddr::from(WEB)));
}

#[test]
fn an_address_that_is_bound_stays_bound_when_another_port_of_it_is_left_alone() {
    let web = key(WEB, 80);
    let mut node = Node::new(Foreign::Keep, &[]);
    node.start(plain(B));
    node.known.virtual_servers.insert(web, theirs(web));
    node.change(plain(&format!("{A}, {B}")));
    assert!(node.known.vips.contains_key(&IpAddr::from(WEB)));
    assert_eq!(node.known.virtual_servers[&web], theirs(web));
    assert_eq!(node.problems("web").len(), 1);
    node.vanishes(web);
    assert!(node.is_listed(&web));
}

#[test]
fn a_node_port_is_not_served_beside_one_that_its_entry_would_list() {
    let (first, second) = (key([192, 0, 2, 1], 30080), key([192, 0, 2, 2], 30080));
    let mut node = Node::new(Foreign::Keep, &[theirs(first)]);
    let ports = r#"{"name": "a", "port": 80, "nodePort": 30080}"#;
    let spec = format!(r#""type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{ports}]"#);
    node.start(service("web", &spec));
    assert_eq!(node.known.virtual_servers[&first], theirs(first));
    assert!(!node.is_listed(&first));
    assert!(
        !node.known.virtual_servers.contains_key(&second),
        "nobody would know it to be ours"
    );
    assert!(node.known.virtual_servers.contains_key(&key(WEB, 80)));
    assert_eq!(node.problems("web"), [Problem::Foreign { key: first }]);
    node.vanishes(first);
    assert!(node.known.virtual_servers.contains_key(&second));
    assert!(node.is_listed(&second));
}

#[test]
fn a_service_that_goes_leaves_what_was_left_alone_and_gives_the_address_free() {
    let mine = key([203, 0, 113, 5], 80);
    let mut node = Node::new(Foreign::Keep, &[theirs(mine)]);
    let external = |cluster_ip: &str, ports: &str| {
        format!(
            r#""clusterIP": "{cluster_ip}", "externalIPs": ["203.0.113.5"], "ports": [{ports}]"#
        )
    };
    let first = service("a", &external("10.96.0.1", A));
    let second = service("b", &external("10.96.0.2", B));
    node.start(first.into_iter().chain(second).collect());
    let address = IpAddr::from([203, 0, 113, 5]);
    assert!(!node.known.vips.contains_key(&address));
    node.change(vec![Change::ServiceGone(ObjectName::new("default", "a"))]);
    assert_eq!(node.known.virtual_servers[&mine], theirs(mine));
    assert!(node.problems("a").is_empty());
    assert!(node.known.vips.contains_key(&address), "it is b's");
}

/// What is ours in this run is ours without its entries, too: a hand that empties sets makes nothing foreign.
#[test]
fn entries_that_are_lost_make_nothing_foreign() {
    let web = key(WEB, 80);
    let mut node = Node::new(Foreign::Keep, &[]);
    node.start(plain(A));
    let lost: Vec<Key> = node.known.members().map(Key::Member).collect();
    node.known.sets.values_mut().for_each(|set| set.clear());
    let spec =
        format!(r#""clusterIP": "10.96.0.10", "sessionAffinity": "ClientIP", "ports": [{A}]"#);
    for change in service("web", &spec) {
        node.model.change(change);
    }
    let plan = node.model.plan(&node.known);
    node.apply(&plan);
    let changed = plan
        .iter()
        .any(|one| matches!(one, Operation::SetVirtualServer { .. }));
    assert!(changed, "{plan}");
    let plan = node.model.plan_repair(lost, &node.known);
    node.apply(&plan);
    node.is_settled();
    assert!(node.is_listed(&web) && node.problems("web").is_empty());
}

/// A Service of a small world, where several claim one address and port.
fn any_service() -> impl Strategy<Value = Vec<Change>> {
    let external = select(vec!["", "\"203.0.113.5\"", "\"192.0.2.1\""]);
    let policy = select(vec!["Cluster", "Local"]);
    let port = select(vec![80_u16, 30080, 30081]);
    let there = (port, select(vec![30080_u16, 30081]), external, policy);
    (0_u8..3, proptest::option::weighted(0.8, there)).prop_map(|(number, there)| match there {
        Some((port, node_port, external, policy)) => service(
            &format!("s{number}"),
            &format!(
                r#""type": "NodePort", "clusterIP": "10.96.0.{number}", "externalIPs": [{external}],
                   "externalTrafficPolicy": "{policy}",
                   "ports": [{{"name": "a", "port": {port}, "nodePort": {node_port}}}]"#
            ),
        ),
        None => {
            let name = ObjectName::new("default", &format!("s{number}"));
            vec![Change::ServiceGone(name)]
        }
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_never_touched_and_never_looks_ours(
        found in subsequence(vec![
            key([10, 96, 0, 0], 80), key([10, 96, 0, 1], 80), key([203, 0, 113, 5], 80), key([192, 0, 2, 1], 30080),
            key([192, 0, 2, 2], 30081), key([192, 0, 2, 1], 80),
        ], 0..6),
        rounds in proptest::collection::vec(proptest::collection::vec(any_service(), 1..3), 1..8),
        vanish_after in 0_usize..8,
    ) {
        let servers: Vec<_> = found.iter().map(|key| theirs(*key)).collect();
        let mut node = Node::new(Foreign::Keep, &servers);
        node.start(Vec::new());
        let mut history = Vec::new();
        for (at, round) in rounds.into_iter().enumerate() {
            for change in round.concat() {
                history.push(change.clone());
                node.model.change(change);
            }
            if at == vanish_after {
                found.iter().for_each(|key| { node.known.virtual_servers.remove(key); });
                let differing = found.iter().copied().map(Key::VirtualServer).collect();
                let plan = node.model.plan_repair(differing, &node.known);
                node.apply(&plan);
            } else {
                let plan = node.model.plan(&node.known);
                node.apply(&plan);
            }
            if at < vanish_after {
                for key in &found {
                    prop_assert_eq!(node.known.virtual_servers.get(key), Some(&theirs(*key)));
                    prop_assert!(!node.is_listed(key), "{} looks ours", key);
                    let wanted = node.model.desired().owner(key);
                    let told = wanted.is_some_and(|name| node.problems(&name.name).contains(&Problem::Foreign { key: *key }));
                    prop_assert_eq!(told, wanted.is_some());
                }
            } else {
                let mut problems = node.model.desired().problems();
                let left_alone = problems.any(|(_, problem)| matches!(problem, Problem::Foreign { .. }));
                prop_assert!(!left_alone, "what is gone is left alone");
            }
            for key in node.known.virtual_servers.keys() {
                prop_assert!(found.contains(key) || node.is_listed(key), "{} does not look ours", key);
            }
            let left = node.model.plan_everything(&node.known);
            prop_assert!(left.is_empty(), "the changes alone were not enough:\n{}", left);
            // A restart finds the same.
            let mut again = Node::new(Foreign::Keep, &[]);
            history.iter().cloned().for_each(|change| again.model.change(change));
            let left = again.model.plan_everything(&node.known);
            let harmless = |one: &Operation| matches!(one, Operation::UnbindVip { .. } | Operation::RemoveMember { .. });
            prop_assert!(left.iter().all(harmless), "a restart would do\n{}", left);
        }
    }
}
