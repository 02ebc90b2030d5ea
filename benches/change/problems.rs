//! What one endpoint costs a controller, beside Services that ask for something impossible.

use std::time::Duration;

use benches::timed;
use ipvs_model::input::Change;
use ipvs_model::{Config, Model};
use ipvs_proxier::{Controller, Moment, Pace, Simulated, Step};
use serde_json::json;

use crate::{REPETITIONS, change, slice};

/// A line without problems, and one where every Service has an annotation that cannot be read. They are meant to be equal.
pub(crate) fn measure(services: u32, endpoints: u32) {
    for (event, weights) in [
        ("one_endpoint_without_problems", "n1=1"),
        ("one_endpoint_beside_problems", "none"),
    ] {
        let mut node = Node {
            controller: Controller::new(Model::new(Config::default()), PACE),
            kernel: Simulated::default(),
            now: Moment::now(),
        };
        let load = (0..services).flat_map(|number| {
            let service = annotated(number, weights);
            [service, slice(number, endpoints, 0)]
        });
        node.sync(load.collect());
        let mut least = Duration::MAX;
        for turn in 0..REPETITIONS {
            let changes = vec![slice(services / 2, endpoints, 1 - turn % 2)];
            least = least.min(timed(|| node.sync(changes)).1);
        }
        let problems = node.controller.desired().problems().count();
        let line = json!({
            "bench": "change", "services": services, "endpoints": endpoints, "event": event,
            "nanoseconds": u64::try_from(least.as_nanos()).unwrap_or(u64::MAX), "problems": problems,
        });
        println!("{line}");
    }
}

/// Every change is synced at once.
const PACE: Pace = Pace {
    min_sync: Duration::ZERO,
    sync: Duration::MAX,
    max_sync: Duration::MAX,
    drain: Duration::MAX,
    canary: None,
};

/// A node on the simulated kernel, whose clock stands still.
struct Node {
    controller: Controller,
    kernel: Simulated,
    now: Moment,
}

impl Node {
    fn sync(&mut self, changes: Vec<Change>) {
        let nothing = Vec::new();
        self.controller.source(self.now, changes, nothing, true);
        while !matches!(
            self.controller.poll(&self.now, &mut self.kernel),
            Step::Wait(_)
        ) {}
    }
}

fn annotated(number: u32, weights: &str) -> Change {
    let [a, b, c, d] = (0x0a60_0001 + number).to_be_bytes();
    change(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service",
             "metadata": {{"name": "s{number}", "annotations": {{"ipvs-proxier/weights": "{weights}"}}}},
             "spec": {{"clusterIP": "{a}.{b}.{c}.{d}", "ports": [{{"port": 80}}]}}}}"#
    ))
}
