//! `--cleanup` on a real kernel: what it removes, what it leaves, and what it says of it.

mod link;
mod sets;

use std::path::Path;

use ipvs_test_support::{NetNs, kube_proxy};

use crate::shop::{run, shop};

fn proxied(name: &str) -> NetNs {
    let namespace = NetNs::new(name).unwrap();
    let (ok, log) = run(&namespace, &[&shop(), "--once"]);
    assert!(ok, "{log}");
    namespace
}

fn iptables(namespace: &NetNs, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    namespace.output("iptables", &words).unwrap();
}

/// What begins with `KUBE-` of rules, sets, virtual servers and links.
fn left(namespace: &NetNs) -> Vec<String> {
    let mut left = Vec::new();
    for save in ["iptables-save", "ip6tables-save"] {
        let rules = namespace.output(save, &[]).unwrap();
        let kube = rules.lines().filter(|line| line.contains("KUBE-"));
        left.extend(kube.map(|line| line.replace(" [0:0]", "")));
    }
    let sets = namespace.output("ipset", &["list", "-n"]).unwrap();
    left.extend(sets.lines().map(str::to_owned));
    let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    left.extend(servers.lines().map(str::to_owned));
    if namespace
        .output("ip", &["link", "show", "kube-ipvs0"])
        .is_ok()
    {
        left.push("kube-ipvs0".to_owned());
    }
    left
}

#[test]
fn a_rule_of_others_keeps_the_one_chain_that_it_names() {
    for (name, made, rule, chain) in [
        // As the portmap plugin does with externalSetMarkChain.
        (
            "cu-masq",
            "-t nat -N CNI-X",
            "-t nat -A CNI-X -j KUBE-MARK-MASQ",
            "KUBE-MARK-MASQ",
        ),
        (
            "cu-fwd",
            "-N CNI-X",
            "-A FORWARD -j KUBE-FORWARD",
            "KUBE-FORWARD",
        ),
        (
            "cu-svc",
            "-N CNI-X",
            "-t nat -A PREROUTING -p tcp -j KUBE-SERVICES",
            "KUBE-SERVICES",
        ),
    ] {
        let namespace = proxied(name);
        iptables(&namespace, made);
        iptables(&namespace, rule);
        let rule = rule.strip_prefix("-t nat ").unwrap_or(rule);
        for _ in 0..2 {
            let (ok, log) = run(&namespace, &["--cleanup"]);
            let told = format!("the rule `{rule}`");
            assert!(!ok && log.contains(&format!("chain {chain}")), "{log}");
            assert!(log.contains(&told), "{told} in {log}");
            assert_eq!(left(&namespace), [format!(":{chain} -"), rule.to_owned()]);
        }
        // Without it the rest goes.
        iptables(
            &namespace,
            &if chain == "KUBE-FORWARD" {
                rule.to_owned()
            } else {
                format!("-t nat {rule}")
            }
            .replace("-A ", "-D "),
        );
        assert!(run(&namespace, &["--cleanup"]).0);
        assert_eq!(left(&namespace), [""; 0]);
    }
}

#[test]
fn a_clean_up_that_was_refused_is_finished_by_the_next_one() {
    let namespace = NetNs::new("cu-keep").unwrap();
    assert!(run(&namespace, &[&shop(), "--once", "--foreign=keep"]).0);
    let theirs = ["-A", "-u", "4.4.4.4:56", "-s", "rr"];
    namespace.output("ipvsadm", &theirs).unwrap();
    assert!(run(&namespace, &["--cleanup", "--foreign=keep"]).0);
    assert_eq!(left(&namespace), ["-A -u 4.4.4.4:56 -s rr"]);
}

/// As they are after `kube-proxy --proxy-mode=iptables`, with rules of others beside them.
#[test]
fn what_the_iptables_mode_leaves_goes_and_nothing_else() {
    let namespace = NetNs::new("cu-iptables").unwrap();
    let others = "*nat\n:KUBE-MARK-DROP - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n\
        *filter\n:KUBE-FIREWALL - [0:0]\n:KUBE-NWPLCY-X - [0:0]\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n\
        *mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
    let theirs = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-B - [0:0]\n:KUBE-EXT-C - [0:0]\n:KUBE-NODEPORTS - [0:0]\n\
        :KUBE-PROXY-CANARY - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
        -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
        -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
        -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SEP-B\n-A KUBE-SEP-B -j KUBE-MARK-MASQ\nCOMMIT\n\
        *filter\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n:KUBE-NODEPORTS - [0:0]\n\
        -A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
        -A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n\
        -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\nCOMMIT\n\
        *mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n";
    let folder = tempfile::tempdir().unwrap();
    let restore = |text: &str| {
        let file = folder.path().join("rules");
        std::fs::write(&file, text).unwrap();
        namespace
            .output("iptables-restore", &["--noflush", file.to_str().unwrap()])
            .unwrap();
    };
    let save = || {
        let saved = namespace.output("iptables-save", &[]).unwrap();
        let lines = saved.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split(" [").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    restore(others);
    let before = save();
    restore(theirs);
    assert_ne!(save(), before);
    let (ok, log) = run(&namespace, &["--cleanup"]);
    assert!(ok, "{log}");
    assert_eq!(save(), before);
}

/// Programs in the place of `nft` and of those of iptables.
fn clean_up_with(namespace: &NetNs, programs: &Path) -> (bool, String) {
    let run = || {
        let mut command = std::process::Command::new(kube_proxy());
        command.arg("--cleanup").env("PATH", programs);
        command.output().unwrap()
    };
    let output = namespace.run(run).unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), log)
}

