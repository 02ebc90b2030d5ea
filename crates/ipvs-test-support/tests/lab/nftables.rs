//! The filter of nftables in the kernel: read back, and as `nft` shows it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ipvs_codec::Family;
use ipvs_filter::nftables::{Skeleton, filter_entry, is_ours, recognise, set, set_entry, table};
use ipvs_model::{FilterEntry, FilterSet, FilterSets, FilterShape, LocalPods, Masquerade};
use ipvs_netfilter::nftables::{self, Change, Entries, Set, Table, TableId};
use ipvs_netlink::{NfTables, Transaction};
use ipvs_test_support::{Need, NetNs, command, is_skipped_without, run_kube_proxy};
use serde_json::Value;

use crate::nf_tables::with_tables;
use crate::shop::shop;

/// With every rule that there can be.
fn shape(family: Family, masquerade: Masquerade) -> FilterShape {
    let refused = match family {
        Family::Ipv4 => "cluster-ip 203.0.113.107:80/TCP",
        Family::Ipv6 => "cluster-ip [fd00::107]:80/TCP",
    };
    let refused: FilterEntry = refused.parse().unwrap();
    let all = FilterSet::ALL.into_iter();
    FilterShape {
        family,
        mark: 0x4000,
        random_fully: true,
        cluster_ips: Some(masquerade),
        filled: all.filter(|set| set.shapes_filter()).collect(),
        without: FilterSets::default(),
        refused: refused.served().into_iter().collect(),
    }
}

fn pods(network: &str) -> Masquerade {
    Masquerade::NotFrom(LocalPods::Network(network.parse().unwrap()))
}

fn whole<'a>(table: &'a Table, sets: &'a [Set], skeleton: &'a Skeleton) -> Transaction<'a> {
    let mut changes = vec![Change::CreateTable(table)];
    changes.extend(sets.iter().map(Change::AddSet));
    changes.extend(skeleton.changes());
    Transaction::new(changes)
}

/// Whether the kernel has nf_tables for IPv4; a line says so if not.
pub(crate) fn lab_has_nftables() -> bool {
    let mut has = false;
    with_tables("nft-has", |_| has = true);
    has
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
    objects.retain(|object| object.get("metainfo").is_none() && object.get("table").is_none());
    for object in &mut objects {
        let kinds = object.as_object_mut().unwrap();
        for inner in kinds.values_mut() {
            inner.as_object_mut().unwrap().remove("handle");
        }
    }
    objects
}

#[test]
fn the_filter_is_read_back_as_it_was_written() {
    let pods_by = |pods: LocalPods| Masquerade::NotFrom(pods);
    let shapes = [
        (Family::Ipv4, pods("10.244.0.0/16")),
        (Family::Ipv4, pods("10.244.0.0/20")),
        (Family::Ipv4, pods("0.0.0.0/0")),
        (Family::Ipv4, Masquerade::All),
        (Family::Ipv4, Masquerade::Node),
        (Family::Ipv6, pods("fd00:244::/56")),
        (
            Family::Ipv6,
            pods_by(LocalPods::Bridge("cbr0".parse().unwrap())),
        ),
        (
            Family::Ipv6,
            pods_by(LocalPods::InterfacePrefix("veth".parse().unwrap())),
        ),
    ];
    with_tables("nft-filter", |tables| {
        for (family, masquerade) in shapes {
            let shape = shape(family, masquerade);
            let skeleton = Skeleton::of(&shape).unwrap();
            let (table, sets) = (table(family), FilterSet::ALL.map(|kind| set(kind, family)));
            let transaction = whole(&table, &sets, &skeleton);
            tables.transact(&transaction).unwrap();
            let found = tables.heads(&table.id).unwrap().unwrap();
            assert!(is_ours(&found.table.object));
            let chains: Vec<_> = found.chains.into_iter().map(|chain| chain.object).collect();
            let rules: Vec<_> = found.rules.into_iter().map(|rule| rule.object).collect();
            let known = recognise(family, &chains, &rules);
            assert_eq!(known.shape, Some(shape.clone()));
            assert!(known.is_guarded && known.refused == shape.refused);
            let found: Vec<_> = found.sets.into_iter().map(|set| set.object).collect();
            assert_eq!(found, sets);
            // A second one is told that the table is not its own.
            let again = tables.transact(&transaction).unwrap_err();
            assert_eq!(again.errno(), Some(17));
            let gone = vec![Change::DeleteTable(&table.id)];
            tables.transact(&Transaction::new(gone)).unwrap();
        }
    });
}

