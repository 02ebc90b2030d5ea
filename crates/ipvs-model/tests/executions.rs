//! Plans that are carried out while operations fail and outcomes are lost: in each moment what is there is guarded.

use std::net::IpAddr;

use ipvs_codec::Family;
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{
    Config, Executed, HeldBack, Known, Model, Operation, Plan, VipBinding, entries_that_list,
    entry_that_names,
};
use proptest::prelude::*;
use proptest::sample::select;

/// A Service of a small world, where several claim one address and port.
fn service() -> impl Strategy<Value = (u8, Option<Vec<Change>>)> {
    let external = select(vec!["", "\"203.0.113.5\"", "\"192.0.2.1\""]);
    let policy = select(vec!["Cluster", "Local"]);
    let port = select(vec![80_u16, 30080, 30081]);
    let there = (port, select(vec![30080_u16, 30081]), external, policy);
    (0_u8..4, proptest::option::weighted(0.8, there)).prop_map(|(number, there)| {
        let manifest = there.map(|(port, node_port, external, policy)| {
            let service = format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}}, "spec": {{
                     "type": "NodePort", "clusterIP": "10.96.0.{number}", "externalIPs": [{external}],
                     "externalTrafficPolicy": "{policy}", "ports": [{{"port": {port}, "nodePort": {node_port}}}]}}}}"#
            );
            let manifest: Manifest = serde_json::from_str(&service).unwrap();
            manifest.into_changes().unwrap()
        });
        (number, manifest)
    })
}

/// What a data plane does in a round.
#[derive(Debug, Clone)]
struct Round {
    changes: Vec<(u8, Option<Vec<Change>>)>,
    /// Which operations fail, over and over.
    fails: Vec<bool>,
    /// One outcome of a stage is lost.
    loses: bool,
}

fn round() -> impl Strategy<Value = Round> {
    let changes = proptest::collection::vec(service(), 1..4);
    let fails = proptest::collection::vec(proptest::bool::weighted(0.2), 1..12);
    let loses = proptest::bool::weighted(0.2);
    (changes, fails, loses).prop_map(|(changes, fails, loses)| Round {
        changes,
        fails,
        loses,
    })
}

fn is_guarded(kernel: &Known, after: &Operation) -> Result<(), TestCaseError> {
    for address in kernel.vips.keys() {
        let entry = entry_that_names(*address);
        prop_assert!(
            kernel.has_member(&entry),
            "{}: {} has no entry",
            after,
            address
        );
        let filter = kernel.filters.get(&Family::of(*address));
        let is_filtered = filter.is_some_and(|filter| filter.is_guarded);
        prop_assert!(is_filtered, "{}: {} has no filter", after, address);
    }
    for key in kernel.virtual_servers.keys() {
        let is_listed = entries_that_list(key).any(|entry| kernel.has_member(&entry));
        prop_assert!(is_listed, "{}: no entry lists {}", after, key);
    }
    Ok(())
}

fn carry_out(
    plan: Plan,
    round: &Round,
    known: &Known,
    kernel: &mut Known,
) -> Result<Executed<()>, TestCaseError> {
    let mut fails = round.fails.iter().copied().cycle();
    let mut execution = plan.execute(HeldBack::default());
    while let Some(stage) = execution.next_stage() {
        let mut outcomes = Vec::new();
        for operation in stage {
            if fails.next() == Some(true) {
                outcomes.push(Err(()));
                continue;
            }
            kernel.applied(operation);
            is_guarded(kernel, operation)?;
            outcomes.push(Ok(()));
        }
        if round.loses {
            outcomes.pop();
        }
        prop_assert_eq!(execution.done(outcomes, known).is_err(), round.loses);
    }
    Ok(execution.finish())
}

proptest! {
    #[test]
    fn what_is_there_is_guarded_whatever_fails(
        rounds in proptest::collection::vec(round(), 1..6), by_route in any::<bool>()
    ) {
        let vip_binding = if by_route { VipBinding::Route } else { VipBinding::Address };
        let mut model = Model::new(Config { vip_binding, families: vec![Family::Ipv4], ..Config::default() });
        let address: IpAddr = [192, 0, 2, 1].into();
        model.change(Change::NodeAddresses(vec![address]));
        let (mut known, mut kernel) = (Known::default(), Known::default());
        let mut is_sure = false;
        let calm = Round { changes: Vec::new(), fails: vec![false], loses: false };
        for round in rounds.iter().chain([&calm]) {
            for (number, changes) in round.changes.clone() {
                let gone = || vec![Change::ServiceGone(ObjectName::new("default", &format!("s{number}")))];
                changes.unwrap_or_else(gone).into_iter().for_each(|change| model.change(change));
            }
            let plan = if is_sure { model.plan(&known) } else { model.plan_everything(&known) };
            let executed = carry_out(plan, round, &known, &mut kernel)?;
            // A link, sets or rules that could not be made are looked at by plans for everything alone.
            let stands_for_itself = |operation: &Operation| operation.key().is_some_and(|key| !matches!(key, ipvs_model::Key::Rules(_)));
            is_sure = executed.unaccounted.is_empty()
                && executed.iter().all(|(operation, outcome)| outcome.is_ok() || stands_for_itself(operation));
            if executed.unaccounted.is_empty() {
                let done = executed.iter().filter(|(_, outcome)| outcome.is_ok());
                done.for_each(|(operation, _)| known.applied(operation));
            } else {
                known = kernel.clone();
            }
            prop_assert_eq!(&known, &kernel);
            model.touch(executed.undone);
        }
        let left = model.plan_everything(&known);
        prop_assert!(left.is_empty(), "still to do:\n{}", left);
    }
}
