//! The reference proxier as a process: exit codes, errors, foreign state.

use std::time::Duration;

use anyhow::Context as _;
use ipvs_test_support::{NetNs, RunningProxier, eventually, kube_proxy, run_kube_proxy, workspace};

use crate::shop::{run, shop};

#[test]
fn row_007_an_unknown_scheduler_is_an_error_and_leaves_nothing() {
    let namespace = NetNs::new("pr-sched").unwrap();
    let (ok, log) = run(&namespace, &[&shop(), "--once", "--ipvs-scheduler=nope"]);
    let told = "ip_vs_nope: no scheduler of Linux, and no module of this kernel";
    assert!(!ok && log.contains(told), "{log}");
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
    assert_eq!(namespace.output("ipset", &["save"]).unwrap(), "");
}

/// kube-proxy starts one for each set and member; here sets go by netlink.
#[test]
fn row_002_and_003_the_ipset_program_may_be_missing_or_old() {
    let namespace = NetNs::new("pr-noset").unwrap();
    let programs = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir("/usr/sbin").unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().contains("tables") {
            let link = programs.path().join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
    let run = || {
        let mut command = std::process::Command::new(kube_proxy());
        command
            .args([&shop(), "--once", "--hostname-override=node-0"])
            .env("PATH", programs.path());
        command.output().unwrap()
    };
    let output = namespace.run(run).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let sets = namespace.output("ipset", &["list", "-n"]).unwrap();
    assert!(sets.contains("KUBE-CLUSTER-IP"), "{sets}");
}

#[test]
fn row_004_the_probe_leaves_nothing() {
    let namespace = NetNs::new("pr-probe").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ok, log) = run(
        &namespace,
        &[
            &format!("--manifests={}", folder.path().display()),
            "--once",
        ],
    );
    assert!(ok, "{log}");
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
}

/// The key that is probed is taken: a probe would fail.
#[test]
fn row_005_and_006_and_q14_kept_only_a_scheduler_that_is_not_in_use_is_probed() {
    let namespace = NetNs::new("pr-known").unwrap();
    let probed = ["-A", "-t", "198.51.100.0:20000", "-s", "rr"];
    namespace.output("ipvsadm", &probed).unwrap();
    let exclude = "--ipvs-exclude-cidrs=198.51.100.0/24";
    let (ok, log) = run(&namespace, &[&shop(), "--once", exclude]);
    assert!(ok, "{log}");
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(table.contains("-A -t 198.51.100.0:20000 -s rr"), "{table}");
    let (ok, log) = run(
        &namespace,
        &[&shop(), "--once", exclude, "--ipvs-scheduler=wrr"],
    );
    assert!(
        !ok && log.contains("ipvsadm -D -t 198.51.100.0:20000"),
        "{log}"
    );
}

#[test]
fn what_others_made_is_kept_where_asked() {
    let namespace = NetNs::new("pr-foreign").unwrap();
    let theirs = ["-A", "-u", "4.4.4.4:56", "-s", "rr"];
    namespace.output("ipvsadm", &theirs).unwrap();
    assert!(run(&namespace, &[&shop(), "--once", "--foreign=keep"]).0);
    assert!(run(&namespace, &["--cleanup", "--foreign=keep"]).0);
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert_eq!(table, "-A -u 4.4.4.4:56 -s rr\n");
}

/// It is where a Service wants its own, beside another one that nobody has.
#[test]
fn what_others_have_of_a_service_is_kept_where_asked_and_otherwise_taken_over_and_told() {
    let namespace = NetNs::new("pr-theirs").unwrap();
    let output = |program: &str, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        namespace.output(program, &arguments).unwrap()
    };
    namespace
        .output("ip", &["link", "set", "lo", "up"])
        .unwrap();
    output("ipvsadm", "-A -t 10.96.0.77:80 -s wlc");
    output("ipvsadm", "-a -t 10.96.0.77:80 -r 198.51.100.1:80 -m");
    let theirs = output("ipvsadm", "-S -n");
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web.yaml");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.77, \
                   ports: [{name: a, port: 80}, {name: b, port: 443}]}\n";
    std::fs::write(&web, service).unwrap();
    let web = format!("--manifests={}", web.display());
    for _ in 0..2 {
        let (ok, log) = run(&namespace, &[&web, "--once", "--foreign=keep"]);
        assert!(
            ok && log.contains("somebody else's virtual server"),
            "{log}"
        );
        let table = output("ipvsadm", "-S -n");
        assert!(table.contains("-A -t 10.96.0.77:443 -s rr"), "{table}");
        let left = table.lines().filter(|line| !line.contains(":443"));
        assert_eq!(left.collect::<Vec<_>>(), theirs.lines().collect::<Vec<_>>());
        let sets = output("ipset", "save");
        assert!(!sets.contains("tcp:80"), "{sets}");
        assert!(!sets.contains("IPVS-IPS 10.96.0.77"), "{sets}");
    }
    let (ok, log) = run(&namespace, &[&web, "--once"]);
    assert!(ok && log.contains("is taken over"), "{log}");
    let table = output("ipvsadm", "-S -n");
    assert!(table.contains("-A -t 10.96.0.77:80 -s rr"), "{table}");
    assert!(output("ipset", "save").contains("10.96.0.77,tcp:80"));
    let (ok, log) = run(&namespace, &[&web, "--once", "--foreign=keep"]);
    assert!(ok && !log.contains("somebody else's"), "{log}");
}

