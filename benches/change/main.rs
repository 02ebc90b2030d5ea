//! What a change costs the model, by the number of services: a JSON line for each event. The lines of one event are
//! meant to be flat.

mod problems;

use std::hint::black_box;
use std::time::Duration;

use benches::{Size, timed};
use clap::Parser as _;
use ipvs_model::input::{Change, EndpointSlice, Manifest, ObjectName, Service};
use ipvs_model::{Config, Known, Model, Operation};
use serde_json::json;

/// Small events are measured so often; the least time counts.
const REPETITIONS: usize = 200;

fn main() {
    let Size {
        services,
        endpoints,
    } = Size::parse();
    let mut node = Node::new(services, endpoints);
    let load: Vec<Change> = (0..services)
        .flat_map(|number| [service(number), slice(number, endpoints, 0)])
        .collect();
    node.load(load);

    let middle = services / 2;
    node.measure("one_endpoint", REPETITIONS, |turn| {
        vec![slice(middle, endpoints, 1 - turn % 2)]
    });
    node.measure("one_service", REPETITIONS, |turn| {
        if turn % 2 == 0 {
            vec![Change::ServiceGone(name(middle))]
        } else {
            vec![service(middle)]
        }
    });
    node.measure("one_percent", 4, |turn| {
        let some = (0..services).step_by(100);
        some.map(|number| slice(number, endpoints, 1 - turn % 2))
            .collect()
    });
    node.measure_nothing();
    problems::measure(services, endpoints);
}

/// A model, and the state that its plans make.
struct Node {
    services: u32,
    endpoints: u32,
    model: Model,
    known: Known,
    /// Held by the model beyond the objects themselves.
    bytes: i64,
}

impl Node {
    fn new(services: u32, endpoints: u32) -> Self {
        Self {
            services,
            endpoints,
            model: Model::new(Config::default()),
            known: Known::default(),
            bytes: 0,
        }
    }

    /// All objects into an empty model, and their plan.
    fn load(&mut self, changes: Vec<Change>) {
        let (model, known) = (&mut self.model, &self.known);
        let mut taking_in = Duration::ZERO;
        let taken = allocation_counter::measure(|| {
            taking_in = timed(|| changes.into_iter().for_each(|change| model.change(change))).1;
        });
        let mut made = None;
        let compiled = allocation_counter::measure(|| {
            let (plan, took) = timed(|| model.plan_everything(known));
            let mut operations: Vec<Operation> = plan.into_iter().collect();
            operations.shrink_to_fit();
            made = Some((operations, took));
        });
        if let Some((plan, took)) = made {
            // The list of changes is freed as well; the objects have moved into the model.
            let moved = 2 * size_of::<Change>() - size_of::<Service>() - size_of::<EndpointSlice>();
            let moved = i64::from(self.services) * i64::try_from(moved).unwrap_or(0);
            self.bytes = moved + taken.bytes_current + compiled.bytes_current - held_by(&plan);
            self.apply(&plan);
            self.print("everything", taking_in + took, plan.len());
        }
    }

    fn measure(&mut self, event: &str, repetitions: usize, changes: impl Fn(usize) -> Vec<Change>) {
        let mut least = Duration::MAX;
        let mut operations = 0;
        for turn in 0..repetitions {
            let changes = changes(turn);
            let (model, known) = (&mut self.model, &self.known);
            let (plan, took) = timed(|| {
                changes.into_iter().for_each(|change| model.change(change));
                model.plan(black_box(known))
            });
            least = least.min(took);
            operations = plan.len();
            self.apply(plan.operations());
        }
        self.print(event, least, operations);
    }

    /// Everything compared with itself.
    fn measure_nothing(&mut self) {
        let mut least = Duration::MAX;
        let mut operations = 0;
        let mut allocations = 0;
        for _ in 0..4 {
            let (model, known) = (&mut self.model, &self.known);
            let counted = allocation_counter::measure(|| {
                let (plan, took) = timed(|| model.plan_everything(black_box(known)));
                least = least.min(took);
                operations = plan.len();
            });
            allocations = counted.count_total;
        }
        self.print("nothing", least, operations);
        assert_eq!((operations, allocations), (0, 0), "it costs no memory");
    }

    fn apply(&mut self, plan: &[Operation]) {
        plan.iter()
            .for_each(|operation| self.known.applied(operation));
        self.model.share(plan, &mut self.known);
    }

    fn print(&self, event: &str, took: Duration, operations: usize) {
        let count = i64::from(self.services) * i64::from(self.endpoints);
        let line = json!({
            "bench": "change", "services": self.services, "endpoints": self.endpoints, "event": event,
            "nanoseconds": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), "operations": operations,
            "bytes": self.bytes, "bytes_per_endpoint": self.bytes / count.max(1),
        });
        println!("{line}");
    }
}

/// What would be freed with a plan.
fn held_by(plan: &[Operation]) -> i64 {
    let copied = allocation_counter::measure(|| std::mem::forget(plan.to_vec()));
    copied.bytes_current
}

fn name(number: u32) -> ObjectName {
    ObjectName::new("default", &format!("s{number}"))
}

fn change(json: &str) -> Change {
    let manifest: Manifest = serde_json::from_str(json).unwrap_or_default();
    let changes = manifest.into_changes();
    let first = changes.ok().and_then(|mut changes| changes.pop());
    first.unwrap_or_else(|| unreachable!("{json}"))
}

fn service(number: u32) -> Change {
    let [a, b, c, d] = (0x0a60_0001 + number).to_be_bytes();
    change(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}"}},
             "spec": {{"clusterIP": "{a}.{b}.{c}.{d}", "ports": [{{"port": 80}}]}}}}"#
    ))
}

/// The first `unready` endpoints take no connections.
fn slice(number: u32, endpoints: u32, unready: usize) -> Change {
    let unready = u32::try_from(unready).unwrap_or(u32::MAX);
    let endpoints = (0..endpoints).map(|endpoint| {
        let [a, b, c, d] = (0x0a80_0001 + number * endpoints + endpoint).to_be_bytes();
        let ready = endpoint >= unready;
        format!(
            r#"{{"addresses": ["{a}.{b}.{c}.{d}"], "nodeName": "n{}", "conditions": {{"ready": {ready}}}}}"#,
            endpoint % 7
        )
    });
    change(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "s{number}-a", "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
             "ports": [{{"port": 8080}}], "endpoints": [{}]}}"#,
        endpoints.collect::<Vec<_>>().join(",")
    ))
}
