//! What others change while a resync goes on, and while rules are read slowly: a resync has an end, and nothing waits for
//! rules that need not.

mod at_rest;

use ipvs_codec::{Family, Protocol};
use ipvs_model::input::{Change, ObjectName};
use ipvs_model::{Config, Known, Model};
use ipvs_proxier::{Activity, Control, DataPlane as _, Pace, Part, Progress, Simulated, Step};

use at_rest::web::key;
use at_rest::web::node::Node;
use at_rest::web::refusing::{Hook, Refusing};
use at_rest::{PACE, RULES, SECOND, SEEN, TOLD, TOLD_OF, activities, during, many, service, vip};

/// Each reading of rules takes so many questions, 20 ms apart.
fn slow(questions: usize) -> Option<Hook> {
    let mut left = None;
    Some(Box::new(move |_, part| match part {
        Part::StartRules => {
            left = None;
            None
        }
        Part::Rules(_) => {
            let now = left.unwrap_or(questions);
            left = now.checked_sub(1);
            left.map(|_| Progress::Waiting)
        }
        _ => None,
    }))
}

/// At rest, with so many more services than one.
fn node(more: u16, pace: Pace) -> Node<Refusing> {
    let mut kernel = Simulated::default();
    kernel.use_legacy_rules();
    kernel.set_node_addresses(vec!["192.168.50.10".parse().unwrap()]);
    let mut plane = Refusing {
        kernel,
        ..Refusing::default()
    };
    let config = Config::default();
    plane.listen(&config, &Control::new()).unwrap();
    let mut node = Node::with_pace(Model::new(config), plane, pace);
    let mut all = service();
    all.extend(many(more));
    node.changes(all);
    during(&mut node, 3 * SECOND);
    node
}

fn wanted(node: &mut Node<Refusing>) -> Known {
    node.plane().kernel.state().clone()
}

#[test]
fn however_often_others_change_rules_a_resync_has_an_end() {
    for families in [&[Family::Ipv4][..], &[Family::Ipv6], &Family::ALL] {
        let mut node = node(0, PACE);
        let wanted = wanted(&mut node);
        // Each takes five seconds.
        node.plane().hook = slow(250);
        let mut ended = Vec::new();
        for second in 0..240 {
            let family = families[second % families.len()];
            node.plane().kernel.state_mut().filters.remove(&family);
            ended.extend(activities(&during(&mut node, SECOND).ended));
        }
        let of = |wanted: Activity| ended.iter().filter(|ended| **ended == wanted).count();
        let (resyncs, repairs) = (of(Activity::Resync), of(Activity::Repair));
        assert!(resyncs >= 3, "{families:?}: {resyncs} resyncs");
        assert!(repairs >= 10, "{families:?}: {repairs} repairs");
        node.plane().hook = None;
        during(&mut node, 60 * SECOND);
        assert!(*node.plane().kernel.state() == wanted);
    }
}

/// Its table takes many calls, and each of them is followed by an event.
#[test]
fn however_often_others_change_tables_a_resync_has_an_end() {
    let mut node = node(0, PACE);
    let wanted = wanted(&mut node);
    let mut calls = 0_u32;
    node.plane().hook = Some(Box::new(move |_, part| {
        calls = match part {
            Part::Link => calls + 1,
            _ => 0,
        };
        (part == Part::Link && calls < 20).then_some(Progress::Waiting)
    }));
    let mut resyncs = 0;
    for _ in 0..2_000 {
        node.plane().kernel.state_mut().vips.clear();
        let ended = during(&mut node, SECOND / 20).ended;
        resyncs += activities(&ended)
            .iter()
            .filter(|ended| **ended == Activity::Resync)
            .count();
    }
    assert!(resyncs >= 1, "{resyncs} resyncs");
    node.plane().hook = None;
    during(&mut node, 60 * SECOND);
    assert!(*node.plane().kernel.state() == wanted);
}

