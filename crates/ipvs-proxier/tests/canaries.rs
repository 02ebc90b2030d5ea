//! What the kernel tells nobody of is put right by canaries, by what is read in turn, and by a resync that comes less and less
//! often.

mod at_rest;

use std::time::Duration;

use ipvs_codec::{Family, Protocol};
use ipvs_model::{Config, Model};
use ipvs_netlink::Cause;
use ipvs_proxier::{Activity, DriftCause, Pace, PlaneError, Signs, Simulated};

use at_rest::web::key;
use at_rest::web::node::Node;
use at_rest::web::refusing::Refusing;
use at_rest::{
    ASKED_FOR, PACE, REAL_SERVERS, RULES, SECOND, SEEN, TABLES, activities, at_rest, causes,
    during, failing_at_rest, is_put_right, listening, many, resyncs, service,
};

#[test]
fn what_it_does_not_tell_of_is_put_right_by_a_canary() {
    // No resync comes between.
    let pace = Pace {
        sync: 1000 * SECOND,
        ..PACE
    };
    let mut node = listening(Config::default(), pace);
    node.plane().use_legacy_rules();
    node.changes(service());
    during(&mut node, SECOND);
    let in_turn = TABLES.into_iter().chain(REAL_SERVERS);
    for hand in ASKED_FOR.into_iter().chain(RULES).chain(in_turn) {
        is_put_right(&mut node, hand, SEEN, DriftCause::Canary);
    }
}

#[test]
fn what_is_read_in_turn_comes_out_in_a_time_that_grows_with_the_number_of_services() {
    // No resync comes between.
    let pace = Pace {
        sync: 10_000 * SECOND,
        ..PACE
    };
    for services in [100_u16, 1_000] {
        let mut node = at_rest(pace);
        node.changes(many(services));
        during(&mut node, SECOND);
        let servers = u32::try_from(node.plane().state().virtual_servers.len()).unwrap();
        let entries: usize = node
            .plane()
            .state()
            .sets
            .values()
            .map(|entries| entries.len())
            .sum();
        // 64 virtual servers a second, and 150 objects of tables, of which each counts for 10 more.
        let of_server = SECOND * (servers / 64 + 2);
        let objects = servers + u32::try_from(entries).unwrap();
        let of_table = SECOND * (objects / 150 + 3);
        let hands = TABLES.map(|hand| (hand, of_table)).into_iter();
        for (hand, within) in hands.chain(REAL_SERVERS.map(|hand| (hand, of_server))) {
            is_put_right(&mut node, hand, within, DriftCause::Canary);
        }
    }
}

#[test]
fn resyncs_that_find_nothing_come_less_and_less_often() {
    let mut node = at_rest(PACE);
    let wanted = [29, 60, 120, 240, 480, 600, 600];
    assert_eq!(resyncs(&mut node, Duration::from_secs(2_200)), wanted);
    // Something of which neither the kernel nor a canary says anything: which is found by its turn at the latest.
    node.plane().state_mut().vips.clear();
    let ended = during(&mut node, SECOND).ended;
    assert_eq!(activities(&ended), [Activity::Repair]);
    assert_eq!(resyncs(&mut node, Duration::from_secs(90))[0], 29);

    // Without the one or the other every resync is needed.
    let deaf = Pace {
        canary: None,
        ..PACE
    };
    let mut node = at_rest(deaf);
    assert_eq!(
        resyncs(&mut node, Duration::from_secs(125)),
        [29, 30, 30, 30]
    );
    let mut node = Node::with_pace(Model::new(Config::default()), Simulated::default(), PACE);
    during(&mut node, SECOND);
    assert_eq!(
        resyncs(&mut node, Duration::from_secs(125)),
        [29, 30, 30, 30]
    );
}

