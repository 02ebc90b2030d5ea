//! Sets: of another type, of others, and held by rules of others.

use super::*;

#[test]
fn a_rule_of_others_keeps_the_one_set_that_it_names() {
    let namespace = proxied("cu-setrule");
    iptables(
        &namespace,
        "-t mangle -A OUTPUT -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
    );
    let (ok, log) = run(&namespace, &["--cleanup"]);
    assert!(
        !ok && log.contains("set KUBE-CLUSTER-IP: the rule `-A OUTPUT"),
        "{log}"
    );
    assert!(log.contains("of table mangle (IPv4)"), "{log}");
    assert_eq!(left(&namespace).len(), 2, "the rule and the set");
}

#[test]
fn a_list_of_others_keeps_the_one_set_that_it_lists() {
    let namespace = proxied("cu-setlist");
    for words in ["create all list:set", "add all KUBE-CLUSTER-IP"] {
        let words: Vec<&str> = words.split(' ').collect();
        namespace.output("ipset", &words).unwrap();
    }
    let (ok, log) = run(&namespace, &["--cleanup"]);
    let held = "set KUBE-CLUSTER-IP: the set all of type list:set lists it";
    assert!(!ok && log.contains(held), "{log}");
    assert_eq!(left(&namespace), ["KUBE-CLUSTER-IP", "all"]);
}

#[test]
fn sets_of_any_type_go_by_their_names() {
    let namespace = proxied("cu-types");
    let all = namespace.output("ipset", &["list", "-n"]).unwrap();
    assert!(run(&namespace, &["--cleanup"]).0);
    for (index, name) in all.lines().enumerate() {
        let kind: &[&str] = match index % 5 {
            0 => &["hash:net"],
            1 => &["bitmap:port", "range", "0-1000"],
            2 => &["hash:ip,port", "timeout", "600"],
            3 => &["hash:ip", "family", "inet6"],
            _ => &["list:set"],
        };
        namespace
            .output("ipset", &[&["create", name], kind].concat())
            .unwrap();
    }
    iptables(&namespace, "-t nat -N KUBE-SERVICES");
    iptables(
        &namespace,
        "-t nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT",
    );
    for words in [&["--cleanup", "--dry-run"][..], &["--cleanup"]] {
        let (ok, log) = run(&namespace, words);
        assert!(ok, "{log}");
    }
    assert_eq!(left(&namespace), [""; 0]);
}

#[test]
fn a_set_of_another_kind_is_healed_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), SERVICE).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    for (index, (name, kind, wanted, entry)) in WRONG_SETS.into_iter().enumerate() {
        let namespace = NetNs::new(&format!("cu-heal{index}")).unwrap();
        // Node ports are served on its address.
        namespace
            .ip("link add node0 type dummy\naddr add 192.168.50.10/24 dev node0\nlink set node0 up\n")
            .unwrap();
        spoilt(&namespace, name, kind);
        let (ok, log) = run(&namespace, &[&manifests, "--once"]);
        assert!(ok, "{kind}: {log}");
        let saved = namespace.output("ipset", &["save", name]).unwrap();
        assert!(
            saved.contains(&format!("create {name} {wanted}")),
            "{saved}"
        );
        assert!(!saved.contains("timeout"), "{saved}");
        assert!(
            entry.is_empty() || saved.contains(&format!("add {name} {entry}")),
            "{saved}"
        );
        let rules = namespace.output("iptables-save", &[]).unwrap();
        assert!(
            rules.contains("--match-set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ"),
            "{rules}"
        );
        let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
        assert!(servers.contains("-A -t 10.96.0.10:80 -s rr"), "{servers}");
    }
}

/// A comment, counters, another size: as good as ours.
#[test]
fn a_set_with_more_than_ours_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), SERVICE).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let namespace = NetNs::new("cu-more").unwrap();
    let kind = "hash:ip,port comment counters hashsize 64 maxelem 1000";
    spoilt(&namespace, "KUBE-CLUSTER-IP", kind);
    let (ok, log) = run(&namespace, &[&manifests, "--once"]);
    assert!(ok, "{log}");
    let saved = namespace
        .output("ipset", &["save", "KUBE-CLUSTER-IP"])
        .unwrap();
    assert!(
        saved.contains("maxelem 1000") && saved.contains("10.96.0.10,tcp:80"),
        "{saved}"
    );
}

#[test]
fn a_set_of_another_kind_that_others_hold_is_named_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), SERVICE).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let namespace = NetNs::new("cu-held").unwrap();
    namespace
        .ip("link add node0 type dummy\naddr add 192.168.50.10/24 dev node0\nlink set node0 up\n")
        .unwrap();
    spoilt(&namespace, "KUBE-CLUSTER-IP", "hash:ip");
    iptables(
        &namespace,
        "-A FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT",
    );
    let (ok, log) = run(&namespace, &[&manifests, "--once"]);
    let told = "destroy set cluster-ip (IPv4): it is of type hash:ip, not hash:ip,port, and the rule \
                `-A FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT` of table filter (IPv4) refers to it";
    assert!(!ok && log.contains(told), "{log}");
    let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(
        servers.contains("-A -t 192.168.50.10:30080") && !servers.contains("10.96.0.10"),
        "{servers}"
    );
    let rules = namespace.output("iptables-save", &[]).unwrap();
    assert!(
        rules.contains("--match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ"),
        "{rules}"
    );
    iptables(
        &namespace,
        "-D FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT",
    );
    let (ok, log) = run(&namespace, &[&manifests, "--once"]);
    assert!(ok, "{log}");
    let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(servers.contains("-A -t 10.96.0.10:80"), "{servers}");
}

/// What it lists is still known to be ours.
#[test]
fn a_set_whose_entries_time_out_is_a_ledger_all_the_same() {
    let namespace = proxied("cu-timeout");
    let saved = namespace
        .output("ipset", &["save", "KUBE-CLUSTER-IP"])
        .unwrap();
    let (create, entries) = saved.split_once('\n').unwrap();
    let restored = format!("{create} timeout 3600\n{entries}").replace("KUBE-CLUSTER-IP", "other");
    let file = tempfile::NamedTempFile::new().unwrap();
    let swapped = format!("{restored}swap other KUBE-CLUSTER-IP\ndestroy other\n");
    std::fs::write(&file, swapped).unwrap();
    let path = file.path().to_str().unwrap();
    namespace
        .output("ipset", &["-file", path, "restore"])
        .unwrap();
    let theirs = ["-A", "-t", "4.4.4.4:56", "-s", "rr"];
    namespace.output("ipvsadm", &theirs).unwrap();
    let (ok, log) = run(&namespace, &["--cleanup", "--foreign=keep"]);
    assert!(ok, "{log}");
    assert_eq!(left(&namespace), ["-A -t 4.4.4.4:56 -s rr"]);
}