#[test]
fn row_011_and_015_sysctls_and_timeouts_are_set() {
    let namespace = NetNs::new("pr-sysctl").unwrap();
    let (ok, log) = run(
        &namespace,
        &[
            "--init-only",
            "--ipvs-tcp-timeout=15m30s",
            "--ipvs-strict-arp",
            "--conntrack-tcp-be-liberal",
            "--conntrack-udp-timeout=45s",
            "--conntrack-udp-timeout-stream=3m",
        ],
    );
    assert!(ok, "{log}");
    for (name, value) in [
        ("net.ipv4.vs.conntrack", "1"),
        ("net.ipv4.vs.expire_nodest_conn", "1"),
        ("net.ipv4.vs.expire_quiescent_template", "1"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.conf.all.arp_announce", "2"),
        ("net.netfilter.nf_conntrack_tcp_timeout_close_wait", "3600"),
        ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
        ("net.netfilter.nf_conntrack_udp_timeout", "45"),
        ("net.netfilter.nf_conntrack_udp_timeout_stream", "180"),
    ] {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        assert_eq!(
            namespace.output("cat", &[&path]).unwrap().trim(),
            value,
            "{name}"
        );
    }
    let timeouts = namespace.output("ipvsadm", &["-l", "--timeout"]).unwrap();
    assert!(timeouts.contains("930 120 300"), "{timeouts}");
    assert!(
        namespace
            .output("ip", &["link", "show", "kube-ipvs0"])
            .is_err(),
        "nothing but sysctls"
    );
}

#[test]
fn a_conntrack_limit_that_cannot_be_set_is_a_warning() {
    let namespace = NetNs::new("pr-limit").unwrap();
    let (ok, log) = run(
        &namespace,
        &["--init-only", "--conntrack-max-per-core=32768"],
    );
    assert!(
        ok && log.contains("nf_conntrack_max") && log.contains("going on without"),
        "{log}"
    );
}

#[test]
fn bad_input_is_named_and_nothing_is_lost() {
    let namespace = NetNs::new("pr-bad").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(workspace().join("examples/manifests/web.yaml")).unwrap();
    let file = folder.path().join("web.yaml");
    let manifests = format!("--manifests={}", folder.path().display());
    std::fs::write(&file, &good).unwrap();
    assert!(run(&namespace, &[&manifests, "--once"]).0);
    let before = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();

    std::fs::write(&file, good.replace("port: 80,", "port: 80000,")).unwrap();
    let (ok, log) = run(&namespace, &[&manifests, "--once"]);
    assert!(
        !ok && log.contains("web.yaml, document 1: spec.ports[0].port: 80000"),
        "{log}"
    );
    let (ok, log) = run(&namespace, &["--manifests=/nowhere", "--once"]);
    assert!(!ok && log.contains("/nowhere"), "{log}");
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), before);
}

#[test]
fn row_129_and_130_foreign_virtual_servers_and_addresses_are_removed() {
    let namespace = NetNs::new("pr-foreign").unwrap();
    assert!(run(&namespace, &[&shop(), "--once"]).0);
    namespace
        .output("ipvsadm", &["-A", "-u", "4.4.4.4:56", "-s", "rr"])
        .unwrap();
    namespace
        .output("ipvsadm", &["-A", "-f", "7", "-s", "rr"])
        .unwrap();
    let exclude = "--ipvs-exclude-cidrs=4.4.4.4/32";
    assert!(run(&namespace, &[&shop(), "--once", exclude]).0);
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(table.contains("-A -u 4.4.4.4:56"), "{table}");
    namespace.ip("addr add 4.4.4.4/32 dev kube-ipvs0").unwrap();
    namespace
        .output("ipset", &["add", "KUBE-CLUSTER-IP", "4.4.4.4,tcp:1"])
        .unwrap();
    namespace
        .output("ipset", &["del", "KUBE-CLUSTER-IP", "10.96.0.10,tcp:80"])
        .unwrap();
    namespace
        .output("ipvsadm", &["-D", "-t", "10.96.0.10:80"])
        .unwrap();
    namespace
        .output("iptables", &["-t", "nat", "-F", "KUBE-SERVICES"])
        .unwrap();
    let (ok, log) = run(&namespace, &[&shop(), "--once"]);
    assert!(ok, "{log}");
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(
        !table.contains("4.4.4.4") && table.contains("-t 10.96.0.10:80 -r"),
        "{table}"
    );
    assert!(
        table.contains("-A -f 7"),
        "services by firewall mark are never ours: {table}"
    );
    let sets = namespace.output("ipset", &["save"]).unwrap();
    assert!(
        !sets.contains("4.4.4.4") && sets.contains("10.96.0.10,tcp:80"),
        "{sets}"
    );
    assert!(
        !namespace
            .output("ip", &["addr"])
            .unwrap()
            .contains("4.4.4.4")
    );
    let rules = namespace.output("iptables-save", &["-t", "nat"]).unwrap();
    assert!(
        rules.contains("-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN"),
        "{rules}"
    );
}

