//! Random histories of a cluster end in the state that a fresh start would make.

use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Known, Model};
use proptest::prelude::*;

fn parse(json: &str) -> Change {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
        .remove(0)
}

/// Few names and addresses, so that services meet: two may claim one address, and slices change owners.
fn change() -> impl Strategy<Value = Change> {
    let name = || 0..4_u8;
    let protocol = || prop_oneof![Just("TCP"), Just("UDP")];
    let service = (name(), 1..4_u8, 80..82_u16, protocol(), any::<bool>()).prop_map(|(name, ip, port, proto, sticky)| {
        let affinity = if sticky { "ClientIP" } else { "None" };
        parse(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{name}"}},
                 "spec": {{"clusterIPs": ["10.96.0.{ip}", "fd00:96::{ip}"], "sessionAffinity": "{affinity}",
                 "ports": [{{"port": {port}, "protocol": "{proto}"}}]}}}}"#
        ))
    });
    let endpoint = (1..5_u8, any::<[bool; 3]>(), any::<bool>()).prop_map(|(ip, [ready, serving, going], local)| {
        let node = if local { "n1" } else { "n2" };
        format!(
            r#"{{"addresses": ["10.244.0.{ip}"], "nodeName": "{node}",
                 "conditions": {{"ready": {ready}, "serving": {serving}, "terminating": {going}}}}}"#
        )
    });
    let slice = (name(), name(), protocol(), proptest::collection::vec(endpoint, 0..4)).prop_map(
        |(name, owner, proto, endpoints)| {
            parse(&format!(
                r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                     "metadata": {{"name": "e{name}", "labels": {{"kubernetes.io/service-name": "s{owner}"}}}},
                     "ports": [{{"port": 8080, "protocol": "{proto}"}}], "endpoints": [{}]}}"#,
                endpoints.join(",")
            ))
        },
    );
    prop_oneof![
        4 => service,
        5 => slice,
        1 => name().prop_map(|n| Change::ServiceGone(ObjectName::new("default", &format!("s{n}")))),
        1 => name().prop_map(|n| Change::EndpointSliceGone(ObjectName::new("default", &format!("e{n}")))),
    ]
}

fn model() -> Model {
    Model::new(Config {
        node_name: "n1".into(),
        ..Config::default()
    })
}

/// The last word on each object.
fn last_words(history: &[Change]) -> Vec<Change> {
    let name = |change: &Change| match change {
        Change::Service(service) => ("s", service.name.clone()),
        Change::ServiceGone(name) => ("s", name.clone()),
        Change::EndpointSlice(slice) => ("e", slice.name.clone()),
        Change::EndpointSliceGone(name) => ("e", name.clone()),
        _ => unreachable!("no other change is made here"),
    };
    let is_last = |(at, change): &(usize, &Change)| {
        !history[at + 1..]
            .iter()
            .any(|later| name(later) == name(change))
    };
    history
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, change)| change.clone())
        .collect()
}

proptest! {
    #[test]
    fn a_history_ends_where_a_fresh_start_does(batches in proptest::collection::vec(
        proptest::collection::vec(change(), 1..4), 1..12)
    ) {
        let mut running = model();
        let mut known = Known::default();
        let plan = running.plan_everything(&known);
        plan.operations.iter().for_each(|operation| known.applied(operation));
        for batch in &batches {
            batch.iter().cloned().for_each(|change| running.change(change));
            let plan = running.plan(&known);
            plan.operations.iter().for_each(|operation| known.applied(operation));
            running.share(&plan, &mut known);
        }
        let left = running.plan_everything(&known);
        prop_assert!(left.is_empty(), "the changes alone were not enough:\n{}", left);

        let mut fresh = model();
        last_words(&batches.concat()).into_iter().for_each(|change| fresh.change(change));
        let left = fresh.plan_everything(&known);
        prop_assert!(left.is_empty(), "a fresh start would do\n{}", left);
    }
}
