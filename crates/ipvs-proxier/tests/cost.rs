//! What a change costs: messages and reads, counted on the simulated kernel.

mod node;

use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model};
use ipvs_proxier::Simulated;

use node::{Node, ON_DEMAND};

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

fn service(number: usize) -> Vec<Change> {
    let (high, low) = (number / 250, number % 250 + 1);
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
             "spec": {{"clusterIP": "10.96.{high}.{low}", "ports": [{{"port": 80}}]}}}}"#
    ))
}

/// Ten endpoints; `odd` replaces the first of them.
fn slice(number: usize, odd: Option<&str>) -> Vec<Change> {
    let (high, low) = (number / 250, number % 250 + 1);
    let addresses = (0..10).map(|endpoint| format!("10.{}.{high}.{low}", 100 + endpoint));
    let endpoints = addresses.enumerate().map(|(at, address)| {
        let address = odd.filter(|_| at == 0).unwrap_or(&address).to_owned();
        format!(r#"{{"addresses": ["{address}"], "nodeName": "elsewhere"}}"#)
    });
    let endpoints: Vec<String> = endpoints.collect();
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "s{number}-a", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
             "ports": [{{"port": 8080}}], "endpoints": [{}]}}"#,
        endpoints.join(",")
    ))
}

fn loaded(services: usize) -> Node<Simulated> {
    let config = Config {
        node_name: "node-0".into(),
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), Simulated::default());
    for number in 0..services {
        service(number)
            .into_iter()
            .chain(slice(number, None))
            .for_each(|change| node.change(change));
    }
    let report = node.sync().unwrap();
    assert!(report.failures.is_empty());
    node
}

#[test]
fn one_endpoint_of_10000_services_costs_at_most_three_messages_and_no_read() {
    let mut node = loaded(10_000);
    let real_servers: usize = node
        .plane()
        .state()
        .virtual_servers
        .values()
        .map(|s| s.real_servers().len())
        .sum();
    assert_eq!(real_servers, 100_000);
    let before = (
        node.plane().messages(),
        node.plane().reads(),
        node.plane().processes(),
    );
    let compiled = node.model().compiled();

    slice(4711, Some("10.200.0.1"))
        .into_iter()
        .for_each(|change| node.change(change));
    let report = node.sync().unwrap();

    assert!(report.failures.is_empty());
    let texts: Vec<String> = report
        .plan
        .operations()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "add real server 10.96.18.212:80/TCP -> 10.200.0.1:8080 weight 1 Masq",
            "drain real server 10.96.18.212:80/TCP -> 10.100.18.212:8080 weight 0 Masq",
        ]
    );
    assert!(node.plane().messages() - before.0 <= 3, "messages");
    assert_eq!(node.plane().reads(), before.1, "reads");
    assert_eq!(node.plane().processes(), before.2, "processes");
    assert_eq!(node.model().compiled() - compiled, 1, "services compiled");
}

#[test]
fn an_equal_object_costs_nothing() {
    let mut node = loaded(100);
    let before = (
        node.plane().messages(),
        node.plane().reads(),
        node.model().compiled(),
    );
    service(7)
        .into_iter()
        .chain(slice(7, None))
        .for_each(|change| node.change(change));
    assert!(node.sync().unwrap().plan.is_empty());
    assert_eq!(
        (
            node.plane().messages(),
            node.plane().reads(),
            node.model().compiled()
        ),
        before
    );
}

/// A node that has nothing, while its source lists, with the API's own service and DNS among many others.
fn with_api_and_dns() -> Node<Simulated> {
    let model = Model::new(Config::default());
    let mut node = Node::listing(model, Simulated::default(), ON_DEMAND);
    for number in 0..200 {
        let objects = service(number).into_iter().chain(slice(number, None));
        objects.for_each(|change| node.change(change));
    }
    for (name, namespace, ip, port) in [
        ("kubernetes", "default", "10.97.0.1", 443),
        ("dns", "kube-system", "10.97.0.10", 53),
    ] {
        let object = format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "{namespace}"}},
                 "spec": {{"clusterIP": "{ip}", "ports": [{{"port": {port}}}]}}}}"#
        );
        changes(&object)
            .into_iter()
            .for_each(|change| node.change(change));
    }
    node
}

#[test]
fn what_everything_waits_for_is_whole_before_the_rest_begins() {
    let mut node = with_api_and_dns();
    node.complete();
    let report = node.sync().unwrap();
    assert!(report.failures.is_empty());
    let lines: Vec<String> = report
        .plan
        .operations()
        .iter()
        .map(ToString::to_string)
        .collect();
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap();
    let first_of_the_rest = at("10.96.0.1");
    for words in ["bind VIP 10.97.0.1 ", "bind VIP 10.97.0.10 "] {
        assert!(
            at(words) < first_of_the_rest,
            "{words}: {}",
            lines.join("\n")
        );
    }
    let mut seen = std::collections::HashSet::new();
    let twice = lines.iter().find(|line| !seen.insert(line.as_str()));
    assert_eq!(twice, None);
    assert!(node.resync().unwrap().plan.is_empty());
}

#[test]
fn what_was_compiled_while_a_source_listed_is_not_compiled_again() {
    let mut node = with_api_and_dns();
    assert!(node.rests_until().is_some(), "it looks again");
    assert_eq!(node.model().compiled(), 200, "those with endpoints");
    assert_eq!(node.plane().messages(), 0);
    node.complete();
    assert!(node.sync().unwrap().failures.is_empty());
    assert_eq!(node.model().compiled(), 202);
}
