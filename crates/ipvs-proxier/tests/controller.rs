//! The controller alone: its transitions, its retries and what it tells of itself, with a clock that is a number.

mod web;

use std::time::Duration;

use ipvs_codec::{Family, Protocol, Scheduler, Service};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, Foreign, Model, NeverBind, Operation, Problem, Protected};
use ipvs_proxier::{
    Activity, Connections, DataPlane, DriftCause, Ended, News, Pace, Part, Simulated, Stage, Step,
    StepError, Trigger,
};

use web::node::Node;
use web::refusing::{NO_RULES, Refusing};
use web::{addr, key, web};

const SECOND: Duration = Duration::from_secs(1);

/// A node at kube-proxy's pace, but for what a test says.
fn node<P: DataPlane>(plane: P, pace: Pace) -> Node<P> {
    Node::with_pace(Model::new(Config::default()), plane, pace)
}

fn pace(min_sync: u64, sync: u64) -> Pace {
    Pace {
        min_sync: SECOND * u32::try_from(min_sync).unwrap(),
        sync: SECOND * u32::try_from(sync).unwrap(),
        ..Pace::default()
    }
}

/// Does what is due now; what ended, in order.
fn settle<P: DataPlane>(node: &mut Node<P>) -> Vec<Ended> {
    let mut all = Vec::new();
    loop {
        match node.poll() {
            Step::More => {}
            Step::Did(report) => all.extend(report.ended),
            Step::Wait(_) => return all,
        }
    }
}

fn activities(ended: &[Ended]) -> Vec<Activity> {
    ended.iter().map(|ended| ended.activity).collect()
}

fn stage<P: DataPlane>(node: &Node<P>) -> Stage {
    node.controller.status().stage
}

/// Whether nothing waits, as health would say.
fn is_synced<P: DataPlane>(node: &Node<P>) -> bool {
    node.controller.status().waiting_since.is_none()
}

#[test]
fn it_goes_from_listing_over_reading_and_starting_to_running() {
    let model = Model::new(Config::default());
    let mut node = Node::listing(model, Simulated::default(), Pace::default());
    let mut stages = vec![stage(&node)];
    node.changes(web("TCP", &["10.0.0.1"]));
    for number in 0..200 {
        let json = format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
                "spec": {{"clusterIP": "10.97.0.{number}", "ports": [{{"port": 80}}]}}}}"#
        );
        node.changes(web::changes(&json));
    }
    assert!(matches!(node.poll(), Step::Wait(Some(_))));
    assert_eq!(node.plane().messages(), 0, "the list is not complete");
    node.complete();
    while stage(&node) != Stage::Running {
        let _ = node.poll();
        stages.push(stage(&node));
    }
    stages.dedup();
    let wanted = [
        Stage::Listing,
        Stage::Reading,
        Stage::Starting,
        Stage::Running,
    ];
    assert_eq!(stages, wanted);
    assert!(is_synced(&node));
    assert_eq!(node.plane().state().virtual_servers.len(), 201);
}

