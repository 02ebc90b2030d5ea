//! Changes while a resync is under way, whose parts take several calls.

mod node;

use ipvs_codec::Family;
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, FilterEntry, FilterSet, Model, Operation, Vip, VipBinding};
use ipvs_proxier::{Progress, Simulated};

use node::{Done, Node};

/// More than a chunk of a set, and of what is bound.
const SERVICES: u8 = 40;
/// More entries than a reading of the set has borders between chunks.
const FOREIGN: u8 = 20;

fn service(number: u8) -> Change {
    let json = format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
            "spec": {{"clusterIP": "10.96.0.{number}", "ports": [{{"port": 80}}]}}}}"#
    );
    let manifest: Manifest = serde_json::from_str(&json).unwrap();
    manifest.into_changes().unwrap().remove(0)
}

fn synced(vip_binding: VipBinding) -> Node<Simulated> {
    let config = Config {
        vip_binding,
        ..Config::default()
    };
    let mut node = Node::new(Model::new(config), Simulated::default());
    (1..=SERVICES).for_each(|number| node.change(service(number)));
    sync(&mut node);
    node
}

fn sync(node: &mut Node<Simulated>) {
    let report = node.sync().unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
}

/// Resyncs; before each step a service goes, or comes back.
fn resync_under_change(node: &mut Node<Simulated>) -> (Done, usize) {
    let mut steps = 0_usize;
    loop {
        let number = u8::try_from(steps / 2 % usize::from(SERVICES)).unwrap() + 1;
        let gone = Change::ServiceGone(ObjectName::new("default", &format!("s{number}")));
        node.change(if steps.is_multiple_of(2) {
            gone
        } else {
            service(number)
        });
        sync(node);
        steps += 1;
        if let Progress::Done(report) = node.resync_some().unwrap() {
            return (report, steps);
        }
    }
}

#[test]
fn what_changes_between_two_chunks_is_no_drift() {
    for vip_binding in [VipBinding::Address, VipBinding::Route] {
        let mut node = synced(vip_binding);
        let (report, steps) = resync_under_change(&mut node);
        assert!(steps > usize::from(SERVICES), "{steps} steps");
        assert!(report.plan.is_empty(), "{}", report.plan);
    }
}

#[test]
fn drift_is_found_though_all_else_changes() {
    let mut node = synced(VipBinding::Address);
    let (set, family) = (FilterSet::Vip, Family::Ipv4);
    // A change between two chunks can hide one entry at their border, never all of several. One that is seen is enough: the set
    // is then read again without a pause.
    let foreign = |number| FilterEntry::Vip([203, 0, 113, number].into());
    let address = [10, 96, 0, SERVICES].into();
    let state = node.plane().state_mut();
    let entries = state.sets.get_mut(&(set, family)).unwrap();
    entries.extend((1..=FOREIGN).map(foreign));
    assert!(state.vips.remove(&address).is_some());
    let (report, _) = resync_under_change(&mut node);
    let members = (1..=FOREIGN).map(foreign);
    let removals = members.map(|member| Operation::RemoveMember { member });
    let vip = Vip::Address { address };
    for wanted in removals.chain([Operation::BindVip { vip }]) {
        assert!(
            report.plan.operations().contains(&wanted),
            "{wanted}: {}",
            report.plan
        );
    }
}
