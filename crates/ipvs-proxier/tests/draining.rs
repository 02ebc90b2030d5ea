//! Real servers that leave, on the simulated kernel.

mod web;

use std::time::{Duration, Instant};

use ipvs_codec::{Destination, Protocol, Scheduler, Service};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, Model, Operation};
use ipvs_proxier::{Connections, DataPlane as _, Proxier, Simulated};

use web::{addr, changes, key, synced, take, web};

#[test]
fn row_121_an_idle_real_server_is_removed() {
    let mut proxier = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    let done = take(&mut proxier, web("TCP", &["10.0.0.1"]));
    assert_eq!(
        done,
        ["drain real server 10.96.0.10:80/TCP -> 10.0.0.2:8080 weight 0 Masq"]
    );
    assert!(proxier.is_draining());
    let report = proxier.drain(Instant::now()).unwrap();
    assert_eq!(
        report.plan.to_string(),
        "remove real server 10.96.0.10:80/TCP -> 10.0.0.2:8080\n"
    );
    assert!(!proxier.is_draining());
}

#[test]
fn row_122_a_busy_real_server_stays_until_it_is_idle() {
    let mut proxier = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    let busy = |count| Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.2:8080"),
        count,
    };
    proxier.plane().set_connections(busy(3));
    take(&mut proxier, web("TCP", &["10.0.0.1"]));
    assert!(proxier.drain(Instant::now()).unwrap().plan.is_empty());
    assert!(
        proxier.verify().unwrap().plan.is_empty(),
        "a verification leaves it alone"
    );
    proxier.plane().set_connections(busy(0));
    assert_eq!(proxier.drain(Instant::now()).unwrap().plan.len(), 1);
}

#[test]
fn a_deadline_ends_the_waiting() {
    let config = Config {
        drain_deadline: Some(Duration::from_secs(300)),
        ..Config::default()
    };
    let mut proxier = Proxier::new(Model::new(config), Simulated::default());
    take(&mut proxier, web("TCP", &["10.0.0.1", "10.0.0.2"]));
    proxier.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    take(&mut proxier, web("TCP", &["10.0.0.2"]));
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    assert!(proxier.drain(start).unwrap().plan.is_empty());
    assert_eq!(proxier.next_deadline(), Some(after(300)));
    assert!(proxier.drain(after(299)).unwrap().plan.is_empty());
    assert_eq!(proxier.drain(after(300)).unwrap().plan.len(), 1);
    assert_eq!(
        (proxier.next_deadline(), proxier.is_draining()),
        (None, false)
    );
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
    let mut proxier = Proxier::new(Model::new(Config::default()), Simulated::default());
    take(&mut proxier, annotated.clone());
    proxier.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    let slice = |endpoints: &[&str]| web("TCP", endpoints).remove(1);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    take(&mut proxier, vec![slice(&[])]);
    assert!(proxier.drain(start).unwrap().plan.is_empty());
    take(&mut proxier, vec![slice(&["10.0.0.1"])]);
    take(&mut proxier, vec![slice(&[])]);
    assert!(proxier.drain(after(11)).unwrap().plan.is_empty());
    assert_eq!(proxier.drain(after(21)).unwrap().plan.len(), 1);
}

#[test]
fn row_123_udp_real_servers_go_at_once() {
    let mut proxier = synced("UDP", &["10.0.0.1", "10.0.0.2"]);
    let done = take(&mut proxier, web("UDP", &["10.0.0.1"]));
    assert_eq!(
        done,
        ["remove real server 10.96.0.10:80/UDP -> 10.0.0.2:8080"]
    );
    assert!(!proxier.is_draining());
}

#[test]
fn row_124_one_that_returns_gets_its_weight_back() {
    let mut proxier = synced("TCP", &["10.0.0.1", "10.0.0.2"]);
    take(&mut proxier, web("TCP", &["10.0.0.1"]));
    let done = take(&mut proxier, web("TCP", &["10.0.0.1", "10.0.0.2"]));
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
    let mut proxier = Proxier::new(Model::new(Config::default()), plane);
    let done = take(&mut proxier, web("TCP", &["10.0.0.1"]));
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
    assert!(proxier.is_draining());
    assert_eq!(proxier.drain(Instant::now()).unwrap().plan.len(), 1);
}

#[test]
fn row_127_a_deleted_service_takes_its_draining_real_servers_along() {
    let mut proxier = synced("TCP", &["10.0.0.1"]);
    proxier.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.1:8080"),
        count: 3,
    });
    take(&mut proxier, web("TCP", &[]));
    assert!(proxier.drain(Instant::now()).unwrap().plan.is_empty() && proxier.is_draining());
    let name = ObjectName::new("default", "web");
    take(&mut proxier, vec![Change::ServiceGone(name)]);
    assert!(proxier.plane().state().virtual_servers.is_empty());
    assert!(proxier.drain(Instant::now()).unwrap().plan.is_empty());
    assert!(!proxier.is_draining(), "nothing is asked for again");
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
    let mut proxier = Proxier::new(Model::new(Config::default()), Simulated::default());
    let both = r#"{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}"#;
    for endpoints in [both, r#"{"addresses": ["10.0.0.1"]}"#] {
        for number in 1..=100 {
            let changes = service(number, endpoints);
            changes
                .into_iter()
                .for_each(|change| proxier.change(change));
        }
        assert!(proxier.sync().unwrap().failures.is_empty());
    }
    assert_eq!(proxier.draining(), 100);
    let now = Instant::now();
    let (mut removed, mut calls) = (0, 0);
    loop {
        removed += proxier.drain_some(now).unwrap().plan.len();
        calls += 1;
        if !proxier.drain_goes_on() {
            break;
        }
        assert!(proxier.sync().unwrap().plan.is_empty());
    }
    assert_eq!((removed, proxier.draining()), (100, 0));
    assert!(calls > 1);
}

/// Somebody has put in a real server with weight 0 by hand: nobody wants it, and it goes when it is idle.
#[test]
fn a_real_server_that_others_quiesced_drains_too() {
    let mut proxier = synced("TCP", &["10.0.0.1"]);
    assert!(proxier.verify().unwrap().plan.is_empty());
    let key = key(Protocol::TCP);
    let mut foreign = proxier.known().unwrap().virtual_servers[&key].real_servers()[0];
    foreign.addr = addr("10.0.0.9:8080");
    foreign.weight = 0;
    let by_hand = Operation::AddRealServer {
        virtual_server: key,
        real_server: foreign,
    };
    assert!(proxier.plane().apply(&[by_hand])[0].is_ok());
    assert!(proxier.verify().unwrap().plan.is_empty());
    assert_eq!(proxier.drain(Instant::now()).unwrap().plan.len(), 1);
    let left = &proxier.plane().state().virtual_servers[&key];
    assert_eq!(left.real_servers().len(), 1);
}
