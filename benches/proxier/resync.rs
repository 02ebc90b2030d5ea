//! A proxier in this process: what it would do to the kernel, and how long the parts of its resync take.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model, Operation, VipBinding};
use ipvs_proxier::{
    Activity, Controller, DataPlane as _, IptablesBackend, Linux, Moment, Pace, Step, SystemClock,
    observe,
};

use crate::{Binding, Options, cluster};

/// The generated cluster with so many endpoints for each service.
fn model(options: &Options, counts: &[u32], linux: &mut Linux) -> Result<Model> {
    let mut model = Model::new(Config {
        node_name: "node-0".into(),
        families: linux.families().to_vec(),
        random_fully: linux.random_fully(),
        vip_binding: match options.vip_binding {
            Binding::Address => VipBinding::Address,
            Binding::Route => VipBinding::Route,
        },
        ..Config::default()
    });
    model.change(Change::NodeAddresses(linux.node_addresses()?));
    model.change(Change::SmallestMtu(linux.smallest_mtu()?));
    for object in cluster::objects(counts, options.size.endpoints) {
        let manifest: Manifest = serde_json::from_str(&object)?;
        manifest
            .into_changes()?
            .into_iter()
            .for_each(|change| model.change(change));
    }
    Ok(model)
}

/// What a proxier that starts now would do, but for what drains.
pub(crate) fn left(options: &Options, counts: &[u32]) -> Result<Vec<Operation>> {
    let mut linux = Linux::open(IptablesBackend::Auto)?;
    let mut model = model(options, counts, &mut linux)?;
    let known = observe(&mut linux, &model.config().families)?;
    Ok(model.plan_everything(&known).into_iter().collect())
}

/// The parts of a resync that finds nothing, the longest first: a change that comes waits for one of them.
pub(crate) fn parts(options: &Options) -> Result<Vec<Duration>> {
    let mut linux = Linux::open(IptablesBackend::Auto)?;
    let counts = vec![options.size.endpoints; options.size.services as usize];
    let model = model(options, &counts, &mut linux)?;
    let mut controller = Controller::new(model, Pace::default());
    controller.source(Moment::now(), Vec::new(), Vec::new(), true);
    steps(&mut controller, &mut linux, Activity::Start)?;
    // The first one is where the memory comes from.
    controller.hurry(Activity::Resync, Moment::now());
    steps(&mut controller, &mut linux, Activity::Resync)?;
    controller.hurry(Activity::Resync, Moment::now());
    let mut parts = steps(&mut controller, &mut linux, Activity::Resync)?;
    parts.sort_unstable_by(|one, other| other.cmp(one));
    Ok(parts)
}

/// How long each step of an activity takes.
fn steps(
    controller: &mut Controller,
    linux: &mut Linux,
    activity: Activity,
) -> Result<Vec<Duration>> {
    let mut steps = Vec::new();
    loop {
        let start = Instant::now();
        let step = controller.poll(&SystemClock, linux);
        steps.push(start.elapsed());
        match step {
            Step::More => {}
            Step::Wait(_) => std::thread::sleep(Duration::from_millis(1)),
            Step::Did(report) => {
                ensure!(report.succeeded(), "{report:?}");
                if report.ended.is_some_and(|ended| ended.activity == activity) {
                    return Ok(steps);
                }
            }
        }
    }
}