#[test]
fn row_046_another_scheduler_is_set_in_place() {
    let namespace = NetNs::new("pr-inplace").unwrap();
    assert!(run(&namespace, &[&shop(), "--once"]).0);
    assert!(run(&namespace, &[&shop(), "--once", "--ipvs-scheduler=mh"]).0);
    let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(
        table.contains("-A -t 10.96.0.10:80 -s mh -b mh-port"),
        "{table}"
    );
    assert!(
        table.contains("-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1"),
        "{table}"
    );
}

#[test]
fn a_dry_run_of_the_clean_up_changes_nothing() {
    let namespace = NetNs::new("pr-dry").unwrap();
    assert!(run(&namespace, &[&shop(), "--once"]).0);
    let before = namespace.output("ipset", &["save"]).unwrap();
    let output = run_kube_proxy(&namespace, &["--cleanup", "--dry-run"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("delete dummy interface") && text.contains("destroy set KUBE-6-CLUSTER-IP"),
        "{text}"
    );
    assert_eq!(namespace.output("ipset", &["save"]).unwrap(), before);
}

#[test]
fn a_dry_run_tells_what_a_service_does_not_get_and_no_conflict_with_itself() {
    let namespace = NetNs::new("pr-drytell").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web.yaml");
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, \
                   clusterIP: 10.96.0.77, externalIPs: [203.0.113.5], ports: [{port: 80}]}\n\
                   status: {loadBalancer: {ingress: [{ip: 203.0.113.5}, {ip: 127.0.0.1}]}}\n";
    std::fs::write(&web, service).unwrap();
    let web = format!("--manifests={}", web.display());
    let (ok, log) = run(&namespace, &[&web, "--dry-run"]);
    assert!(ok, "{log}");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    let expected = "Service default/web: status.loadBalancer.ingress[1].ip: 127.0.0.1";
    assert!(warnings[0].contains(expected), "{log}");
}

#[test]
fn row_017_init_only_sets_sysctls_and_makes_nothing() {
    let namespace = NetNs::new("pr-init").unwrap();
    let (ok, log) = run(&namespace, &[&shop(), "--init-only"]);
    assert!(ok, "{log}");
    let forward = namespace.output("cat", &["/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(forward.unwrap(), "1\n");
    assert_eq!(namespace.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
    assert_eq!(namespace.output("ipset", &["save"]).unwrap(), "");
    let links = namespace.output("ip", &["link"]).unwrap();
    assert!(!links.contains("kube-ipvs0"), "{links}");
    let rules = namespace.output("iptables-save", &[]).unwrap();
    assert!(!rules.contains("KUBE"), "{rules}");
}

#[test]
fn row_021_a_configuration_file_that_changes_ends_the_process() {
    let namespace = NetNs::new("pr-config").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("config.conf"), folder.path().join("log"));
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n\
                ipvs: {scheduler: lc}\nconntrack: {maxPerCore: 0}\n";
    std::fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    let arguments = [config.as_str(), &shop()];
    let mut proxier = RunningProxier::start(&namespace, &arguments, &log).unwrap();
    let patience = Duration::from_secs(60);
    eventually(patience, || {
        let table = namespace.output("ipvsadm", &["-S", "-n"])?;
        anyhow::ensure!(table.contains("-A -t 10.96.0.10:80 -s lc"), "{table}");
        Ok(())
    })
    .unwrap();
    std::fs::write(&file, text.replace("lc", "rr")).unwrap();
    let status = eventually(patience, || {
        let text = std::fs::read_to_string(&log)?;
        proxier
            .ended()?
            .with_context(|| format!("it goes on: {text}"))
    });
    assert!(!status.unwrap().success());
}
