//! A proxier in this process: what it would do to the kernel, and how long the parts of its verification take.

use std::time::{Duration, Instant};

use anyhow::Result;
use ipvs_model::input::{Change, Manifest};
use ipvs_model::{Config, Model, Operation, VipBinding};
use ipvs_proxier::{DataPlane as _, IptablesBackend, Linux, Progress, Proxier, observe};

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

/// The parts of a verification that finds nothing, the longest first: a change that comes waits for one of them.
pub(crate) fn parts(options: &Options) -> Result<Vec<Duration>> {
    let mut linux = Linux::open(IptablesBackend::Auto)?;
    let counts = vec![options.size.endpoints; options.size.services as usize];
    let model = model(options, &counts, &mut linux)?;
    let mut proxier = Proxier::new(model, linux);
    let _ = proxier.sync()?;
    // The first one is where the memory comes from.
    let _ = proxier.verify()?;
    let mut parts = Vec::new();
    loop {
        let start = Instant::now();
        let progress = proxier.verify_some()?;
        parts.push(start.elapsed());
        match progress {
            Progress::Done(_) => break,
            Progress::More => {}
            Progress::Waiting => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    parts.sort_unstable_by(|one, other| other.cmp(one));
    Ok(parts)
}