#[test]
fn a_start_that_cannot_read_changes_nothing_and_is_retried_with_back_off() {
    let mut node = node(Refusing::default(), pace(1, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    node.plane().unreadable = Some(|part| matches!(part, Part::Set(..)));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let mut errors = Vec::new();
        let retry = loop {
            match node.poll() {
                Step::More => {}
                Step::Did(report) => errors.extend(report.errors),
                Step::Wait(until) => break until.unwrap(),
            }
        };
        assert!(matches!(errors[..], [StepError::Unread(_)]), "{errors:?}");
        assert_eq!(stage(&node), Stage::Unread);
        assert!(!is_synced(&node));
        waits.push((retry - node.clock.steady).as_secs());
        node.set_clock(retry);
    }
    // A change waits, so that each try comes when a sync may come: nothing was written yet.
    assert!(waits.iter().all(|wait| *wait <= 30), "{waits:?}");
    assert_eq!(node.plane().kernel.messages(), 0);
    node.plane().unreadable = None;
    assert_eq!(activities(&settle(&mut node)), [Activity::Start]);
    assert!(is_synced(&node));
}

#[test]
fn a_failure_that_leaves_open_what_was_done_is_followed_by_a_new_start() {
    let mut node = node(Refusing::default(), pace(0, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    assert_eq!(activities(&settle(&mut node)), [Activity::Start]);
    node.plane().refuses = Some(|operation| matches!(operation, Operation::AddRealServer { .. }));
    node.plane().is_silent = true;
    node.changes(web("TCP", &["10.0.0.1", "10.0.0.2"]));
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Sync]);
    assert!(!ended[0].is_synced);
    assert_eq!(stage(&node), Stage::Unread);
    node.plane().refuses = None;
    node.after(SECOND);
    assert_eq!(activities(&settle(&mut node)), [Activity::Start]);
    let key = key(Protocol::TCP);
    let server = &node.plane().kernel.state().virtual_servers[&key];
    assert_eq!(server.real_servers().len(), 2);
    assert!(is_synced(&node));
}

/// Rules that cannot be written take nothing from what needs none.
#[test]
fn while_a_start_is_to_be_retried_a_change_is_reason_enough() {
    let mut node = node(Refusing::default(), pace(1, 1000));
    node.changes(web("TCP", &["10.0.0.1"]));
    node.plane().refuses = Some(NO_RULES);
    for _ in 0..8 {
        settle(&mut node);
        assert_eq!(stage(&node), Stage::Unread);
        let Step::Wait(Some(retry)) = node.poll() else {
            panic!("it waits")
        };
        node.set_clock(retry);
    }
    settle(&mut node);
    node.after(SECOND);
    node.changes(web("TCP", &["10.0.0.2"]));
    settle(&mut node);
    let server = &node.plane().kernel.state().virtual_servers[&key(Protocol::TCP)];
    assert!(server.real_server(addr("10.0.0.2:8080")).is_some());
    assert!(node.plane().kernel.state().vips.is_empty());
}

/// A minimum of 5 s between syncs, a change that waits for it, and a look at a draining real server meanwhile.
#[test]
fn a_look_at_draining_real_servers_says_nothing_of_a_change_that_waits() {
    let mut node = node(Simulated::default(), pace(5, 1000));
    node.changes(web("TCP", &["10.0.0.1", "10.0.0.2"]));
    settle(&mut node);
    node.after(SECOND * 10);
    node.changes(web("TCP", &["10.0.0.1"]));
    assert_eq!(activities(&settle(&mut node)), [Activity::Sync]);
    let synced_at = node.controller.status().last_sync;
    node.after(Duration::from_millis(200));
    let trigger = Trigger {
        family: Family::Ipv4,
        at: node.clock.wall,
    };
    let (clock, slice) = (node.clock, web("TCP", &["10.0.0.1", "10.0.0.3"]));
    node.controller.source(clock, slice, vec![trigger], true);
    let waiting_since = Some(node.clock.steady);
    node.after(SECOND);
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Drain]);
    assert!(!ended[0].covers_changes && !ended[0].is_synced && ended[0].programmed.is_empty());
    assert_eq!(ended[0].operations(), 1, "the idle one is gone");
    let status = node.controller.status();
    assert_eq!(status.waiting_since, waiting_since);
    assert_eq!(status.endpoint_changes_pending, 1);
    assert_eq!(status.last_sync, synced_at);
    node.after(SECOND * 4);
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Sync]);
    assert_eq!(ended[0].programmed, [trigger]);
    let status = node.controller.status();
    assert!(is_synced(&node) && status.last_sync > synced_at);
    assert_eq!(status.endpoint_changes_pending, 0);
}

