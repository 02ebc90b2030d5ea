//! What others do in the kernel is put right as soon as it comes out, by what the kernel tells.

mod at_rest;

use std::net::IpAddr;
use std::time::Duration;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_model::{Config, NeverBind, Vip, VipBinding};
use ipvs_proxier::{
    Activity, ChangedBy, DataPlane as _, DriftCause, KernelEvent, Pace, Simulated, Step,
};

use at_rest::web::node::Node;
use at_rest::web::{changes, web};
use at_rest::{
    Hand, PACE, RULES, SECOND, SEEN, TOLD, TOLD_OF, activities, at_rest, causes, during,
    failing_at_rest, is_put_right, listening, many, service, storm, vip,
};

#[test]
fn what_the_kernel_tells_of_is_put_right_at_once() {
    let pace = Pace {
        sync: 1000 * SECOND,
        canary: None,
        ..PACE
    };
    let mut node = at_rest(pace);
    for hand in TOLD_OF.into_iter().chain(RULES) {
        is_put_right(&mut node, hand, TOLD, DriftCause::Notification);
    }
}

#[test]
fn own_changes_cost_nothing() {
    let mut node = at_rest(PACE);
    node.plane().use_legacy_rules();
    let (mut reads, mut seen) = (0, Vec::new());
    for count in 1..20_u8 {
        let endpoints = [format!("10.244.0.{count}")];
        let before = node.plane().reads();
        node.changes(web("TCP", &[&endpoints[0]]));
        seen.extend(activities(&during(&mut node, SECOND / 20).ended));
        reads += node.plane().reads() - before;
    }
    assert_eq!(reads, 0);
    assert!(
        seen.iter().all(|activity| *activity == Activity::Sync),
        "{seen:?}"
    );
}

#[test]
fn two_hands_at_once_are_one_repair_of_each_section() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    let state = node.plane().state_mut();
    state.vips.clear();
    state.filters.clear();
    state.virtual_servers.clear();
    let seen = during(&mut node, SEEN);
    assert!(*node.plane().state() == wanted);
    assert_eq!(
        causes(&seen.ended),
        [DriftCause::Notification, DriftCause::Canary]
    );
}

#[test]
fn a_storm_costs_one_look_and_makes_no_change_wait() {
    let mut node = at_rest(PACE);
    let reads = node.plane().reads();
    storm(&mut node, 5_000);
    // Looks are due, and the change comes first all the same.
    node.after(TOLD);
    node.changes(web("TCP", &["10.244.0.7"]));
    let Step::Did(report) = node.poll() else {
        panic!("nothing was done")
    };
    assert_eq!(report.ended.unwrap().activity, Activity::Sync);
    let seen = during(&mut node, SECOND / 2);
    assert_eq!(activities(&seen.ended), [Activity::Repair]);
    assert_eq!(node.plane().reads() - reads, 1);
}

#[test]
fn each_step_in_a_storm_is_small_and_the_next_one_after_a_change_syncs_it() {
    let mut node = failing_at_rest();
    node.changes(many(2_000));
    during(&mut node, SECOND);
    let (mut reads, mut rereads) = (node.plane().reads, 0);
    for round in 0..300_u32 {
        storm(&mut node, 50);
        let ended = match node.poll() {
            Step::Did(report) => report.ended.map(|ended| ended.activity),
            Step::More | Step::Wait(_) => None,
        };
        rereads += usize::from(ended == Some(Activity::Repair));
        // A chunk, and before the first one a call that begins.
        let read = node.plane().reads - std::mem::replace(&mut reads, node.plane().reads);
        assert!(read <= 2, "{read} in round {round}");
        if round % 7 == 0 {
            let endpoint = format!("10.244.1.{}", round % 250 + 1);
            node.changes(web("TCP", &[&endpoint]));
            let Step::Did(report) = node.poll() else {
                panic!("nothing was done in round {round}")
            };
            assert_eq!(report.ended.unwrap().activity, Activity::Sync);
            assert!(report.plan.operations().len() <= 4, "round {round}");
            assert_eq!(node.plane().reads, reads, "round {round}");
        }
        node.after(SECOND / 1_000);
    }
    assert!(rereads > 0, "it was read again");
}