#[test]
fn entries_are_read_back_as_they_were_written() {
    let texts = [
        "hairpin 10.244.0.5:8080/TCP from 10.244.0.5",
        "cluster-ip [fd00:96::1]:80/TCP",
        "load-balancer 198.18.0.7:80/SCTP",
        "source-address [fd00::7]:80/TCP from fd00::7",
        "source-range 198.18.0.7:80/TCP from 10.0.0.0/8",
        "source-range 198.18.0.7:80/UDP from 0.0.0.0/0",
        "source-range 198.18.0.7:80/TCP from 11.1.2.3/32",
        "source-range [fd00::7]:80/TCP from fd00:1::/33",
        "node-port-tcp IPv4:30080",
        "node-port-local-udp IPv6:30080",
        "node-port-sctp 10.0.0.1:30080/SCTP",
        "health-check-port IPv4:32000",
        "vip 10.96.0.10",
        "vip fd00:96::1",
    ];
    with_tables("nft-entries", |tables| {
        for family in Family::ALL {
            let (table, sets) = (table(family), FilterSet::ALL.map(|kind| set(kind, family)));
            let mut changes = vec![Change::CreateTable(&table)];
            changes.extend(sets.iter().map(Change::AddSet));
            tables.transact(&Transaction::new(changes)).unwrap();
            for set in &sets {
                let kind = FilterSet::ALL[sets.iter().position(|of| of == set).unwrap()];
                let entries = texts.map(|text| text.parse::<FilterEntry>().unwrap());
                let of_set = |entry: &FilterEntry| (entry.set(), entry.family()) == (kind, family);
                let entries: BTreeSet<_> = entries.into_iter().filter(of_set).collect();
                if entries.is_empty() {
                    continue;
                }
                let written: Vec<_> = entries.iter().map(set_entry).collect();
                let written = Entries::split(&written, usize::MAX).0;
                let transaction = Transaction::new(vec![Change::AddEntries(set, written)]);
                tables.transact(&transaction).unwrap();
                let read = tables.entries(&set.id).unwrap().unwrap();
                let read = read
                    .iter()
                    .map(|entry| filter_entry(kind, family, entry).unwrap());
                assert_eq!(read.collect::<BTreeSet<_>>(), entries, "{kind}");
                let gone = Transaction::new(vec![Change::DeleteEntries(set, written)]);
                tables.transact(&gone).unwrap();
            }
        }
    });
}

#[test]
fn nft_shows_the_filter_as_it_shows_the_text() {
    with_tables("nft-shown", |tables| {
        let skeleton = Skeleton::of(&shape(Family::Ipv4, pods("10.244.0.0/16"))).unwrap();
        let table = table(Family::Ipv4);
        let sets = FilterSet::ALL.map(|kind| set(kind, Family::Ipv4));
        tables.transact(&whole(&table, &sets, &skeleton)).unwrap();
        let ours = listed();
        let gone = vec![Change::DeleteTable(&table.id)];
        tables.transact(&Transaction::new(gone)).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ipvs-filter/nftables.nft");
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
        // `nft` can only write `ip protocol` where the filter has `meta l4proto`.
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
            assert!(ours.contains(object), "not in the filter: {object}");
        }
        for object in &ours {
            assert!(text.contains(object), "not in the text: {object}");
        }
    });
}

/// Tables of these names, of both families; `inet` too.
fn make_tables(namespace: &NetNs, names: &[&str]) {
    let make = || {
        let mut tables = NfTables::open().unwrap();
        for family in [
            nftables::Family::IPV4,
            nftables::Family::IPV6,
            nftables::Family::INET,
        ] {
            for name in names {
                let name = name.parse().unwrap();
                let table = Table::new(TableId { family, name });
                let transaction = Transaction::new(vec![Change::CreateTable(&table)]);
                tables.transact(&transaction).unwrap();
            }
        }
    };
    namespace.run(make).unwrap();
}

fn tables(namespace: &NetNs) -> Vec<String> {
    let text = namespace.output("nft", &["list", "tables"]).unwrap();
    text.lines()
        .map(|line| line.trim_start_matches("table ").to_owned())
        .collect()
}

