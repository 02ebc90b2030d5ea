//! Sets of our names that cannot be used are made anew, and what depends on none of them is served meanwhile.

mod web;

use std::time::Duration;

use ipvs_codec::{Family, Protocol, ServiceKey};
use ipvs_filter::iptables::set_spec;
use ipvs_filter::{CleanUpOperation, NftablesTable};
use ipvs_model::{Config, FilterSet, Known, Model, Operation};
use ipvs_netfilter::ipset::{SetDifference, SetType};
use ipvs_proxier::{CleanUpPlane as _, DataPlane as _, Simulated, clean_up, rehearse_clean_up};

use web::changes;

const OBJECTS: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
     "spec": {"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30080}]}},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
     "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
     "ports": [{"port": 8080}], "endpoints": [{"addresses": ["10.244.0.5"]}]},
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
     "status": {"addresses": [{"type": "InternalIP", "address": "192.168.50.10"}]}}]}"#;

fn model() -> Model {
    let mut model = Model::new(Config {
        node_name: "n1".into(),
        ..Config::default()
    });
    for change in changes(OBJECTS) {
        model.change(change);
    }
    model.change(ipvs_model::input::Change::NodeAddresses(vec![
        "192.168.50.10".parse().unwrap(),
    ]));
    model
}

/// Carries out the plan for everything; the texts of what failed.
fn repair(plane: &mut Simulated) -> Vec<String> {
    let known = ipvs_proxier::observe(plane, &Family::ALL).unwrap();
    let plan = model().plan_everything(&known);
    let mut execution = plan.execute(Default::default());
    while let Some(stage) = execution.next_stage() {
        let outcomes = plane.apply(stage);
        execution.done(outcomes, &known).unwrap();
    }
    let executed = execution.finish();
    let failed = executed.iter().filter_map(|(operation, outcome)| {
        let error = outcome.as_ref().err()?;
        Some(format!("{operation}: {error}"))
    });
    failed.collect()
}

/// Every way in which a set can be wrong.
fn faults() -> Vec<(FilterSet, SetDifference)> {
    let wrong_type = |wanted| SetDifference::Type {
        found: "hash:net".to_owned(),
        wanted,
    };
    vec![
        (FilterSet::ClusterIp, wrong_type(SetType::HashIpPort)),
        (FilterSet::ClusterIp, SetDifference::Timeout(600)),
        (FilterSet::NodePortTcp, SetDifference::Ports(0..=1000)),
        (FilterSet::NodePortTcp, wrong_type(SetType::BitmapPort)),
        (FilterSet::Vip, SetDifference::Netmask(24)),
        (FilterSet::Hairpin, wrong_type(SetType::HashIpPortIp)),
    ]
}

fn spoil(plane: &mut Simulated, set: FilterSet, difference: &SetDifference) {
    let key = (set, Family::Ipv4);
    plane.state_mut().sets.remove(&key);
    plane
        .state_mut()
        .unusable
        .insert(key, difference.to_string());
}

fn healthy() -> Known {
    let mut plane = Simulated::default();
    assert_eq!(repair(&mut plane), [""; 0]);
    plane.state().clone()
}

#[test]
fn a_set_of_another_kind_is_made_anew_with_its_entries_and_rules() {
    for (set, difference) in faults() {
        // On a node that has nothing else, and on one that is proxied.
        for is_new in [true, false] {
            let mut plane = Simulated::default();
            if !is_new {
                assert_eq!(repair(&mut plane), [""; 0]);
            }
            spoil(&mut plane, set, &difference);
            assert_eq!(repair(&mut plane), [""; 0], "{set:?} {difference}");
            assert_eq!(*plane.state(), healthy(), "{set:?} {difference}");
        }
    }
}

const HOLDER: &str = "rule `-A FOREIGN -j LOG` of table filter (IPv4)";

fn held_by_others(plane: &mut Simulated, set: FilterSet) {
    let filters = &mut plane.state_mut().filters;
    let filter = filters.entry(Family::Ipv4).or_default();
    filter.held_by.insert(set, HOLDER.to_owned());
}