#[test]
fn after_a_resync_that_changed_nothing_no_change_waits() {
    let mut node = node(Simulated::default(), pace(5, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    for _ in 0..3 {
        node.after(SECOND * 30);
        assert_eq!(activities(&settle(&mut node)), [Activity::Resync]);
        node.after(Duration::from_millis(1));
        // What is said again needs nothing written either.
        node.changes(web("TCP", &["10.0.0.1"]));
        assert_eq!(activities(&settle(&mut node)), [Activity::Sync]);
    }
    node.changes(web("TCP", &["10.0.0.2"]));
    assert_eq!(activities(&settle(&mut node)), [Activity::Sync]);
    node.changes(web("TCP", &["10.0.0.3"]));
    assert_eq!(activities(&settle(&mut node)), [], "now it waits");
}

#[test]
fn what_a_family_could_not_do_keeps_the_triggers_of_that_family() {
    let mut node = node(Refusing::default(), pace(0, 1000));
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    node.plane().refuses = Some(|operation| matches!(operation, Operation::AddRealServer { .. }));
    let triggers = Family::ALL.map(|family| Trigger {
        family,
        at: node.clock.wall,
    });
    let (clock, slice) = (node.clock, web("TCP", &["10.0.0.2"]));
    node.controller
        .source(clock, slice, triggers.to_vec(), true);
    let ended = settle(&mut node);
    assert_eq!(ended[0].programmed, [triggers[1]]);
    assert!(ended[0].is_synced, "one Service is no matter of health");
    node.plane().refuses = None;
    node.after(SECOND);
    let ended = settle(&mut node);
    assert!(ended.iter().any(|ended| ended.programmed == [triggers[0]]));
}

#[test]
fn a_resync_that_cannot_read_a_part_is_retried_and_ends_all_the_same() {
    let mut node = node(Refusing::default(), pace(0, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    node.plane().unreadable = Some(|part| matches!(part, Part::Rules(_)));
    node.plane().kernel.state_mut().vips.clear();
    node.after(SECOND * 30);
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Resync]);
    assert_eq!((ended[0].errors, ended[0].failed), (2, 0), "both families");
    assert_eq!(node.plane().kernel.state().vips.len(), 1, "repaired");
    node.plane().unreadable = None;
    node.after(SECOND);
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Resync]);
    assert!(ended[0].succeeded());
    assert_eq!(activities(&settle(&mut node)), []);
}

#[test]
fn only_what_others_did_is_drift() {
    let mut node = node(Refusing::default(), pace(0, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    node.plane().kernel.state_mut().virtual_servers.clear();
    node.after(SECOND * 30);
    let ended = settle(&mut node);
    assert_eq!(
        ended[0].drift[&("add-virtual-server", DriftCause::Resync)],
        1
    );
    // What was refused is missing without anybody's doing.
    node.plane().refuses = Some(|operation| matches!(operation, Operation::AddRealServer { .. }));
    node.changes(web("TCP", &["10.0.0.1", "10.0.0.2"]));
    settle(&mut node);
    node.plane().refuses = None;
    node.after(SECOND);
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Resync]);
    assert_eq!((ended[0].operations(), ended[0].drift.len()), (1, 0));
}

#[test]
fn each_thing_is_news_once_until_it_is_over() {
    let mut node = node(Refusing::default(), pace(0, 1000));
    settle(&mut node);
    let gone = || Change::ServiceGone(ObjectName::new("default", "web"));
    let refuses: fn(&Operation) -> bool =
        |operation| matches!(operation, Operation::AddVirtualServer { .. });
    for _ in 0..2 {
        node.plane().refuses = Some(refuses);
        node.changes(web("TCP", &[]));
        assert_eq!(node.sync().unwrap().news.len(), 1);
        assert_eq!(node.sync().unwrap().news, [], "it is known");
        assert_eq!(node.resync().unwrap().news, []);
        node.plane().refuses = None;
        assert_eq!(node.sync().unwrap().news, []);
        node.changes(vec![gone()]);
        assert_eq!(node.sync().unwrap().news, []);
    }
}

/// Something fails all the time; what fails beside it comes and goes.
#[test]
fn what_is_over_is_news_again_though_something_else_still_fails() {
    let mut node = node(Refusing::default(), pace(0, 1000));
    settle(&mut node);
    node.plane().refuses =
        Some(|operation| matches!(operation, Operation::AddVirtualServer { .. }));
    node.changes(web("UDP", &[]));
    assert_eq!(node.sync().unwrap().news.len(), 1);
    for _ in 0..2 {
        node.changes(web("TCP", &[]));
        assert_eq!(node.sync().unwrap().news.len(), 1);
        assert_eq!(node.sync().unwrap().news, []);
        node.changes(web("UDP", &[]));
        node.sync().unwrap();
    }
}

