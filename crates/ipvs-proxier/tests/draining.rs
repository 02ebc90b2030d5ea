//! Real servers that leave, on the simulated kernel.

mod web;

use std::time::{Duration, Instant};

use ipvs_codec::{Destination, Protocol, Scheduler, Service};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, Model, Operation};
use ipvs_proxier::{Connections, DataPlane as _, Simulated};

use web::node::Node;
use web::{addr, changes, key, synced, take, web};

#[test]
fn row_121_an_idle_real_server_is_removed() {
    let mut node = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    let done = take(&mut node, web("TCP", &["10.0.0.1"]));
    assert_eq!(
        done,
        ["drain real server 10.96.0.10:80/TCP -> 10.0.0.2:8080 weight 0 Masq"]
    );
    assert!(node.draining() > 0);
    let report = node.drain(Instant::now()).unwrap();
    assert_eq!(
        report.plan.to_string(),
        "remove real server 10.96.0.10:80/TCP -> 10.0.0.2:8080\n"
    );
    assert!(!node.draining() > 0);
}

#[test]
fn row_122_a_busy_real_server_stays_until_it_is_idle() {
    let mut node = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    let busy = |count| Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.2:8080"),
        count,
    };
    node.plane().set_connections(busy(3));
    take(&mut node, web("TCP", &["10.0.0.1"]));
    assert!(node.drain(Instant::now()).unwrap().plan.is_empty());
    assert!(
        node.resync().unwrap().plan.is_empty(),
        "a resync leaves it alone"
    );
    node.plane().set_connections(busy(0));
    assert_eq!(node.drain(Instant::now()).unwrap().plan.len(), 1);
}

#[test]
fn a_deadline_ends_the_waiting() {
    let config = Config {
        drain_deadline: Some(Duration::from_secs(300)),
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), Simulated::default());
    take(&mut node, web("TCP", &["10.0.0.1", "10.0.0.2"]));
    node.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    let start = node.clock.steady;
    take(&mut node, web("TCP", &["10.0.0.2"]));
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(node.drain(start).unwrap().plan.is_empty());
    assert_eq!(node.rests_until(), Some(after(300)));
    assert!(node.drain(after(299)).unwrap().plan.is_empty());
    assert_eq!(node.drain(after(300)).unwrap().plan.len(), 1);
    assert_eq!((node.rests_until(), node.draining()), (None, 0));
}

#[test]
fn one_that_comes_back_has_its_whole_time_again() {
    let mut annotated = web("TCP", &["10.0.0.1"]);
    if let Change::Service(service) = &mut annotated[0] {
        let json = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web",
            "annotations": {"ipvs-proxier/drain-deadline": "10s"}},
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}}"#;
        let Change::Service(tuned) = changes(json).remove(0) else {
            unreachable!("a service");
        };
        *service = tuned;
    }
    let mut node = Node::new(Model::new(Config::default()), Simulated::default());
    take(&mut node, annotated.clone());
    node.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    let slice = |endpoints: &[&str]| web("TCP", endpoints).remove(1);
    let start = node.clock.steady;
    let after = |seconds| start + Duration::from_secs(seconds);
    take(&mut node, vec![slice(&[])]);
    assert!(node.drain(after(8)).unwrap().plan.is_empty());
    take(&mut node, vec![slice(&["10.0.0.1"])]);
    take(&mut node, vec![slice(&[])]);
    assert!(node.drain(after(17)).unwrap().plan.is_empty());
    assert_eq!(node.drain(after(18)).unwrap().plan.len(), 1);
}

#[test]
fn row_123_udp_real_servers_go_at_once() {
    let mut node = synced("UDP", &["10.0.0.1", "10.0.0.2"]);
    let done = take(&mut node, web("UDP", &["10.0.0.1"]));
    assert_eq!(
        done,
        ["remove real server 10.96.0.10:80/UDP -> 10.0.0.2:8080"]
    );
    assert!(!node.draining() > 0);
}

#[test]
fn row_124_one_that_returns_gets_its_weight_back() {
    let mut node = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    take(&mut node, web("TCP", &["10.0.0.1"]));
    let done = take(&mut node, web("TCP", &["10.0.0.1", "10.0.0.2"]));
    assert_eq!(
        done,
        ["set real server 10.96.0.10:80/TCP -> 10.0.0.2:8080 weight 1 Masq"]
    );
}

