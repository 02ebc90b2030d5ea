//! The start of a node that has nothing, with many services: batch after batch.

mod web;

use ipvs_codec::{Protocol, ServiceKey};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, Known, Model, Operation};
use ipvs_proxier::Progress;

use web::node::{Done, Node};
use web::refusing::{NO_RULES, Refusing};
use web::{addr, changes};

const SERVICES: usize = 1000;

fn objects(number: usize, endpoints: &[&str]) -> Vec<Change> {
    let (high, low) = (number / 250, number % 250 + 1);
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|ip| format!(r#"{{"addresses": ["{ip}"]}}"#))
        .collect();
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
            {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number:04}"}},
              "spec": {{"clusterIP": "10.96.{high}.{low}", "externalIPs": ["203.0.{high}.{low}"],
                        "ports": [{{"port": 80}}]}}}},
            {{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
              "metadata": {{"name": "s{number:04}-1", "labels": {{"kubernetes.io/service-name": "s{number:04}"}}}},
              "ports": [{{"port": 8080}}], "endpoints": [{}]}}]}}"#,
        endpoints.join(",")
    ))
}

fn key(number: usize) -> ServiceKey {
    let (high, low) = (number / 250, number % 250 + 1);
    let address = [
        10,
        96,
        u8::try_from(high).unwrap(),
        u8::try_from(low).unwrap(),
    ];
    ServiceKey::endpoint(Protocol::TCP, address.into(), 80)
}

fn full() -> Node<Refusing> {
    let mut node = Node::new(Model::new(Config::default()), Refusing::default());
    for number in 0..SERVICES {
        take(&mut node, objects(number, &["10.0.0.1", "10.0.0.2"]));
    }
    node
}

fn take(node: &mut Node<Refusing>, changes: Vec<Change>) {
    changes.into_iter().for_each(|change| node.change(change));
}

/// Starts, with a look after each step.
fn start(node: &mut Node<Refusing>, mut look: impl FnMut(&mut Node<Refusing>, usize)) -> Done {
    loop {
        let progress = node.resync_some().unwrap();
        let count = node.plane().kernel.state().virtual_servers.len();
        look(node, count);
        match progress {
            Progress::Done(report) => return report,
            Progress::More | Progress::Waiting => {}
        }
    }
}

fn state(node: &mut Node<Refusing>) -> Known {
    node.plane().kernel.state().clone()
}

#[test]
fn services_come_in_batches_each_of_them_whole() {
    let mut node = full();
    let mut counts = Vec::new();
    let report = start(&mut node, |node, count| {
        if counts.last() != Some(&count) {
            counts.push(count);
        }
        let state = state(node);
        for server in state.virtual_servers.values() {
            assert_eq!(server.real_servers().len(), 2, "{}", server.service.key);
        }
        // Two addresses and two virtual servers each.
        assert_eq!(state.vips.len(), state.virtual_servers.len());
    });
    assert!(counts.len() > 3, "{counts:?}");
    assert_eq!(counts.last(), Some(&(2 * SERVICES)));
    assert!(report.failures.is_empty());
    let ended = report.ended.unwrap();
    assert_eq!(ended.counts["add-virtual-server"], 2 * SERVICES);
    assert_eq!(ended.operations(), report.plan.len());
    let stepwise = state(&mut node);
    let mut at_once = full();
    let whole = at_once.sync().unwrap();
    assert_eq!(whole.plan.len(), report.plan.len());
    assert_eq!(state(&mut at_once), stepwise);
    for node in [&mut node, &mut at_once] {
        assert!(node.sync().unwrap().plan.is_empty());
        assert!(node.resync().unwrap().plan.is_empty());
    }
}

#[test]
fn a_change_meanwhile_waits_for_one_batch_and_no_longer() {
    let mut node = full();
    let mut step = 0;
    let (last, gone, new) = (SERVICES - 1, SERVICES - 2, SERVICES);
    let _ = start(&mut node, |node, count| {
        if count == 0 {
            return;
        }
        step += 1;
        if step == 1 {
            take(node, objects(last, &["10.0.0.3"]));
            take(node, objects(new, &["10.0.0.4"]));
            let name = ObjectName::new("default", &format!("s{gone:04}"));
            node.change(Change::ServiceGone(name));
        } else if step == 2 {
            assert!(count < 2 * SERVICES);
            let state = state(node);
            for (number, ip) in [(last, "10.0.0.3:8080"), (new, "10.0.0.4:8080")] {
                let server = &state.virtual_servers[&key(number)];
                let servers: Vec<_> = server.real_servers().iter().map(|rs| rs.addr).collect();
                assert_eq!(servers, [addr(ip)]);
            }
        }
    });
    assert!(step > 2);
    assert!(!state(&mut node).virtual_servers.contains_key(&key(gone)));
    assert!(node.resync().unwrap().plan.is_empty());
}

/// Without rules every port of the host would answer on a virtual address.
#[test]
fn rules_that_cannot_be_written_leave_addresses_unbound_in_every_batch() {
    let mut node = full();
    node.plane().refuses = Some(NO_RULES);
    let report = start(&mut node, |node, _| {
        assert!(state(node).vips.is_empty());
    });
    assert!(!report.is_healthy());
    let virtual_servers = |node: &mut _| state(node).virtual_servers.len();
    assert_eq!(virtual_servers(&mut node), 2 * SERVICES, "the rest goes on");
    assert!(node.known().is_none(), "all is read and tried again");
    node.plane().refuses = None;
    let _ = start(&mut node, |_, _| {});
    assert_eq!(state(&mut node).vips.len(), 2 * SERVICES);
    assert!(node.sync().unwrap().plan.is_empty());
}

#[test]
fn what_is_refused_in_a_batch_is_tried_with_the_next_sync() {
    let mut node = full();
    node.plane().refuses = Some(|operation| match operation {
        Operation::AddVirtualServer { service } => service.key == key(7),
        _ => false,
    });
    let report = start(&mut node, |_, _| {});
    // It, and its two real servers; once more at the end.
    assert_eq!(report.failures.len(), 6, "{:?}", report.failures);
    node.plane().refuses = None;
    assert_eq!(node.sync().unwrap().plan.len(), 3);
    assert!(node.resync().unwrap().plan.is_empty());
}
