//! Random histories on a kernel that fails: refuses, does and denies it, cannot be read.

mod histories;
mod node;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use histories::{change, foreign, last_words, model, nothing_wanted_goes};
use ipvs_codec::{Family, Service as VirtualService, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Config, Foreign, Known, Model, Operation, Plan, VirtualServer};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netlink::{Cause, KernelError};
use ipvs_proxier::{
    Connections, DataPlane, Outcome, Part, PlaneError, Progress, Simulated, observe,
};
use ipvs_test_support::seed;
use node::Node;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

const EBUSY: i32 = 16;
const ENOMEM: i32 = 12;
const ENOBUFS: i32 = 105;

fn error(errno: i32) -> PlaneError {
    Cause::from(KernelError::new(errno)).into()
}

/// A kernel that fails by chance, the same in each run.
struct Faulty {
    kernel: Simulated,
    random: Rng,
    /// One in so many; 0 never.
    one_in: u64,
    faults: u32,
    /// The rest of a list of virtual servers, as it was when it was begun.
    listed: Option<Listed>,
}

#[derive(Debug)]
struct Listed {
    rest: Vec<(ServiceKey, Arc<VirtualServer>)>,
    /// What the kernel had been told when it was begun.
    messages: u64,
}

impl Faulty {
    fn chance(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.random.u64(..one_in) == 0
    }

    fn fails(&mut self) -> bool {
        let fails = self.chance(self.one_in);
        self.faults += u32::from(fails);
        fails
    }

    /// The list comes in chunks of one or two, outdated, and with gaps where the table has shifted.
    fn list_on(&mut self, families: &[Family], found: &mut Known) -> Progress {
        let Listed { mut rest, messages } = self.listed.take().unwrap_or_else(|| {
            let mut all = Known::default();
            let read = self.kernel.read(Part::List, families, &mut all);
            assert!(read.is_ok());
            Listed {
                rest: all.virtual_servers.into_iter().collect(),
                messages: self.kernel.messages(),
            }
        });
        if rest.len() <= 1 {
            // The last one, or a list that is read at once: such a one is right.
            found.virtual_servers.extend(rest);
            return Progress::Done(());
        }
        let at = rest.len() - 1 - usize::from(self.chance(2));
        let mut some = rest.split_off(at);
        if messages != self.kernel.messages() && self.chance(2) {
            some.pop();
        }
        found.virtual_servers.extend(some);
        self.listed = Some(Listed { rest, messages });
        Progress::More
    }

    fn or_fail<T>(
        &mut self,
        work: impl FnOnce(&mut Simulated) -> Result<T, PlaneError>,
    ) -> Result<T, PlaneError> {
        if self.fails() {
            return Err(error(ENOBUFS));
        }
        work(&mut self.kernel)
    }
}

impl DataPlane for Faulty {
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        match part {
            Part::Start => self.listed = None,
            // With all parts, hardly any reading would come to its end.
            Part::List => {
                if self.fails() {
                    return Err(error(ENOBUFS));
                }
                return Ok(self.list_on(families, found));
            }
            Part::Rules(_) if self.fails() => return Err(error(ENOBUFS)),
            Part::Rules(_) if self.chance(3) => return Ok(Progress::Waiting),
            _ => {}
        }
        self.kernel.read(part, families, found)
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.or_fail(Simulated::node_addresses)
    }

    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError> {
        self.or_fail(Simulated::smallest_mtu)
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.or_fail(Simulated::gateways)
    }

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        self.or_fail(|kernel| kernel.flows(family))
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        self.kernel.forget(flows)
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for operation in operations {
            let fails = self.fails();
            outcomes.push(match (fails, self.random.u8(..3)) {
                (true, 0) => Err(Box::new(error(EBUSY))),
                (true, 1) => Err(Box::new(error(ENOMEM))),
                (true, _) => {
                    // Done, and the answer is lost.
                    let _ = self.kernel.apply(std::slice::from_ref(operation));
                    Err(Box::new(Cause::Lost.into()))
                }
                (false, _) => self.kernel.apply(std::slice::from_ref(operation)).remove(0),
            });
        }
        outcomes
    }

    fn connections(&mut self, keys: &[ServiceKey]) -> Result<Vec<Connections>, PlaneError> {
        self.or_fail(|kernel| kernel.connections(keys))
    }
}

fn node(seed: u64, foreign: Foreign) -> Node<Faulty> {
    let config = Config {
        node_name: "n1".into(),
        foreign,
        ..Config::default()
    };
    let plane = Faulty {
        kernel: Simulated::default(),
        random: Rng::with_seed(seed),
        one_in: 0,
        faults: 0,
        listed: None,
    };
    Node::new(Model::new(config), plane)
}

/// A virtual server of somebody else.
fn make_foreign(kernel: &mut Simulated) {
    let service = VirtualService::new(foreign(), "rr".parse().unwrap());
    assert!(kernel.apply(&[Operation::AddVirtualServer { service }])[0].is_ok());
}

/// The links' addresses are told and there.
fn take(node: &mut Node<Faulty>, change: &Change) {
    if let Change::NodeAddresses(addresses) = change {
        let kernel = &mut node.plane().kernel;
        kernel.set_node_addresses(addresses.clone());
    }
    node.change(change.clone());
}