#[test]
fn rules_that_others_change_while_some_are_written_are_put_right_too() {
    let mut node = failing_at_rest();
    let wanted = node.plane().kernel.state().clone();
    node.plane().meanwhile = Some(|known| drop(known.filters.remove(&Family::Ipv6)));
    let filters = &mut node.plane().kernel.state_mut().filters;
    filters.remove(&Family::Ipv4);
    during(&mut node, 2 * SEEN);
    assert!(node.plane().meanwhile.is_none(), "they were written");
    assert!(*node.plane().kernel.state() == wanted);
    let rest = during(&mut node, 3 * SECOND);
    assert_eq!(activities(&rest.ended), [], "all is as it is known");
}

#[test]
fn without_whole_canaries_every_resync_is_needed() {
    type Blinded = fn(Signs) -> Result<Signs, PlaneError>;
    let all: [Blinded; 3] = [
        |_| Err(Cause::Lost.into()),
        |mut signs| {
            signs.virtual_servers = None;
            Ok(signs)
        },
        |mut signs| {
            signs.rules = None;
            Ok(signs)
        },
    ];
    for blinded in all {
        let mut node = failing_at_rest();
        resyncs(&mut node, Duration::from_secs(210));
        node.plane().blinded = Some(blinded);
        let blind = resyncs(&mut node, Duration::from_secs(125));
        assert!((30..=31).contains(&blind[0]), "{blind:?}");
        assert_eq!(blind[1..], [30, 30, 30]);
        node.plane().blinded = None;
        let seeing = resyncs(&mut node, Duration::from_secs(300));
        assert!(seeing[1..].starts_with(&[60, 120]), "{seeing:?}");
    }
}

#[test]
fn canaries_do_not_wait_for_a_look_that_waits() {
    let mut node = failing_at_rest();
    node.plane().is_waiting = true;
    node.plane().kernel.state_mut().filters.clear();
    during(&mut node, 2 * SECOND);
    let state = node.plane().kernel.state_mut();
    assert!(state.filters.is_empty(), "they are still being read");
    state.virtual_servers.clear();
    let seen = during(&mut node, 2 * SECOND * 3);
    assert!(activities(&seen.ended).contains(&Activity::Repair));
    let server = key(Protocol::TCP);
    let is_back = |node: &mut Node<Refusing>| {
        let state = node.plane().kernel.state();
        state.virtual_servers.contains_key(&server)
    };
    assert!(is_back(&mut node));
    // What is read already is read once.
    node.plane().is_waiting = false;
    let seen = during(&mut node, 3 * SECOND);
    assert_eq!(causes(&seen.ended), [DriftCause::Canary]);
    assert!(!node.plane().kernel.state().filters.is_empty());
}

#[test]
fn canaries_do_not_wait_for_a_resync_that_waits() {
    let mut node = failing_at_rest();
    let wanted = node.plane().kernel.state().clone();
    node.plane().is_waiting = true;
    node.controller.hurry(Activity::Resync, node.clock);
    during(&mut node, SECOND);
    // Tables that are read as a whole the resync reads itself.
    for hand in ASKED_FOR.into_iter().chain(REAL_SERVERS) {
        hand.1(node.plane().kernel.state_mut());
        let seen = during(&mut node, 2 * SEEN);
        assert!(*node.plane().kernel.state() == wanted, "{}", hand.0);
        assert_eq!(causes(&seen.ended), [DriftCause::Canary], "{}", hand.0);
    }
    node.plane().is_waiting = false;
    let seen = during(&mut node, SECOND);
    assert_eq!(activities(&seen.ended), [Activity::Resync]);
    assert_eq!(causes(&seen.ended), []);
}

#[test]
fn a_resync_that_finds_drift_brings_the_usual_pace_back() {
    let mut node = failing_at_rest();
    resyncs(&mut node, Duration::from_secs(2_200));
    // Nothing says so: there are as many rules, and they refer to the same sets.
    for filter in node.plane().kernel.state_mut().filters.values_mut() {
        filter.shape.as_mut().unwrap().mark = 0x8000;
    }
    let seen = resyncs(&mut node, Duration::from_secs(700));
    assert!(seen[0] <= 600 && seen[1] == 30, "{seen:?}");
}