#[test]
fn row_025_the_tables_of_nftables_mode_are_removed_and_chains_of_iptables_mode_stay() {
    if !lab_has_nftables() || is_skipped_without(Need::Iptables) {
        return;
    }
    let namespace = NetNs::new("nft-left").unwrap();
    make_tables(&namespace, &["kube-proxy", "others"]);
    let chain = ["-t", "nat", "-N", "KUBE-SVC-ABC"];
    namespace.output("iptables", &chain).unwrap();
    let output = run_kube_proxy(&namespace, &["--filter=iptables", &shop(), "--once"]).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let left = tables(&namespace);
    assert!(!left.contains(&"ip kube-proxy".to_owned()), "{left:?}");
    assert!(!left.contains(&"ip6 kube-proxy".to_owned()), "{left:?}");
    // Neither of another family nor of another name.
    for table in ["inet kube-proxy", "ip others", "ip6 others"] {
        assert!(left.contains(&table.to_owned()), "{left:?}");
    }
    let rules = namespace.output("iptables-save", &[]).unwrap();
    assert!(rules.contains(":KUBE-SVC-ABC"), "{rules}");
}

#[test]
fn a_table_of_others_that_has_our_name_is_left_alone() {
    if !lab_has_nftables() {
        return;
    }
    let namespace = NetNs::new("nft-foreign").unwrap();
    make_tables(&namespace, &["kube-proxy-ipvs"]);
    let before = namespace.output("nft", &["list", "ruleset"]).unwrap();
    let output = run_kube_proxy(&namespace, &["--filter=nftables", &shop(), "--once"]).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let names = "table ip kube-proxy-ipvs has no comment that says that a proxier made it: rename or delete it";
    assert!(!output.status.success() && log.contains(names), "{log}");
    let output = run_kube_proxy(&namespace, &["--cleanup"]).unwrap();
    assert!(output.status.success());
    assert_eq!(
        namespace.output("nft", &["list", "ruleset"]).unwrap(),
        before
    );
}

#[test]
fn a_proxier_moves_to_the_other_filter_and_back_and_clean_up_leaves_nothing() {
    if !lab_has_nftables() || is_skipped_without(Need::Iptables) {
        return;
    }
    let namespace = NetNs::new("nft-move").unwrap();
    let once = |filter: &str| {
        let filter = format!("--filter={filter}");
        let output = run_kube_proxy(&namespace, &[&filter, &shop(), "--once"]).unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        let rules = namespace.output("iptables-save", &[]).unwrap();
        let sets = namespace.output("ipset", &["list", "-n"]).unwrap();
        let has_iptables = rules.contains("KUBE-") || sets.contains("KUBE-");
        let left = tables(&namespace);
        let has_nftables = left.iter().any(|table| table.contains("kube-proxy-ipvs"));
        (has_iptables, has_nftables, log)
    };
    for _ in 0..2 {
        let (has_iptables, has_nftables, log) = once("iptables");
        assert!(has_iptables && !has_nftables, "{log}");
        let (has_iptables, has_nftables, log) = once("nftables");
        assert!(!has_iptables && has_nftables, "{log}");
        // What is there is what should be: nothing is written.
        let (.., log) = once("nftables");
        assert!(
            !log.contains("write rules") && !log.contains("add "),
            "{log}"
        );
    }
    let output = run_kube_proxy(&namespace, &["--cleanup"]).unwrap();
    assert!(output.status.success());
    let left = tables(&namespace);
    assert!(
        !left.iter().any(|table| table.contains("kube-proxy")),
        "{left:?}"
    );
    let links = namespace.output("ip", &["link"]).unwrap();
    assert!(!links.contains("kube-ipvs0"), "{links}");
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
}

/// Neither iptables nor ipset nor nft can be found: none is started.
#[test]
fn no_program_is_needed_to_serve_and_to_clean_up() {
    if !lab_has_nftables() {
        return;
    }
    let namespace = NetNs::new("nft-alone").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let mut command = command(words);
        command.env("PATH", folder.path());
        let output = namespace.run(|| command.output().unwrap()).unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        log
    };
    let log = run(&["--filter=nftables", &shop(), "--once"]);
    let found = namespace.output("nft", &["list", "ruleset"]).unwrap();
    assert!(found.contains("10.96.0.10 . tcp . 80"), "{found}\n{log}");
    let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(servers.contains("-A -t 10.96.0.10:80"), "{servers}");
    run(&["--cleanup"]);
    assert_eq!(tables(&namespace), [""; 0]);
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
}
