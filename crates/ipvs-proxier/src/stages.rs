use std::collections::HashSet;
use std::net::IpAddr;

use ipvs_codec::ServiceKey;
use ipvs_model::{Desired, Operation, Phase, Urgency};
use ipvs_netfilter::ipset::Entry;

/// Below this many operations everything is there at once anyway.
const MANY: usize = 1_000;

/// A plan in the stages in which it is applied. What a stage needs stands before it: rules and members before the virtual
/// servers and addresses that they guard, and after them when they leave. A long plan begins with the few virtual
/// servers that everything else waits for, whole.
/// O(plan).
pub(crate) fn stages(mut operations: Vec<Operation>, desired: &Desired) -> Vec<Vec<Operation>> {
    let mut stages = Vec::new();
    if operations.len() > MANY {
        let urgent = urgent_addresses(&operations, desired);
        if !urgent.is_empty() {
            let (first, rest) = operations.into_iter().partition(|operation| {
                operation.phase() == Phase::Skeleton
                    || added_address(operation).is_some_and(|address| urgent.contains(&address))
            });
            operations = rest;
            stages.extend(guards_around(first));
        }
    }
    stages.extend(guards_around(operations));
    stages
}

/// Rules and members; what they guard; rules and members that nothing needs any more.
fn guards_around(mut operations: Vec<Operation>) -> [Vec<Operation>; 3] {
    let guards = operations.partition_point(|operation| operation.phase() < Phase::ServersIn);
    let mut guarded = operations.split_off(guards);
    let left = guarded.partition_point(|operation| operation.phase() < Phase::MembersOut);
    let last = guarded.split_off(left);
    [operations, guarded, last]
}

fn urgent_addresses(operations: &[Operation], desired: &Desired) -> HashSet<IpAddr> {
    let is_urgent = |operation: &&Operation| {
        let Operation::AddVirtualServer { service } = operation else {
            return false;
        };
        desired.urgency(&service.key) != Urgency::Usual
    };
    let urgent = operations.iter().filter(is_urgent);
    urgent.filter_map(added_address).collect()
}

const fn address_of(key: &ServiceKey) -> Option<IpAddr> {
    match key {
        ServiceKey::Endpoint { addr, .. } => Some(*addr),
        ServiceKey::Fwmark { .. } => None,
    }
}

/// The virtual address of what an operation adds.
fn added_address(operation: &Operation) -> Option<IpAddr> {
    match operation {
        Operation::AddMember { member } => match member.entry {
            Entry::Ip(address) | Entry::IpPort(address, ..) => Some(address),
            _ => None,
        },
        Operation::AddVirtualServer { service } => address_of(&service.key),
        Operation::AddRealServer { virtual_server, .. } => address_of(virtual_server),
        Operation::BindVip { vip } => Some(vip.address()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ipvs_model::input::Manifest;
    use ipvs_model::{Config, Known, Model};

    use super::*;

    fn plan(services: u32) -> (Model, Vec<Operation>) {
        let mut model = Model::new(Config::default());
        let named = |name: &str, namespace: &str, ip: &str, port: u16| {
            let json = format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "{namespace}"}},
                     "spec": {{"clusterIP": "{ip}", "ports": [{{"name": "p", "port": {port}}}]}}}}"#
            );
            let manifest: Manifest = serde_json::from_str(&json).unwrap();
            manifest.into_changes().unwrap()
        };
        for number in 0..services {
            let [_, _, c, d] = number.to_be_bytes();
            let ip = format!("10.97.{c}.{d}");
            let changes = named(&format!("a{number}"), "ns", &ip, 80);
            changes.into_iter().for_each(|change| model.change(change));
        }
        for changes in [
            named("kubernetes", "default", "10.96.0.1", 443),
            named("dns", "kube-system", "10.96.0.10", 53),
        ] {
            changes.into_iter().for_each(|change| model.change(change));
        }
        let operations = model.plan_everything(&Known::default()).operations;
        (model, operations)
    }

    #[test]
    fn what_everything_waits_for_is_whole_before_the_rest_begins() {
        let (model, operations) = plan(1_000);
        let count = operations.len();
        let stages = stages(operations, model.desired());
        assert_eq!(stages.iter().map(Vec::len).sum::<usize>(), count);
        let [guards, servers, ..] = &stages[..] else {
            panic!("{}", stages.len())
        };
        assert!(
            guards
                .iter()
                .all(|operation| operation.phase() < Phase::ServersIn)
        );
        let text: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let text = text.join("\n");
        assert_eq!(servers.len(), 4, "{text}");
        assert!(
            text.contains("10.96.0.1:443") && text.contains("bind VIP 10.96.0.10"),
            "{text}"
        );
        for stage in &stages {
            assert!(stage.is_sorted_by_key(Operation::phase));
        }
    }

    #[test]
    fn a_short_plan_stays_as_it_is() {
        let (model, operations) = plan(10);
        let stages = stages(operations.clone(), model.desired());
        assert_eq!(stages.len(), 3);
        assert_eq!(stages.concat(), operations);
    }
}