#[test]
fn what_others_do_while_it_starts_or_resyncs_is_put_right_after_it() {
    for steps in 0..60 {
        let mut node = at_rest(PACE);
        let wanted = node.plane().state().clone();
        node.controller.hurry(Activity::Resync, node.clock);
        for _ in 0..steps {
            let _ = node.poll();
        }
        let hand = TOLD_OF[steps % TOLD_OF.len()];
        hand.1(node.plane().state_mut());
        let seen = during(&mut node, TOLD);
        assert!(*node.plane().state() == wanted, "{} after {steps}", hand.0);
        assert!(activities(&seen.ended).contains(&Activity::Repair) || steps < 2);
    }
    for steps in 0..60 {
        let mut node = listening(Config::default(), PACE);
        node.changes(service());
        for _ in 0..steps {
            let _ = node.poll();
        }
        let hand: Hand = ("the link goes", |known| {
            known.link = None;
            known.vips.clear();
        });
        hand.1(node.plane().state_mut());
        during(&mut node, 2 * SECOND);
        assert!(node.plane().state().link.is_some(), "after {steps}");
        assert!(
            node.plane().state().vips.contains_key(&vip()),
            "after {steps}"
        );
    }
}

#[test]
fn a_resync_goes_on_after_whatever_others_do_meanwhile() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    node.controller.hurry(Activity::Resync, node.clock);
    let mut repairs = 0;
    for round in 0.. {
        node.plane().state_mut().vips.remove(&vip());
        let ended = during(&mut node, SECOND / 5).ended;
        repairs += ended
            .iter()
            .filter(|one| one.activity == Activity::Repair)
            .count();
        if ended.iter().any(|one| one.activity == Activity::Resync) {
            break;
        }
        assert!(round < 10, "it does not come to its end");
    }
    during(&mut node, SECOND);
    assert!(repairs > 0 && *node.plane().state() == wanted);
}

#[test]
fn what_was_lost_is_read_again() {
    let mut node = at_rest(PACE);
    let wanted = node.plane().state().clone();
    let state = node.plane().state_mut();
    state.vips.clear();
    state.filters.clear();
    node.plane().set_node_addresses(Vec::new());
    node.plane().lose_events();
    let seen = during(&mut node, TOLD);
    assert_eq!(causes(&seen.ended), [DriftCause::Lost]);
    let state = node.plane().state();
    assert!(state.vips == wanted.vips);
    assert!(state.filters[&Family::Ipv4].shape.is_some());
    assert_eq!(
        state.virtual_servers.len(),
        1,
        "no node port without an address"
    );
}

#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    let mut node = at_rest(PACE);
    let server = |ip: [u8; 4]| ServiceKey::endpoint(Protocol::TCP, ip.into(), 30_080);
    let (first, second) = ([192, 168, 50, 10], [192, 168, 50, 77]);
    for addresses in [vec![first, second], vec![first], vec![second], vec![]] {
        let ips = addresses.iter().map(|ip| (*ip).into()).collect();
        node.plane().set_node_addresses(ips);
        let seen = during(&mut node, TOLD);
        assert_eq!(activities(&seen.ended), [Activity::Sync]);
        for ip in [first, second] {
            let servers = &node.plane().state().virtual_servers;
            let is_served = servers.contains_key(&server(ip));
            assert_eq!(is_served, addresses.contains(&ip), "{ip:?}");
        }
    }
    // The same again is no change.
    node.plane().set_node_addresses(Vec::new());
    assert_eq!(activities(&during(&mut node, TOLD).ended), []);
}

