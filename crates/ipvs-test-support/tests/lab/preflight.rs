//! What preflight says is what happens: of rules, of filters, of pods on a bridge, of IPv6 that is off.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipvs_test_support::{Cluster, NetNs, ask_tcp, eventually, example, run_kube_proxy, serve_tcp};

use crate::packets::{CIDR, addr};

const SYSCTLS: [&str; 3] = [
    "conntrack",
    "expire_nodest_conn",
    "expire_quiescent_template",
];

/// A namespace in which nothing is wrong but what a test is about.
fn sound(name: &str) -> NetNs {
    let namespace = NetNs::new(name).unwrap();
    namespace
        .output("modprobe", &["-a", "ip_vs", "ip_vs_rr"])
        .unwrap();
    let set = || {
        for sysctl in SYSCTLS {
            fs::write(format!("/proc/sys/net/ipv4/vs/{sysctl}"), "1").unwrap();
        }
        for sysctl in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{sysctl}"), "1").unwrap();
        }
    };
    namespace.run(set).unwrap();
    namespace
}

/// With `/sys` of the namespace.
fn preflight(namespace: &NetNs, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("ip")
        .args(["netns", "exec", namespace.name()])
        .arg(example("preflight"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), format!("{text}{problem}"))
}

/// Whether a rule of two kinds can be written, as an operator would.
fn takes_rules(namespace: &NetNs, program: &str, unreachable: &str) -> bool {
    let text = format!(
        "*nat\n:HAND - [0:0]\n-A HAND -m mark --mark 1 -j MASQUERADE\nCOMMIT\n\
         *filter\n:HAND - [0:0]\n-A HAND -m conntrack --ctstate NEW -j REJECT --reject-with {unreachable}\nCOMMIT\n"
    );
    let write = || {
        use std::io::Write as _;
        let mut child = Command::new(program)
            .arg("--noflush")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One that stops at the first line does not read the others.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait().unwrap().success()
    };
    namespace.run(write).unwrap()
}

/// Whether a table with what the filter needs can be made, as an operator would; of both families.
fn takes_tables(namespace: &NetNs) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hand.nft");
    let table = |family: &str, address: &str| {
        format!(
            "table {family} hand {{\n\
             set ranges {{ type {address} . inet_proto . inet_service . {address}; flags interval; }}\n\
             chain guard {{ type filter hook input priority filter; ct state new fib daddr type local reject; }}\n\
             chain out {{ type nat hook postrouting priority srcnat; masquerade fully-random; }}\n}}\n"
        )
    };
    let text = table("ip", "ipv4_addr") + &table("ip6", "ipv6_addr");
    fs::write(&file, text).unwrap();
    let done = namespace.output("nft", &["-f", &file.display().to_string()]);
    done.is_ok()
}

/// On every kernel, as those of RHEL 10 (`cargo xtask lab --profile rhel-10`), or without `ip_set` alone.
#[test]
fn preflight_says_with_which_filter_a_node_is_usable() {
    let hand = NetNs::new("pf-hand").unwrap();
    let has_rules = ["nft", "legacy"].iter().any(|backend| {
        let takes = |program: &str, unreachable| {
            takes_rules(&hand, &format!("{program}-{backend}-restore"), unreachable)
        };
        takes("iptables", "icmp-port-unreachable") && takes("ip6tables", "icmp6-port-unreachable")
    });
    let has_sets = hand.output("ipset", &["create", "hand", "hash:ip,port"]);
    let iptables = (has_rules && has_sets.is_ok()).then_some("iptables");
    let nftables = takes_tables(&hand).then_some("nftables");
    assert_ne!((iptables, nftables), (None, None));

    let namespace = sound("pf-filter");
    for (filter, with) in [
        ("iptables", iptables),
        ("nftables", nftables),
        ("auto", iptables.or(nftables)),
    ] {
        let filter = format!("--filter={filter}");
        let (status, text) = preflight(&namespace, &["--ipv6", &filter]);
        let verdict = with.map(|with| format!("\nusable with {with}\n"));
        let verdict = verdict.unwrap_or_else(|| "\nnot usable\n".to_owned());
        assert!(text.ends_with(&verdict), "{filter}: {text}");
        assert_eq!(status, Some(if with.is_some() { 0 } else { 1 }), "{text}");
        let says_why = filter == "--filter=auto" && iptables.is_none();
        assert_eq!(text.contains("\nNot with iptables\n"), says_why, "{text}");
        let tables = namespace.output("nft", &["list", "tables"]).unwrap();
        assert!(!tables.contains("kube-proxy"), "{tables}");
    }
}

