//! Virtual servers of somebody else in the simulated kernel, where a Service wants its own.

mod web;

use std::sync::Arc;

use ipvs_codec::{Destination, Protocol, Scheduler, Service};
use ipvs_model::input::ObjectName;
use ipvs_model::{Config, Foreign, Model, Problem, VirtualServer, entries_that_list};
use ipvs_proxier::{News, Simulated};

use web::node::Node;
use web::{addr, key, web};

fn theirs() -> Arc<VirtualServer> {
    let service = Service::new(key(Protocol::TCP), Scheduler::WRR);
    let real_server = Destination {
        weight: 0,
        ..Destination::new(addr("198.51.100.1:1"))
    };
    Arc::new(VirtualServer::new(service, vec![real_server]))
}

/// Somebody else's was there first.
fn node(foreign: Foreign) -> Node<Simulated> {
    let mut kernel = Simulated::default();
    let servers = &mut kernel.state_mut().virtual_servers;
    servers.insert(key(Protocol::TCP), theirs());
    let config = Config {
        foreign,
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), kernel);
    for change in web("TCP", &["10.0.0.1"]) {
        node.change(change);
    }
    node
}

fn is_listed(node: &mut Node<Simulated>) -> bool {
    let state = node.plane().state();
    entries_that_list(&key(Protocol::TCP)).any(|entry| state.has_member(&entry))
}

#[test]
fn it_is_taken_over_and_what_it_had_is_drained() {
    let mut node = node(Foreign::Remove);
    let done = node.sync().unwrap();
    assert!(done.failures.is_empty());
    let service = ObjectName::new("default", "web");
    let key = key(Protocol::TCP);
    assert_eq!(done.news, [News::TakenOver { service, key }]);
    assert!(is_listed(&mut node));
    let state = node.plane().state();
    let server = &state.virtual_servers[&key];
    assert_eq!(server.service.scheduler, Scheduler::RR);
    assert!(server.real_server(addr("10.0.0.1:8080")).is_some());
    assert!(node.resync().unwrap().plan.is_empty());
}

#[test]
fn it_is_kept_as_it_is_until_a_resync_sees_that_it_is_gone() {
    let mut node = node(Foreign::Keep);
    assert!(node.sync().unwrap().failures.is_empty());
    for _ in 0..2 {
        let state = node.plane().state();
        assert_eq!(state.virtual_servers[&key(Protocol::TCP)], theirs());
        assert!(state.vips.is_empty());
        assert!(!is_listed(&mut node), "it would look ours");
        let problems: Vec<Problem> = node
            .desired()
            .problems()
            .map(|(_, problem)| problem)
            .collect();
        let expected = Problem::Foreign {
            key: key(Protocol::TCP),
        };
        assert_eq!(problems, [expected]);
        assert!(node.draining() == 0, "its quiesced real server is not ours");
        // Endpoints change, and everything is compared.
        for change in web("TCP", &["10.0.0.1", "10.0.0.2"]) {
            node.change(change);
        }
        assert!(node.sync().unwrap().plan.is_empty());
        assert!(node.resync().unwrap().plan.is_empty());
    }
    let servers = &mut node.plane().state_mut().virtual_servers;
    servers.remove(&key(Protocol::TCP));
    assert!(node.resync().unwrap().failures.is_empty());
    assert!(is_listed(&mut node));
    let state = node.plane().state();
    let server = &state.virtual_servers[&key(Protocol::TCP)];
    assert_eq!(server.real_servers().len(), 2);
    assert!(!state.vips.is_empty());
    assert_eq!(node.desired().problems().count(), 0);
    assert!(node.resync().unwrap().plan.is_empty());
}

#[test]
fn after_a_restart_it_is_still_somebody_elses_and_ours_are_ours() {
    let mut first = node(Foreign::Keep);
    assert!(first.sync().unwrap().failures.is_empty());
    let mut kernel = std::mem::take(first.plane());
    let mut again = node(Foreign::Keep);
    std::mem::swap(again.plane(), &mut kernel);
    assert!(again.sync().unwrap().plan.is_empty());
    let servers = &mut again.plane().state_mut().virtual_servers;
    servers.remove(&key(Protocol::TCP));
    assert!(again.resync().unwrap().failures.is_empty());
    // Ours now, with another endpoint than the next run finds.
    let mut kernel = std::mem::take(again.plane());
    let mut third = node(Foreign::Keep);
    std::mem::swap(third.plane(), &mut kernel);
    for change in web("TCP", &["10.0.0.3"]) {
        third.change(change);
    }
    assert!(third.sync().unwrap().failures.is_empty());
    assert_eq!(third.desired().problems().count(), 0);
    let state = third.plane().state();
    let server = &state.virtual_servers[&key(Protocol::TCP)];
    assert!(server.real_server(addr("10.0.0.3:8080")).is_some());
}

/// Nobody has read it when the Service comes.
#[test]
fn one_that_came_after_the_last_resync_is_somebody_elses_too() {
    let config = Config {
        foreign: Foreign::Keep,
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), Simulated::default());
    assert!(node.sync().unwrap().failures.is_empty());
    let servers = &mut node.plane().state_mut().virtual_servers;
    servers.insert(key(Protocol::TCP), theirs());
    for change in web("TCP", &["10.0.0.1"]) {
        node.change(change);
    }
    for _ in 0..2 {
        assert!(node.sync().unwrap().failures.is_empty());
        assert!(node.resync().unwrap().plan.is_empty());
        let state = node.plane().state();
        assert_eq!(state.virtual_servers[&key(Protocol::TCP)], theirs());
        assert!(state.vips.is_empty());
        assert!(!is_listed(&mut node), "it would look ours");
        assert_eq!(node.desired().problems().count(), 1);
    }
}

/// It came after everything was read, so that only the kernel knows of it.
#[test]
fn one_that_came_since_is_taken_over_by_the_next_resync_and_said_at_once() {
    let config = Config::default();
    let mut node = Node::new(Model::new(config), Simulated::default());
    assert!(node.sync().unwrap().succeeded());
    let servers = &mut node.plane().state_mut().virtual_servers;
    servers.insert(key(Protocol::TCP), theirs());
    node.changes(web("TCP", &["10.0.0.1"]));
    let done = node.sync().unwrap();
    let service = ObjectName::new("default", "web");
    let key = key(Protocol::TCP);
    assert!(done.news.contains(&News::TakenOver { service, key }));
    let done = node.resync().unwrap();
    assert_eq!((done.failures.len(), done.news.len()), (0, 0));
    let server = &node.plane().state().virtual_servers[&key];
    assert_eq!(server.service.scheduler, Scheduler::RR);
}