/// As for a process that gets no CPU: neither what others change nor the resync's own reading waits for it.
#[test]
fn rules_that_are_read_for_ever_keep_nothing_else_waiting() {
    let mut node = node(0, PACE);
    let wanted = wanted(&mut node);
    node.plane().hook = slow(usize::MAX);
    (RULES[0].1)(node.plane().kernel.state_mut());
    during(&mut node, 2 * SECOND);
    for hand in TOLD_OF {
        (hand.1)(node.plane().kernel.state_mut());
        during(&mut node, 6 * TOLD);
        let state = node.plane().kernel.state();
        let is_right = state.link == wanted.link && state.vips == wanted.vips;
        assert!(is_right, "{}", hand.0);
    }
    for is_resync in [false, true] {
        if is_resync {
            let clock = node.clock;
            node.controller.hurry(Activity::Resync, clock);
        }
        node.plane().kernel.state_mut().virtual_servers.clear();
        during(&mut node, 2 * SEEN);
        let state = node.plane().kernel.state();
        assert!(state.virtual_servers == wanted.virtual_servers);
    }
    node.plane().hook = None;
    during(&mut node, 60 * SECOND);
    assert!(*node.plane().kernel.state() == wanted);
}

/// A list of so many virtual servers has its turn only now and then.
#[test]
fn a_virtual_server_that_goes_while_a_resync_goes_on_is_seen_by_the_next_canary() {
    type When = fn(Part<'_>) -> bool;
    let moments: [(&str, When); 4] = [
        ("at its beginning", |part| part == Part::List),
        ("behind the list", |part| part == Part::Link),
        ("among the sets", |part| matches!(part, Part::Set(..))),
        ("at its end", |part| part == Part::Rules(Family::Ipv6)),
    ];
    // No second resync comes between.
    let pace = Pace {
        sync: 1_000 * SECOND,
        ..PACE
    };
    for (name, is_moment) in moments {
        let mut node = node(2_000, pace);
        let wanted = wanted(&mut node);
        let mut is_gone = false;
        node.plane().hook = Some(Box::new(move |kernel, part| {
            if is_moment(part) && !std::mem::replace(&mut is_gone, true) {
                let gone = kernel
                    .state_mut()
                    .virtual_servers
                    .remove(&key(Protocol::TCP));
                assert!(gone.is_some());
            }
            None
        }));
        let clock = node.clock;
        node.controller.hurry(Activity::Resync, clock);
        let seen = during(&mut node, SEEN);
        assert!(
            activities(&seen.ended).contains(&Activity::Resync),
            "{name}"
        );
        assert!(*node.plane().kernel.state() == wanted, "{name}");
        // All is as it is known then: nobody reads again and again.
        let reads = node.plane().kernel.reads();
        assert_eq!(
            activities(&during(&mut node, 3 * SECOND).ended),
            [],
            "{name}"
        );
        assert!(node.plane().kernel.reads() - reads < 2_000, "{name}");
        assert!(node.known().unwrap().vips.contains_key(&vip()));
    }
}

/// Between any two of its steps a service goes.
#[test]
fn what_the_proxier_does_itself_during_a_resync_is_no_event() {
    let mut node = node(500, PACE);
    let mut names: Vec<ObjectName> = many(500)
        .into_iter()
        .map(|change| match change {
            Change::Service(service) => service.name,
            other => panic!("{other:?}"),
        })
        .collect();
    let clock = node.clock;
    node.controller.hurry(Activity::Resync, clock);
    let mut ended = Vec::new();
    while !activities(&ended).contains(&Activity::Resync) {
        node.changes(names.pop().map(Change::ServiceGone).into_iter().collect());
        for _ in 0..2 {
            match node.poll() {
                Step::Did(report) => ended.extend(report.ended),
                Step::More | Step::Wait(_) => {}
            }
        }
    }
    assert!(ended.len() > 50, "{} activities", ended.len());
    let rest = during(&mut node, 5 * SECOND).ended;
    assert_eq!(activities(&rest), []);
    let looks = 5;
    let reads = node.plane().kernel.reads();
    during(&mut node, looks * SECOND);
    let reads = node.plane().kernel.reads() - reads;
    assert!(reads < 1_000, "lists are read again and again: {reads}");
}