/// With either back end, also on kernels that lack modules (`cargo xtask lab --without nft_compat,…`).
#[test]
fn preflight_says_whether_rules_can_be_written_and_leaves_none() {
    for backend in ["nft", "legacy"] {
        let namespace = sound(&format!("pf-{backend}"));
        let hand = NetNs::new(&format!("pf-hand-{backend}")).unwrap();
        let takes = takes_rules(
            &hand,
            &format!("iptables-{backend}-restore"),
            "icmp-port-unreachable",
        ) && takes_rules(
            &hand,
            &format!("ip6tables-{backend}-restore"),
            "icmp6-port-unreachable",
        );
        let backend = format!("--iptables-backend={backend}");
        let (status, text) = preflight(&namespace, &["--ipv6", &backend]);
        assert_eq!(status, Some(if takes { 0 } else { 1 }), "{backend}: {text}");
        assert_ne!(takes, text.contains("rule can be written"), "{text}");
        for program in ["iptables-legacy-save", "iptables-nft-save"] {
            let rules = namespace.output(program, &[]).unwrap_or_default();
            assert!(!rules.contains("KUBE-"), "{rules}");
        }
        // A kernel without ipset has none.
        let sets = namespace.output("ipset", &["list", "-name"]);
        assert_eq!(sets.unwrap_or_default(), "");
    }
}

const POD: u16 = 8080;

/// A Service with the second pod of the bridge.
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ipFamilies: [IPv4]
  ports: [{name: http, protocol: TCP, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 8080}]
endpoints:
- {addresses: [10.244.1.12], conditions: {ready: true}, nodeName: node-0}
";

/// Pods on a bridge ask a VIP that leads to the second of them: it needs `br_netfilter`, then hairpin mode for itself.
#[test]
fn pods_on_a_bridge_wait_in_vain_as_preflight_says() {
    let node = sound("pf-bridge");
    node.ip("link add br0 type bridge\naddr add 10.244.1.1/24 dev br0\nlink set br0 up")
        .unwrap();
    let pods = [11, 12].map(|number| {
        let pod = NetNs::new(&format!("pf-pod-{number}")).unwrap();
        node.ip(&format!(
            "link add veth{number} type veth peer name eth0 netns {}\nlink set veth{number} master br0\nlink set veth{number} up",
            pod.name()
        ))
        .unwrap();
        pod.ip(&format!(
            "addr add 10.244.1.{number}/24 dev eth0\nlink set eth0 up\nroute add default via 10.244.1.1"
        ))
        .unwrap();
        pod
    });
    serve_tcp(&pods[1], "pod-b", POD).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yaml"), SERVICE).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let done = run_kube_proxy(&node, &[&*manifests, "--once", CIDR]).unwrap();
    assert!(done.status.success(), "{done:?}");

    let ask = |pod: &NetNs| ask_tcp(pod, addr("10.96.0.10:80"));
    let says = |rule: &str| {
        let (_, text) = preflight(&node, &[]);
        text.lines()
            .any(|line| line.trim_start().starts_with(&format!("{rule} ")))
    };
    if !fs::exists("/proc/sys/net/bridge").unwrap() {
        assert!(says("br_netfilter"));
        assert!(ask(&pods[0]).is_err(), "the answer goes past IPVS");
        assert!(ask(&pods[1]).is_ok(), "IPVS alone routes it back");
        if node.output("modprobe", &["br_netfilter"]).is_err() {
            return;
        }
    }
    assert!(!says("br_netfilter") && says("hairpin"));
    eventually(Duration::from_secs(20), || ask(&pods[0])).unwrap();
    assert!(ask(&pods[1]).is_err(), "the bridge does not send it back");
    node.output("bridge", &["link", "set", "dev", "veth11", "hairpin", "on"])
        .unwrap();
    node.output("bridge", &["link", "set", "dev", "veth12", "hairpin", "on"])
        .unwrap();
    assert!(!says("hairpin"));
    eventually(Duration::from_secs(20), || ask(&pods[1])).unwrap();
}

