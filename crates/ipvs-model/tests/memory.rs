//! What the model holds, and what it asks for where nothing changes.

use ipvs_model::input::{Change, EndpointSlice, Manifest, Service};
use ipvs_model::{Config, Known, Model};

const SERVICES: u32 = 1_800;
const ENDPOINTS: u32 = 10;

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

fn cluster() -> Vec<Change> {
    let objects = (0..SERVICES).flat_map(|number| {
        let ip = |base: u32, number: u32| std::net::Ipv4Addr::from(base + number);
        let service = changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                 "spec": {{"clusterIP": "{}", "ports": [{{"port": 80}}]}}}}"#,
            ip(0x0a60_0001, number)
        ));
        let endpoints = (0..ENDPOINTS).map(|endpoint| {
            let ip = ip(0x0a80_0001, number * ENDPOINTS + endpoint);
            format!(r#"{{"addresses": ["{ip}"], "nodeName": "n{}"}}"#, endpoint % 7)
        });
        let slice = changes(&format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "e{number}", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
                 "ports": [{{"port": 8080}}], "endpoints": [{}]}}"#,
            endpoints.collect::<Vec<_>>().join(",")
        ));
        service.into_iter().chain(slice)
    });
    objects.collect()
}

/// The number of services is one just behind the doubling of hash tables: the worst for memory.
#[test]
fn an_endpoint_costs_at_most_200_bytes_beyond_its_object() {
    let mut model = Model::new(Config::default());
    let mut cluster = cluster();
    cluster.shrink_to_fit();
    let known = Known::default();
    let compiled = allocation_counter::measure(|| {
        cluster.into_iter().for_each(|change| model.change(change));
        drop(model.plan_everything(&known));
    });
    // The list of changes was made outside and is freed within; the objects have moved into the model.
    let list = 2 * size_of::<Change>();
    let objects = size_of::<Service>() + size_of::<EndpointSlice>();
    let moved = i64::try_from(list - objects).unwrap() * i64::from(SERVICES);
    let held = compiled.bytes_current + moved;
    let endpoints = i64::from(SERVICES * ENDPOINTS);
    let each = held / endpoints;
    assert!(each <= 200, "{each} bytes");
}

#[test]
fn comparing_everything_with_itself_asks_for_no_memory() {
    let mut model = Model::new(Config::default());
    let cluster = cluster();
    cluster.into_iter().for_each(|change| model.change(change));
    let mut known = Known::default();
    let plan = model.plan_everything(&known);
    plan.iter().for_each(|operation| known.applied(operation));
    let compared = allocation_counter::measure(|| {
        assert!(model.plan_everything(&known).is_empty());
    });
    assert_eq!(compared.count_total, 0);
}

#[test]
fn names_of_nodes_that_are_gone_do_not_pile_up() {
    let slice = |node: u32| {
        changes(&format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "e", "labels": {{"kubernetes.io/service-name": "s"}}}},
                 "endpoints": [{{"addresses": ["10.128.0.1"], "nodeName": "node-with-a-long-name-{node}"}}]}}"#
        ))
    };
    let mut model = Model::new(Config::default());
    let mut pass = |nodes: std::ops::Range<u32>| {
        let measured = allocation_counter::measure(|| {
            nodes
                .flat_map(slice)
                .for_each(|change| model.change(change));
        });
        measured.bytes_current
    };
    pass(0..100);
    let held = pass(100..10_000);
    assert!(held < 10_000, "{held} bytes");
}