#[test]
fn routes_have_the_smallest_mtu_of_the_nodes_links_and_are_replaced_without_a_gap() {
    let config = Config {
        vip_binding: VipBinding::Route,
        ..Config::default()
    };
    let mut node = listening(config, PACE);
    node.plane().set_smallest_mtu(Some(1500));
    node.changes(many(20));
    during(&mut node, SECOND);
    let mtus = |node: &mut Node<Simulated>| -> Vec<Option<u32>> {
        let vips = node.plane().state().vips.values().flatten();
        let mtu = |vip: &Vip| match vip {
            Vip::Route { mtu, .. } => *mtu,
            Vip::Address { address } => panic!("{address}"),
        };
        vips.map(mtu).collect()
    };
    assert_eq!(mtus(&mut node), [Some(1500); 20]);
    // An overlay comes later than the proxier, and may go.
    for (mtu, activities_of_it) in [
        (Some(1450), vec![Activity::Sync]),
        (Some(1450), vec![]),
        (None, vec![Activity::Sync]),
        (Some(9000), vec![Activity::Sync]),
    ] {
        node.plane().set_smallest_mtu(mtu);
        let seen = during(&mut node, TOLD);
        assert_eq!(activities(&seen.ended), activities_of_it);
        assert!(seen.ended.iter().all(|ended| ended.operations() == 20));
        assert_eq!(mtus(&mut node), [mtu; 20]);
    }
    // As an older release left them, and as others make them.
    for there in [None, Some(1400)] {
        for vip in node.plane().state_mut().vips.values_mut().flatten() {
            if let Vip::Route { mtu, .. } = vip {
                *mtu = there;
            }
        }
        let seen = during(&mut node, TOLD);
        assert_eq!(causes(&seen.ended), [DriftCause::Notification]);
        assert!(seen.ended.iter().all(|ended| ended.operations() == 20));
        assert_eq!(mtus(&mut node), [Some(9000); 20]);
    }
}

#[test]
fn an_address_of_the_node_concerns_no_service_that_is_not_served_on_it() {
    let mut node = at_rest(PACE);
    node.changes(many(100));
    during(&mut node, SECOND);
    let compiled = node.model().compiled();
    node.plane()
        .set_node_addresses(vec![[192, 168, 50, 77].into()]);
    during(&mut node, TOLD);
    assert_eq!(
        node.model().compiled() - compiled,
        1,
        "the one with a node port"
    );
}

#[test]
fn an_address_that_becomes_the_nodes_or_a_gateways_is_not_bound_any_more() {
    let never_bind = NeverBind {
        gateways: true,
        ..NeverBind::default()
    };
    let config = Config {
        never_bind,
        ..Config::default()
    };
    let mut node = listening(config, PACE);
    node.changes(changes(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": "10.96.0.10", "externalIPs": ["192.0.2.1"], "ports": [{"port": 80}]}}"#,
    ));
    during(&mut node, SECOND);
    let external = IpAddr::from([192, 0, 2, 1]);
    let mut bound_with = |addresses: &[IpAddr], gateways: &[IpAddr]| {
        node.plane().set_node_addresses(addresses.to_vec());
        node.plane().set_gateways(gateways.to_vec());
        during(&mut node, TOLD);
        node.plane().state().vips.contains_key(&external)
    };
    assert!(bound_with(&[], &[]));
    assert!(!bound_with(&[external], &[]));
    assert!(bound_with(&[], &[]));
    assert!(!bound_with(&[], &[external]));
    assert!(bound_with(&[], &[]));
}

#[test]
fn whoever_undoes_it_again_and_again_is_named_once_and_answered_less_often() {
    let mut node = at_rest(PACE);
    let (mut news, mut repairs) = (Vec::new(), 0);
    let end = node.clock.steady + Duration::from_secs(300);
    while node.clock.steady < end {
        if node.plane().state().vips.contains_key(&vip()) {
            node.plane().state_mut().vips.clear();
            // The kernel said who it was.
            for event in node.plane().kernel_events().unwrap() {
                let name = "NetworkManager".to_owned();
                let by = Some(ChangedBy { name, process: 42 });
                let clock = node.clock;
                node.controller
                    .kernel_event(KernelEvent { by, ..event }, clock);
            }
        }
        let seen = during(&mut node, SECOND / 100);
        repairs += activities(&seen.ended).len();
        news.extend(seen.news);
    }
    assert!((10..40).contains(&repairs), "{repairs}");
    let texts: Vec<String> = news.iter().map(ToString::to_string).collect();
    let wanted = "others change the dummy interface again and again: put right 5 times, the last change was made by \
                  NetworkManager (process 42); who undoes it at once is answered less and less often";
    assert_eq!(texts, [wanted]);
    // When they give up, all is right soon, and as it was.
    during(&mut node, Duration::from_secs(31));
    assert!(node.plane().state().vips.contains_key(&vip()));
}