/// IPv6 is off for interfaces that come later: the proxier enables it on its own, and says how where it may not.
#[test]
fn ipv6_vips_are_bound_where_ipv6_is_off_for_new_interfaces() {
    let cluster = Cluster::new("pf-ipv6").unwrap();
    let off = || fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    cluster.node.run(off).unwrap();
    let (_, text) = preflight(&cluster.node, &["--ipv6"]);
    assert!(
        text.contains("net.ipv6.conf.default.disable_ipv6=0"),
        "{text}"
    );
    let service = SERVICE
        .replace("10.96.0.10", "\"fd00:10:96::10\"")
        .replace("10.244.1.12", "\"fd00:10:244:1::12\"")
        .replace("IPv4", "IPv6");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yaml"), service).unwrap();
    for binding in ["address", "route"] {
        // What was set before stays; the last mount is read-only.
        let script = format!(
            "{proxier} --init-only; mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             {proxier} --once --manifests={} --vip-binding={binding}; true",
            folder.path().display(),
            proxier = format_args!(
                "{} --hostname-override=node-0 --conntrack-max-per-core=0",
                example("kube-proxy").display()
            ),
        );
        let said = cluster
            .node
            .output("unshare", &["-m", "sh", "-c", &format!("({script}) 2>&1")])
            .unwrap();
        let command = "set it with `sysctl -w net.ipv6.conf.kube-ipvs0.disable_ipv6=0`";
        assert!(said.contains(command), "{said}");
        let manifests = format!("--manifests={}", folder.path().display());
        let binding = format!("--vip-binding={binding}");
        let done = run_kube_proxy(&cluster.node, &[&*manifests, "--once", &*binding]).unwrap();
        assert!(done.status.success(), "{done:?}");
        eventually(Duration::from_secs(20), || {
            ask_tcp(&cluster.client, addr("[fd00:10:96::10]:80"))
        })
        .unwrap();
        cluster.node.ip("link del kube-ipvs0").unwrap();
    }
}

/// A step that fails is said once; the others are taken and the page is printed.
#[test]
fn a_step_that_fails_does_not_keep_the_others_from_being_taken() {
    let namespace = sound("pf-fix");
    let root = tempfile::tempdir().unwrap();
    for folder in ["proc", "sys", "usr", "lib"] {
        std::os::unix::fs::symlink(format!("/{folder}"), root.path().join(folder)).unwrap();
    }
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/modules-load.d"), "no folder").unwrap();
    namespace
        .run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap())
        .unwrap();
    let below = format!("--root={}", root.path().display());
    let (status, text) = preflight(&namespace, &["--fix", &below]);
    assert_eq!(status, Some(3), "{text}");
    assert!(
        text.contains("sysctl net.ipv4.ip_forward: 0 -> 1\n"),
        "{text}"
    );
    assert!(
        root.path().join("etc/sysctl.d/90-ipvs.conf").exists(),
        "{text}"
    );
    assert!(text.contains("\nusable with "), "{text}");
    let problem = "cannot write /etc/modules-load.d/ipvs.conf: ";
    assert_eq!(text.matches(problem).count(), 1, "{text}");
    assert_eq!(text.matches("(os error ").count(), 1, "{text}");
}

#[test]
fn advice_is_in_the_log_of_a_proxier_too() {
    let namespace = NetNs::new("pf-advice").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let done = run_kube_proxy(&namespace, &[&*manifests, "--once", "--masquerade-all"]).unwrap();
    let log = String::from_utf8(done.stderr).unwrap();
    assert!(log.contains("INFO masquerade-all: "), "{log}");
    assert!(log.contains("use --cluster-cidr instead"), "{log}");
}