#[test]
fn a_set_that_others_hold_is_named_and_the_rest_is_served() {
    let node_port = ServiceKey::endpoint(Protocol::TCP, [192, 168, 50, 10].into(), 30080);
    let cluster_ip = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
    for (set, difference) in faults() {
        let mut plane = Simulated::default();
        held_by_others(&mut plane, set);
        spoil(&mut plane, set, &difference);
        let told = format!(
            "destroy set {set} (IPv4): {difference}, and the {HOLDER} refers to it: a rule or another set refers to the set (ipset error 4100)"
        );
        for _ in 0..2 {
            assert_eq!(repair(&mut plane), [told.as_str()], "one failure");
            let state = plane.state();
            assert_eq!(
                state.virtual_servers.contains_key(&node_port),
                set != FilterSet::NodePortTcp
            );
            assert_eq!(
                state.virtual_servers.contains_key(&cluster_ip),
                set != FilterSet::ClusterIp
            );
            // No VIP that the filter does not know: every port of the host would answer on it.
            assert_eq!(state.vips.is_empty(), set == FilterSet::Vip);
            let filter = &state.filters[&Family::Ipv4];
            assert!(filter.is_guarded && filter.held_by.contains_key(&set));
            assert!(!filter.shape.as_ref().unwrap().asks_for(set));
            assert_eq!(state.sets.len(), 33, "the others are there");
        }
        // A change meanwhile tries again, puts nothing into it, and is served as far as it can be.
        let mut known = ipvs_proxier::observe(&mut plane, &Family::ALL).unwrap();
        let mut model = model();
        let everything = model.plan_everything(&known);
        let undone: Vec<_> = everything.iter().filter_map(Operation::key).collect();
        model.touch(undone);
        let plan = model.plan(&known);
        let first = plan.iter().next().map(Operation::kind);
        assert_eq!(first, Some("destroy-set"), "{plan}");
        // Without the rule of others.
        let filters = &mut plane.state_mut().filters;
        filters.get_mut(&Family::Ipv4).unwrap().held_by.clear();
        assert_eq!(repair(&mut plane), [""; 0]);
        known = plane.state().clone();
        assert_eq!(known, healthy(), "{set:?}");
    }
}

#[test]
fn clean_up_does_not_mind_what_the_sets_are() {
    for (set, difference) in faults() {
        let mut plane = Simulated::default();
        assert_eq!(repair(&mut plane), [""; 0]);
        spoil(&mut plane, set, &difference);
        let report = clean_up(&mut plane, &Config::default(), |_: Duration| {
            panic!("no wait")
        });
        assert_eq!(report.left, []);
        let state = plane.state();
        assert!(state.sets.is_empty() && state.unusable.is_empty() && state.link.is_none());
        assert!(state.virtual_servers.is_empty());
        assert!(state.filters.is_empty());
    }
    // With a rule of others, all but that set.
    let mut plane = Simulated::default();
    held_by_others(&mut plane, FilterSet::ClusterIp);
    let _ = repair(&mut plane);
    let report = clean_up(&mut plane, &Config::default(), |_: Duration| {});
    assert_eq!(report.left.len(), 1, "{:?}", report.left);
    assert_eq!(plane.state().sets.len(), 1);
    // The simulated kernel refuses as the real one does: chains that are named, and sets.
    let destroy = CleanUpOperation::DestroySet {
        set: FilterSet::ClusterIp,
        family: Family::Ipv4,
        spec: set_spec(FilterSet::ClusterIp, Family::Ipv4),
    };
    let error = plane.remove(&[destroy]).remove(0).unwrap_err();
    assert_eq!(error.errno(), Some(4100));
}

#[test]
fn clean_up_removes_tables_of_nftables_mode_and_leaves_a_link_of_another_kind() {
    let mut plane = Simulated::default();
    assert_eq!(repair(&mut plane), [""; 0]);
    plane.add_nftables_table(NftablesTable::KubeProxy, Family::Ipv6);
    plane.add_nftables_table(NftablesTable::Ours, Family::Ipv4);
    plane.make_link_other();
    let report = clean_up(&mut plane, &Config::default(), |_: Duration| {});
    let left: Vec<String> = report.left.iter().map(ToString::to_string).collect();
    let link = "dummy interface: a link of another kind has its name, and stays as it is";
    assert_eq!(left, [link]);
    let tables = report.plan.iter().filter_map(|operation| match operation {
        CleanUpOperation::RemoveNftablesTable { table, family } => Some((*table, *family)),
        _ => None,
    });
    let expected = [
        (NftablesTable::KubeProxy, Family::Ipv6),
        (NftablesTable::Ours, Family::Ipv4),
    ];
    assert_eq!(tables.collect::<Vec<_>>(), expected);
    let rehearsal = rehearse_clean_up(&mut plane, &Config::default());
    assert!(rehearsal.plan.is_empty(), "{}", rehearsal.plan);
}
