//! Loads a generated cluster into an empty kernel, beside the replay of the same messages: one JSON line for a size.
//!
//! `cargo xtask bench load` builds it and runs it in the lab. Every repetition has a network namespace of its own: the
//! kernel remembers removed real servers for minutes and searches them.

mod cluster;
mod floor;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use benches::{Size, peak_bytes, timed};
use clap::Parser as _;
use ipvs_codec::Family;
use ipvs_model::{Config, Known, Model, Operation, Phase};
use ipvs_netlink::{Ipvs, Links};
use ipvs_proxier::{DataPlane as _, IptablesBackend, Linux, read_manifest};
use ipvs_test_support::NetNs;

use crate::floor::Floor;

/// Ours and the floor take turns; the best of each counts.
const REPETITIONS: usize = 3;

/// Long enough for the kernel to take a namespace apart.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let Size {
        services,
        endpoints,
    } = Size::parse();
    let text = cluster::manifest(services, endpoints);
    let (changes, parse) = timed(|| read_manifest(Path::new("cluster.yaml"), text.as_bytes()));
    drop(text);
    let Ok(changes) = changes else {
        bail!("the generated manifest is broken")
    };
    let mut model = Model::new(Config {
        families: vec![Family::Ipv4],
        ..Config::default()
    });
    let (plan, planned) = timed(|| {
        changes.into_iter().for_each(|change| model.change(change));
        model.plan_everything(&Known::default())
    });
    let (skeleton, load): (Vec<_>, Vec<_>) = plan
        .into_iter()
        .partition(|operation| operation.phase() == Phase::Skeleton);

    let mut ours = Duration::MAX;
    let mut best_floor = Duration::MAX;
    let mut peak = 0;
    let mut messages = 0;
    for repetition in 0..REPETITIONS {
        ours = ours.min(in_namespace(
            &format!("ours-{repetition}"),
            &skeleton,
            |plane| {
                let (outcomes, took) = timed(|| plane.apply(&load));
                let failed = outcomes.into_iter().filter_map(Result::err).next();
                failed.map_or(Ok(took), |error| Err(error.into()))
            },
        )?);
        if repetition == 0 {
            peak = peak_bytes("self")?;
        }
        best_floor = best_floor.min(in_namespace(
            &format!("floor-{repetition}"),
            &skeleton,
            |_| {
                let link = Links::open()?
                    .find("kube-ipvs0")?
                    .context("no link")?
                    .index
                    .0;
                let floor = Floor::of(&load, Ipvs::open()?.family(), link)?;
                messages = floor.messages;
                floor.replay()
            },
        )?);
    }
    ensure!(messages == load.len(), "the floor sends what the plan does");
    let line = serde_json::json!({
        "bench": "load", "services": services, "endpoints": endpoints,
        "seconds": ours.as_secs_f64(), "floor_seconds": best_floor.as_secs_f64(),
        "ratio": ours.as_secs_f64() / best_floor.as_secs_f64(), "peak_bytes": peak,
        "messages": messages, "parse_seconds": parse.as_secs_f64(), "plan_seconds": planned.as_secs_f64(),
    });
    println!("{line}");
    Ok(())
}

/// Makes link, sets and rules in a fresh namespace, and measures there.
fn in_namespace(
    name: &str,
    skeleton: &[Operation],
    measure: impl FnOnce(&mut Linux) -> Result<Duration> + Send,
) -> Result<Duration> {
    let namespace = NetNs::new(name)?;
    let measured = namespace.run(|| {
        let mut plane = Linux::open(IptablesBackend::Auto)?;
        plane
            .apply(skeleton)
            .into_iter()
            .collect::<Result<(), _>>()?;
        // Processes that wrote the rules may still be on their way out.
        std::thread::sleep(SETTLE / 10);
        measure(&mut plane)
    })?;
    drop(namespace);
    // The kernel takes the namespace apart in the background, on the same processor.
    std::thread::sleep(SETTLE);
    measured
}
