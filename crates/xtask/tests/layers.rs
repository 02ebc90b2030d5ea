//! The floor plan: a crate may only use crates of lower floors, and the lower floors no runtime, client or shell.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Floors, lowest first; what is not named is above all.
const FLOORS: [(&str, u32); 7] = [
    ("ipvs-codec", 0),
    ("ipvs-netfilter", 0),
    ("ipvs-probe", 0),
    ("ipvs-filter", 2),
    ("ipvs-model", 1),
    ("ipvs-netlink", 1),
    ("ipvs-proxier", 3),
];

const BANNED_BELOW_3: [&str; 4] = ["tokio", "kube", "clap", "anyhow"];

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap()
        .packages
}

fn used(package: &Package) -> impl Iterator<Item = &str> {
    // Tests may use what they like.
    let normal = |kind: DependencyKind| kind != DependencyKind::Development;
    package
        .dependencies
        .iter()
        .filter(move |dependency| normal(dependency.kind))
        .map(|dependency| dependency.name.as_str())
}

#[test]
fn no_arrow_goes_up() {
    let floors: BTreeMap<&str, u32> = FLOORS.into();
    let packages = packages();
    for package in &packages {
        let Some(floor) = floors.get(package.name.as_str()) else {
            continue;
        };
        for name in used(package).filter(|name| packages.iter().any(|other| other.name == *name)) {
            let below = floors.get(name).is_some_and(|other| other < floor);
            assert!(
                below,
                "{} on floor {floor} uses {name}, which is not below it",
                package.name
            );
        }
    }
    let known = FLOORS
        .iter()
        .filter(|(name, _)| packages.iter().any(|package| package.name == *name))
        .count();
    assert_eq!(known, FLOORS.len(), "a crate of the plan is missing");
}

/// `modprobe` and the versions of programs: behind a trait, in one file.
const RUNS_PROGRAMS: &str = "ipvs-probe/src/programs.rs";

#[test]
fn the_lower_floors_have_no_runtime_and_start_no_process() {
    for package in packages() {
        let Some((_, floor)) = FLOORS
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
        else {
            continue;
        };
        if *floor >= 3 {
            continue;
        }
        // What a feature brings that is off by default is the choice of who turns it on.
        let optional = |name: &str| {
            let mut dependencies = package.dependencies.iter();
            dependencies.any(|dependency| dependency.name == name && dependency.optional)
        };
        for name in used(&package).filter(|name| !optional(name)) {
            assert!(
                !BANNED_BELOW_3.contains(&name),
                "{} uses {name}",
                package.name
            );
        }
        let source = package.manifest_path.parent().unwrap().join("src");
        for file in files(source.as_std_path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(
                file.ends_with(RUNS_PROGRAMS)
                    || !text.contains("std::process") && !text.contains("process::Command"),
                "{}",
                file.display()
            );
        }
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn netlink_packet_types_stay_on_the_lower_floors() {
    for package in packages() {
        let allowed =
            ["ipvs-codec", "ipvs-netfilter", "ipvs-netlink"].contains(&package.name.as_str());
        let uses = used(&package).any(|name| name.starts_with("netlink-packet-"));
        assert!(allowed || !uses, "{} uses netlink-packet-*", package.name);
    }
}