#[test]
fn deadlines_and_periods_beyond_the_end_of_time_are_never() {
    let config = Config {
        drain_deadline: Some(Duration::MAX),
        ..Config::default()
    };
    let pace = Pace {
        min_sync: Duration::ZERO,
        sync: Duration::MAX,
        max_sync: Duration::MAX,
        drain: Duration::MAX,
        canary: Some(Duration::MAX),
    };
    let mut node = Node::with_pace(Model::new(config), Simulated::default(), pace);
    node.changes(web("TCP", &["10.0.0.1", "10.0.0.2"]));
    settle(&mut node);
    node.plane().set_connections(Connections {
        virtual_server: key(Protocol::TCP),
        real_server: addr("10.0.0.2:8080"),
        count: 3,
    });
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    node.after(SECOND * 1_000_000);
    assert_eq!(activities(&settle(&mut node)), [Activity::Drain]);
    assert_eq!(node.rests_until(), None);
    assert_eq!(node.draining(), 1);
}

#[test]
fn nothing_is_read_or_written_at_rest() {
    let mut node = node(Simulated::default(), pace(1, 30));
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    let before = (node.plane().messages(), node.plane().reads());
    for _ in 0..100 {
        node.after(Duration::from_millis(250));
        assert!(matches!(node.poll(), Step::Wait(Some(_))));
    }
    assert_eq!((node.plane().messages(), node.plane().reads()), before);
}

/// Somebody else's virtual server at the address and port of a Service.
#[test]
fn who_takes_over_a_virtual_server_says_so_once() {
    for foreign in [Foreign::Remove, Foreign::Keep] {
        let config = Config {
            foreign,
            ..Config::default()
        };
        let mut node = Node::new(Model::new(config), Simulated::default());
        let service = Service::new(key(Protocol::TCP), Scheduler::WLC);
        let theirs = [Operation::AddVirtualServer { service }];
        assert!(node.plane().apply(&theirs)[0].is_ok());
        node.changes(web("TCP", &["10.0.0.1"]));
        let news = node.sync().unwrap().news;
        let server = node.plane().state().virtual_servers[&key(Protocol::TCP)].clone();
        let is_ours = server.service.scheduler == Scheduler::RR;
        assert_eq!(is_ours, foreign == Foreign::Remove);
        match (foreign, &news[..]) {
            (Foreign::Remove, [told @ News::TakenOver { .. }]) => {
                let notice = told.notice().unwrap();
                assert!(notice.is_warning && notice.note.contains("10.96.0.10:80/TCP"));
            }
            (Foreign::Keep, [News::Problem { problem, .. }]) => {
                assert!(matches!(problem, Problem::Foreign { .. }));
            }
            _ => panic!("{news:?}"),
        }
        assert_eq!(node.resync().unwrap().news, []);
    }
}

/// Somebody holds the lock of iptables for some time.
#[test]
fn rules_that_wait_for_others_are_written_without_reading_everything() {
    let mut node = node(Refusing::default(), pace(0, 1000));
    settle(&mut node);
    let reads = node.plane().kernel.reads();
    node.plane().refuses = Some(NO_RULES);
    node.plane().is_locked = true;
    node.changes(web("TCP", &["10.0.0.1"]));
    let ended = settle(&mut node);
    assert_eq!(activities(&ended), [Activity::Sync]);
    assert_eq!((stage(&node), ended[0].failed), (Stage::Running, 1));
    assert!(!is_synced(&node));
    node.plane().refuses = None;
    node.changes(web("TCP", &["10.0.0.2"]));
    assert_eq!(activities(&settle(&mut node)), [Activity::Sync]);
    assert_eq!(node.plane().kernel.reads(), reads);
    assert!(is_synced(&node));
}

/// A Service that asks for its address would make it local, and the node lose its way out.
#[test]
fn a_gateway_of_the_node_is_never_bound_and_the_service_is_named() {
    let never_bind = NeverBind {
        gateways: true,
        ..NeverBind::default()
    };
    let model = Model::new(Config {
        never_bind,
        ..Config::default()
    });
    let mut plane = Simulated::default();
    let gateway = [10, 96, 0, 10].into();
    plane.set_gateways(vec![gateway]);
    let mut node = Node::with_pace(model, plane, Pace::default());
    node.changes(web("TCP", &["10.0.0.1"]));
    settle(&mut node);
    assert!(node.plane().state().vips.is_empty());
    let problems: Vec<_> = node.desired().problems().collect();
    let never = Problem::NeverBound {
        address: gateway,
        because: Protected::Gateway,
    };
    assert_eq!(problems, [(&ObjectName::new("default", "web"), never)]);
}
