//! What Services do not get is told at the cost of the change, whatever others do not get.

use std::collections::BTreeMap;

use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Known, Model, Problem};
use proptest::prelude::*;

fn changes(json: &str) -> Vec<Change> {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
}

fn endpoint(number: u32, ip: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "e{number}", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
             "ports": [{{"port": 8080}}], "endpoints": [{{"addresses": ["{ip}"]}}]}}"#,
    ))
}

/// Services with a bad annotation each.
fn bad(services: u32) -> (Model, Known) {
    let mut model = Model::new(Config::default());
    for number in 0..services {
        let ip = std::net::Ipv4Addr::from(0x0a60_0001 + number);
        let service = changes(&format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}",
                 "annotations": {{"ipvs-proxier/one-packet": "perhaps"}}}},
                 "spec": {{"clusterIP": "{ip}", "ports": [{{"port": 80}}]}}}}"#,
        ));
        let slice = endpoint(number, "10.128.0.1");
        service
            .into_iter()
            .chain(slice)
            .for_each(|change| model.change(change));
    }
    let mut known = Known::default();
    apply(&mut model, &mut known);
    (model, known)
}

fn apply(model: &mut Model, known: &mut Known) {
    let plan = model.plan(known);
    plan.iter().for_each(|operation| known.applied(operation));
    model.share(&plan, known);
}

fn names(model: &mut Model) -> Vec<String> {
    let changed = model.take_problem_changes();
    changed.iter().map(ToString::to_string).collect()
}

/// What telling problems asks the allocator for after an endpoint has changed.
fn asked_for(services: u32) -> u64 {
    let (mut model, mut known) = bad(services);
    assert_eq!(
        model.take_problem_changes().len(),
        usize::try_from(services).unwrap()
    );
    for change in endpoint(7, "10.128.0.2") {
        model.change(change);
    }
    apply(&mut model, &mut known);
    let told = allocation_counter::measure(|| {
        assert!(model.take_problem_changes().len() <= 1);
        let name = ObjectName::new("default", "s7");
        assert_eq!(model.desired().problems_of(&name).count(), 1);
    });
    told.count_total
}

#[test]
fn an_endpoint_among_many_bad_annotations_is_told_like_one_among_few() {
    assert_eq!(asked_for(10_000), asked_for(10));
}

fn claimant(number: u32, created: u32, external: &str) -> Vec<Change> {
    changes(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service",
             "metadata": {{"name": "s{number}", "creationTimestamp": "20{created:02}-01-01T00:00:00Z"}},
             "spec": {{"clusterIP": "10.96.0.{number}", "externalIPs": [{external}], "ports": [{{"port": 80}}]}}}}"#,
    ))
}

fn by(model: &Model, number: u32) -> Vec<String> {
    let name = ObjectName::new("default", &format!("s{number}"));
    let problems = model.desired().problems_of(&name);
    let by = problems.map(|problem| match problem {
        Problem::Taken { by, .. } => by.name.to_string(),
        other => panic!("{other}"),
    });
    by.collect()
}

#[test]
fn the_claimants_of_a_contested_virtual_server_hear_of_it_and_nobody_else() {
    let (mut model, mut known) = bad(100);
    model.take_problem_changes();
    let mut change = |model: &mut Model, changes: Vec<Change>| {
        changes.into_iter().for_each(|change| model.change(change));
        apply(model, &mut known);
        names(model)
    };
    let shared = "\"203.0.113.5\"";
    assert!(change(&mut model, claimant(201, 21, shared)).is_empty());
    let loses = change(&mut model, claimant(202, 22, shared));
    assert_eq!(loses, ["default/s202"]);
    assert_eq!(by(&model, 202), ["s201"]);
    let older = change(&mut model, claimant(200, 20, shared));
    assert_eq!(older, ["default/s201", "default/s202"], "it is s200's now");
    assert_eq!(
        (by(&model, 201), by(&model, 202)),
        (vec!["s200".to_owned()], vec!["s200".to_owned()])
    );
    let other = change(&mut model, claimant(202, 22, "\"203.0.113.6\""));
    assert_eq!(other, ["default/s202"]);
    assert!(by(&model, 202).is_empty());
    let gone = vec![Change::ServiceGone(ObjectName::new("default", "s200"))];
    assert_eq!(change(&mut model, gone), ["default/s201"]);
    assert!(by(&model, 201).is_empty());
}

fn one() -> impl Strategy<Value = Vec<Change>> {
    let there = (
        20_u32..23,
        proptest::sample::subsequence(vec![1, 2, 3], 0..3),
    );
    (1_u32..5, proptest::option::weighted(0.8, there)).prop_map(|(number, there)| match there {
        Some((created, external)) => {
            let external: Vec<String> = external
                .iter()
                .map(|last| format!("\"203.0.113.{last}\""))
                .collect();
            claimant(number, created, &external.join(","))
        }
        None => vec![Change::ServiceGone(ObjectName::new(
            "default",
            &format!("s{number}"),
        ))],
    })
}

type Told = BTreeMap<ObjectName, Vec<Problem>>;

proptest! {
    /// Who only looks at what changed knows what who looks at everything knows.
    #[test]
    fn changes_of_problems_add_up(history in proptest::collection::vec(proptest::collection::vec(one(), 1..3), 1..12)) {
        let mut model = Model::new(Config::default());
        let mut known = Known::default();
        let mut told = Told::new();
        for changes in history {
            changes.into_iter().flatten().for_each(|change| model.change(change));
            apply(&mut model, &mut known);
            for name in model.take_problem_changes() {
                let problems: Vec<Problem> = model.desired().problems_of(&name).collect();
                if problems.is_empty() { told.remove(&name); } else { told.insert(name, problems); }
            }
            let mut all = Told::new();
            for (name, problem) in model.desired().problems() {
                all.entry(name.clone()).or_default().push(problem);
            }
            prop_assert_eq!(&told, &all);
        }
    }
}