#[test]
fn without_any_program_the_rest_goes() {
    let namespace = proxied("cu-bare");
    for save in ["iptables", "ip6tables"] {
        for table in ["nat", "filter"] {
            for action in ["-F", "-X"] {
                namespace.output(save, &["-t", table, action]).unwrap();
            }
        }
    }
    assert!(left(&namespace).len() > 34);
    let nothing = tempfile::tempdir().unwrap();
    let (ok, log) = clean_up_with(&namespace, nothing.path());
    assert!(
        ok && log.contains("iptables-save is not installed"),
        "{log}"
    );
    assert_eq!(left(&namespace), [""; 0]);
}

#[test]
fn iptables_that_cannot_read_keeps_nothing_but_the_rules_and_their_sets() {
    let namespace = proxied("cu-broken");
    let folder = tempfile::tempdir().unwrap();
    for program in ["iptables-save", "ip6tables-save", "nft"] {
        let file = folder.path().join(program);
        std::fs::write(&file, "#!/bin/sh\necho broken >&2\nexit 4\n").unwrap();
        let run_by_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, run_by_all).unwrap();
    }
    let (ok, log) = clean_up_with(&namespace, folder.path());
    assert!(
        !ok && log.contains("IPv4 rules: cannot be read: iptables-save: exit status: 4: broken"),
        "{log}"
    );
    assert!(log.contains("set KUBE-CLUSTER-IP: "), "{log}");
    let left = left(&namespace);
    assert!(
        !left
            .iter()
            .any(|line| line.starts_with("-A -t") || line == "kube-ipvs0"),
        "{left:?}"
    );
    let sets = left.iter().filter(|line| line.starts_with("KUBE-")).count();
    assert!(
        (1..34).contains(&sets),
        "those that no rule names are gone: {left:?}"
    );
}

/// A Service with a node port.
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, protocol: TCP, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, namespace: default, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.5]}]
ports: [{name: \"\", port: 8080, protocol: TCP}]
";

/// Each with the set, what it must be at the end, and an entry.
const WRONG_SETS: [(&str, &str, &str, &str); 6] = [
    (
        "KUBE-CLUSTER-IP",
        "hash:ip",
        "hash:ip,port",
        "10.96.0.10,tcp:80",
    ),
    (
        "KUBE-CLUSTER-IP",
        "hash:ip,port family inet6",
        "hash:ip,port family inet ",
        "10.96.0.10,tcp:80",
    ),
    (
        "KUBE-CLUSTER-IP",
        "hash:ip,port timeout 600",
        "hash:ip,port",
        "10.96.0.10,tcp:80",
    ),
    (
        "KUBE-NODE-PORT-TCP",
        "hash:ip,port",
        "bitmap:port range 0-65535",
        "30080",
    ),
    (
        "KUBE-NODE-PORT-TCP",
        "bitmap:port range 0-1000",
        "bitmap:port range 0-65535",
        "30080",
    ),
    (
        "KUBE-6-CLUSTER-IP",
        "hash:ip,port family inet",
        "hash:ip,port family inet6",
        "",
    ),
];

fn spoilt(namespace: &NetNs, name: &str, kind: &str) {
    let kind: Vec<&str> = kind.split(' ').collect();
    let create = [&["create", name][..], &kind].concat();
    namespace.output("ipset", &create).unwrap();
    // iptables takes no rule with a set of the other family.
    if name != "KUBE-CLUSTER-IP" || kind.contains(&"inet6") {
        return;
    }
    iptables(namespace, "-t nat -N KUBE-SERVICES");
    let jump = [
        "-t",
        "nat",
        "-A",
        "PREROUTING",
        "-m",
        "comment",
        "--comment",
        "kubernetes service portals",
        "-j",
        "KUBE-SERVICES",
    ];
    namespace.output("iptables", &jump).unwrap();
    iptables(
        namespace,
        "-t nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT",
    );
}