proptest! {
    #[test]
    fn whatever_fails_two_resyncs_later_all_is_as_wanted(
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..4), 1..10),
        seed in any::<u64>(),
        one_in in 2..40_u64,
        keep in any::<bool>(),
        parts in 0..50_u32,
    ) {
        let foreigners = if keep { Foreign::Keep } else { Foreign::Remove };
        let mut node = node(seed, foreigners);
        if keep {
            make_foreign(&mut node.plane().kernel);
        }
        node.plane().one_in = one_in;
        let start = Instant::now();
        for (round, batch) in batches.iter().enumerate() {
            batch.iter().for_each(|change| take(&mut node, change));
            let now = start + Duration::from_secs(round as u64);
            for step in 0..parts + 2 {
                let report = match step {
                    0 => node.sync().map(Some),
                    1 if round % 2 == 0 => node.drain(now).map(Some),
                    1 => node.drain_some(now).map(Some),
                    _ => node.resync_some().map(Progress::done),
                };
                let Ok(Some(report)) = report else { continue };
                nothing_wanted_goes(&report.plan, node.model())?;
                let touched = report.plan.to_string().contains("10.0.0.1:6443");
                prop_assert!(!touched, "a foreign object in\n{}", report.plan);
            }
        }
        node.plane().one_in = 0;
        let mut last = Plan::default();
        for later in 1..=2_u64 {
            let report = node.resync().unwrap();
            nothing_wanted_goes(&report.plan, node.model())?;
            prop_assert!(report.failures.is_empty(), "{:?}", report.failures);
            last = report.plan;
            let drained = node.drain(start + Duration::from_secs(1_000 * later)).unwrap();
            prop_assert!(drained.failures.is_empty(), "{:?}", drained.failures);
        }
        // The first was enough for all but what the other fault hid.
        prop_assert!(last.len() <= 2, "still\n{}", last);
        let families = Family::ALL;
        let mut known = observe(node.plane(), &families).unwrap();
        let kept = known.virtual_servers.remove(&foreign()).is_some();
        prop_assert_eq!(kept, keep);
        let mut fresh = model();
        let history: Vec<Change> = batches.concat();
        last_words(&history).into_iter().for_each(|change| fresh.change(change));
        fresh.change(Change::NodeAddresses(node.plane().node_addresses().unwrap()));
        let left = fresh.plan_everything(&known);
        prop_assert!(left.is_empty(), "a fresh start would do\n{}", left);
    }
}

proptest! {
    /// What is synced while the state is being read is neither taken for drift nor undone.
    #[test]
    fn a_resync_in_parts_repairs_nothing_where_nothing_drifted(
        batches in proptest::collection::vec((proptest::collection::vec(change(), 1..4), 0..12_u32), 1..30),
    ) {
        let mut node = node(0, Foreign::Remove);
        let mut resyncs = 0;
        for (batch, parts) in batches {
            batch.iter().for_each(|change| take(&mut node, change));
            prop_assert!(node.sync().unwrap().failures.is_empty());
            for _ in 0..parts {
                if let Progress::Done(report) = node.resync_some().unwrap() {
                    prop_assert!(report.plan.is_empty(), "{}", report.plan);
                    resyncs += 1;
                }
            }
        }
        while resyncs == 0 {
            let report = node.resync_some().unwrap().done();
            prop_assert!(report.as_ref().is_none_or(|report| report.plan.is_empty()), "{report:?}");
            resyncs += u32::from(report.is_some());
        }
    }
}

/// The property sees faults: with one in two hardly anything succeeds at first.
#[test]
fn faults_happen() {
    let mut node = node(7, Foreign::Remove);
    node.plane().one_in = 2;
    let mut failures = 0;
    for _ in 0..20 {
        failures += node.sync().map_or(1, |report| report.failures.len());
    }
    assert!(failures > 10 && node.plane().faults > 10);
}

/// One node, one kernel, a million events, some of them while it fails; now and then all is compared.
#[test]
#[ignore = "minutes: cargo xtask test --nightly"]
fn a_million_events_end_where_a_fresh_start_does() {
    const EVENTS: usize = 1_000_000;
    const ROUND: usize = 2_000;
    let seed = seed();
    let mut runner = TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    });
    let some = change();
    let mut node = node(seed, Foreign::Remove);
    let mut history = Vec::new();
    let mut operations = 0;
    for round in 0..EVENTS / ROUND {
        node.plane().one_in = if round % 4 == 1 { 200 } else { 0 };
        for event_number in 0..ROUND {
            let event = some.new_tree(&mut runner).unwrap().current();
            take(&mut node, &event);
            history.push(event);
            let part = (event_number % 16 == 0).then(|| node.resync_some().ok()?.done());
            for report in [node.sync().ok(), part.flatten()] {
                let Some(report) = report else { continue };
                nothing_wanted_goes(&report.plan, node.model()).unwrap();
                operations += report.plan.len();
            }
        }
        // Only the last word on each object counts; what was before is not needed.
        history = last_words(&history);
        node.plane().one_in = 0;
        assert!(node.resync().unwrap().failures.is_empty());
        let later = Instant::now() + Duration::from_secs(1_000);
        assert!(node.drain(later).unwrap().failures.is_empty());
        let known = observe(node.plane(), &Family::ALL).unwrap();
        let mut fresh = model();
        history
            .iter()
            .cloned()
            .for_each(|change| fresh.change(change));
        let addresses = node.plane().node_addresses().unwrap();
        fresh.change(Change::NodeAddresses(addresses));
        let left = fresh.plan_everything(&known);
        assert!(
            left.is_empty(),
            "seed {seed}, round {round}: a fresh start would do\n{left}"
        );
    }
    let faults = node.plane().faults;
    println!(
        "seed {seed}: {EVENTS} events, {operations} operations, {faults} faults, as a fresh start"
    );
}
