//! The skeleton of the filter in the kernel: read back, and as `nft` shows it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ipvs_filter::nftables::{LocalPods, MasqueradeClusterIps, Shape, Skeleton};
use ipvs_netfilter::nftables::{Change, Family};
use ipvs_netlink::Transaction;
use serde_json::Value;

use crate::nf_tables::with_tables;

fn shape(family: Family, masquerade: MasqueradeClusterIps) -> Shape {
    Shape {
        family,
        name: "kube-proxy-ipvs".parse().unwrap(),
        mark: 0x4000,
        masquerade,
        fully_random: true,
    }
}

fn pods(network: &str) -> MasqueradeClusterIps {
    LocalPods::Network(network.parse().unwrap()).into()
}

/// What `nft` answers, as JSON without the numbers that the kernel gives.
fn listed() -> Vec<Value> {
    let output = Command::new("nft")
        .args(["-j", "list", "table", "ip", "kube-proxy-ipvs"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    let mut objects = std::mem::take(whole["nftables"].as_array_mut().unwrap());
    objects.retain(|object| object.get("metainfo").is_none());
    for object in &mut objects {
        let kinds = object.as_object_mut().unwrap();
        for inner in kinds.values_mut() {
            inner.as_object_mut().unwrap().remove("handle");
        }
    }
    objects
}

#[test]
fn the_skeleton_is_read_back_as_it_was_written() {
    let bridge = LocalPods::Bridge("cbr0".parse().unwrap());
    let prefix = LocalPods::InterfacePrefix("veth".parse().unwrap());
    let shapes = [
        (Family::IPV4, pods("10.244.0.0/16")),
        (Family::IPV4, pods("10.244.0.0/20")),
        (Family::IPV4, pods("0.0.0.0/0")),
        (Family::IPV4, MasqueradeClusterIps::All),
        (Family::IPV4, MasqueradeClusterIps::Node),
        (Family::IPV6, pods("fd00:244::/56")),
        (Family::IPV6, bridge.into()),
        (Family::IPV6, prefix.into()),
    ];
    with_tables("nft-skeleton", |tables| {
        for (family, masquerade) in shapes {
            let skeleton = Skeleton::of(&shape(family, masquerade)).unwrap();
            let transaction = Transaction::new(skeleton.changes());
            tables.transact(&transaction).unwrap();
            let found = tables.table(&skeleton.table.id).unwrap().unwrap();
            assert_eq!(found.table.object, skeleton.table);
            let chains: Vec<_> = found.chains.into_iter().map(|chain| chain.object).collect();
            assert_eq!(chains, skeleton.chains);
            let sets: Vec<_> = found.sets.into_iter().map(|set| set.set.object).collect();
            let wanted: Vec<_> = skeleton.sets.iter().map(|(_, set)| set.clone()).collect();
            assert_eq!(sets, wanted);
            let rules: Vec<_> = found.rules.into_iter().map(|rule| rule.object).collect();
            assert_eq!(rules, skeleton.rules);
            // A second one is told that the table is not its own.
            let again = tables.transact(&transaction).unwrap_err();
            assert_eq!(again.errno(), Some(17));
            let gone = vec![Change::DeleteTable(&skeleton.table.id)];
            tables.transact(&Transaction::new(gone)).unwrap();
        }
    });
}

#[test]
fn nft_shows_the_skeleton_as_it_shows_the_text() {
    with_tables("nft-shown", |tables| {
        let skeleton = Skeleton::of(&shape(Family::IPV4, pods("10.244.0.0/16"))).unwrap();
        let transaction = Transaction::new(skeleton.changes());
        tables.transact(&transaction).unwrap();
        let ours = listed();
        let gone = vec![Change::DeleteTable(&skeleton.table.id)];
        tables.transact(&Transaction::new(gone)).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ipvs-filter/tests/skeleton.nft");
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success());
        let text = listed();
        assert_eq!(ours.len(), 1 + 12 + 7 + 23);
        // `nft` can only write `ip protocol` where the skeleton has `meta l4proto`.
        let protocol = serde_json::json!({"payload": {"protocol": "ip", "field": "protocol"}});
        let meta = serde_json::json!({"meta": {"key": "l4proto"}});
        let (text, protocol, meta) = (
            Value::from(text).to_string(),
            protocol.to_string(),
            meta.to_string(),
        );
        assert_eq!(text.matches(&protocol).count(), 1);
        let text: Vec<Value> = serde_json::from_str(&text.replace(&protocol, &meta)).unwrap();
        for object in &text {
            assert!(
                ours.contains(object),
                "{object:#}\nnot in\n{}",
                Value::from(ours)
            );
        }
        assert_eq!(ours.len(), text.len());
    });
}