#[test]
fn row_125_and_126_draining_is_found_again_after_a_restart() {
    let mut plane = Simulated::default();
    let quiesced = |ip: &str| Destination::new(addr(ip)).with_weight(0).unwrap();
    let virtual_server = key(Protocol::TCP);
    let outcomes = plane.apply(&[
        Operation::AddVirtualServer {
            service: Service::new(virtual_server, Scheduler::RR),
        },
        Operation::AddRealServer {
            virtual_server,
            real_server: quiesced("10.0.0.1:8080"),
        },
        Operation::AddRealServer {
            virtual_server,
            real_server: quiesced("10.0.0.2:8080"),
        },
    ]);
    assert!(outcomes.iter().all(Result::is_ok));
    let mut node = Node::new(Model::new(Config::default()), plane);
    let done = take(&mut node, web("TCP", &["10.0.0.1"]));
    assert!(
        done.contains(
            &"set real server 10.96.0.10:80/TCP -> 10.0.0.1:8080 weight 1 Masq".to_owned()
        ),
        "{done:?}"
    );
    assert!(
        !done
            .iter()
            .any(|operation| operation.contains("10.0.0.2:8080")),
        "{done:?}"
    );
    assert!(node.draining() > 0);
    assert_eq!(node.drain(Instant::now()).unwrap().plan.len(), 1);
}

#[test]
fn row_127_a_deleted_service_takes_its_draining_real_servers_along() {
    let mut node = synced("TCP", &["10.0.0.1"]);
    node.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    take(&mut node, web("TCP", &[]));
    assert!(node.drain(Instant::now()).unwrap().plan.is_empty() && node.draining() > 0);
    let name = ObjectName::new("default", "web");
    take(&mut node, vec![Change::ServiceGone(name)]);
    assert!(node.plane().state().virtual_servers.is_empty());
    assert!(node.drain(Instant::now()).unwrap().plan.is_empty());
    assert!(!node.draining() > 0, "nothing is asked for again");
}

/// A look goes on over several calls, and misses nothing that drained when it began.
#[test]
fn a_look_at_many_draining_real_servers_comes_in_parts() {
    let service = |number: u16, endpoints: &str| {
        changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "List", "items": [
                {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                 "spec": {{"clusterIP": "10.96.1.{number}", "ports": [{{"port": 80}}]}}}},
                {{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "s{number}", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
                 "ports": [{{"port": 8080}}], "endpoints": [{endpoints}]}}]}}"#
        ))
    };
    let mut node = Node::new(Model::new(Config::default()), Simulated::default());
    let both = r#"{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}"#;
    for endpoints in [both, r#"{"addresses": ["10.0.0.1"]}"#] {
        for number in 1..=100 {
            let changes = service(number, endpoints);
            changes.into_iter().for_each(|change| node.change(change));
        }
        assert!(node.sync().unwrap().failures.is_empty());
    }
    assert_eq!(node.draining(), 100);
    let now = Instant::now();
    let (mut removed, mut calls) = (0, 0);
    loop {
        removed += node.drain_some(now).unwrap().plan.len();
        calls += 1;
        if node.looks_left == 0 {
            break;
        }
        assert!(node.sync().unwrap().plan.is_empty());
    }
    assert_eq!((removed, node.draining()), (100, 0));
    assert!(calls > 1);
}

/// Somebody has put in a real server with weight 0 by hand: nobody wants it, and it goes when it is idle.
#[test]
fn a_real_server_that_others_quiesced_drains_too() {
    let mut node = synced("TCP", &["10.0.0.1"]);
    assert!(node.resync().unwrap().plan.is_empty());
    let key = key(Protocol::TCP);
    let mut foreign = node.known().unwrap().virtual_servers[&key].real_servers()[0];
    foreign.addr = addr("10.0.0.9:8080");
    foreign.weight = 0;
    let by_hand = Operation::AddRealServer {
        virtual_server: key,
        real_server: foreign,
    };
    assert!(node.plane().apply(&[by_hand])[0].is_ok());
    assert!(node.resync().unwrap().plan.is_empty());
    assert_eq!(node.drain(Instant::now()).unwrap().plan.len(), 1);
    let left = &node.plane().state().virtual_servers[&key];
    assert_eq!(left.real_servers().len(), 1);
}
