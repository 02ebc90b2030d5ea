//! Reports of whole systems. The lists of modules have what the rules ask for: those of Debian 11 to 13 and its backports are of
//! the kernels' packages (`trees/modules.sh`), the others are written by hand after what these systems come with, as are all other
//! files.

mod tree;

use std::fs;

use ipvs_probe::{
    Attempt, Facts, ModuleState, Needs, NoPrograms, Profile, Report, Severity, Step, check, mend,
    steps, steps_at_start,
};

use crate::tree::{facts, text, unpack, without};

fn report(name: &str, needs: &Needs) -> Report {
    check(&facts(&text(name)), needs)
}

fn page(name: &str) -> String {
    report(name, &Needs::default()).page(false).to_string()
}

macro_rules! systems {
    ($($test:ident = $name:literal,)*) => {$(
        #[test]
        fn $test() {
            insta::assert_snapshot!($name, page($name));
        }
    )*};
}

systems! {
    centos_7 = "centos-7",
    ubuntu_18_04 = "ubuntu-18.04",
    debian_10 = "debian-10",
    rhel_8 = "rhel-8",
    ubuntu_20_04 = "ubuntu-20.04",
    debian_11 = "debian-11",
    ubuntu_22_04 = "ubuntu-22.04",
    debian_12 = "debian-12",
    debian_13 = "debian-13",
    debian_13_with_a_kernel_of_backports = "debian-13-backports",
    rhel_10 = "rhel-10",
    a_container = "container",
    a_user_namespace = "user-namespace",
}

/// Kernels of RHEL 8 and its likes, all of them "4.18.0": (distribution, release, nf_conntrack_ipv4 is a module of its own).
/// Which have it, and which have ip_vs_mh, is read off their configurations (`CONFIG_NF_CONNTRACK_IPV4`, `CONFIG_IP_VS_MH`).
const EL_8: [(&str, &str, bool); 4] = [
    (
        "Red Hat Enterprise Linux 8.1 (Ootpa)",
        "4.18.0-147.57.1.el8_1.x86_64",
        true,
    ),
    ("CentOS Linux 8", "4.18.0-240.1.1.el8_3.x86_64", false),
    (
        "AlmaLinux 8.7 (Stone Smilodon)",
        "4.18.0-425.10.1.el8_7.x86_64",
        false,
    ),
    (
        "Rocky Linux 8.10 (Green Obsidian)",
        "4.18.0-553.el8_10.x86_64",
        false,
    ),
];

/// The tree of RHEL 8.10 with what differs.
fn el_8((distribution, release, of_its_own): (&str, &str, bool)) -> String {
    let mut text = text("rhel-8")
        .replace("Red Hat Enterprise Linux 8.10 (Ootpa)", distribution)
        .replace("4.18.0-553.el8_10.x86_64", release);
    if of_its_own {
        let merged = "kernel/net/netfilter/nf_conntrack.ko.xz: \n";
        let of_its_own = "kernel/net/ipv4/netfilter/nf_conntrack_ipv4.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz\n";
        text = text.replacen(merged, &format!("{merged}{of_its_own}"), 1);
        assert!(text.contains("nf_conntrack_ipv4"));
    }
    if release.contains("el8_1.") || release.contains("el8_3.") {
        text = without(&text, &["ip_vs_mh"]);
    }
    text
}

/// kube-proxy judged by the release, and asked for a module that RHEL 8.3 no longer has: kubernetes #97052.
#[test]
fn connection_tracking_of_rhel_8_is_what_its_files_show() {
    for system in EL_8 {
        let facts = facts(&el_8(system));
        assert_eq!(facts.kernel, system.1);
        let report = check(&facts, &Needs::default());
        let blocking: Vec<&str> = report
            .of(Severity::Blocks)
            .map(|finding| finding.rule.id)
            .collect();
        assert_eq!(blocking, ["ip_vs", "ip_forward"], "{system:?}");
        let of_1_8 = Needs {
            profile: Profile::Kube18,
            ..Needs::default()
        };
        let page = check(&facts, &of_1_8).page(false).to_string();
        let loads = format!(
            "modprobe -a ip_vs ip_vs_rr ip_vs_sh ip_vs_wrr{}\n",
            if system.2 { " nf_conntrack_ipv4" } else { "" }
        );
        assert!(page.contains(&loads), "{system:?}: {page}");
    }
}

/// Without lists of modules the release is all there is.
#[test]
fn connection_tracking_where_no_file_tells() {
    let of_1_8 = Needs {
        profile: Profile::Kube18,
        ..Needs::default()
    };
    let missing = |release: &str| {
        let text = format!("=== /proc/sys/kernel/osrelease\n{release}\n=== /proc/modules\n");
        let report = check(&facts(&text), &of_1_8);
        let ids: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| finding.rule.id)
            .collect();
        assert!(!ids.contains(&"nf_conntrack"), "it may be there: {ids:?}");
        report.page(false).to_string()
    };
    for (release, module) in [
        ("3.10.0-1160.el7.x86_64", "nf_conntrack_ipv4"),
        ("4.15.0-213-generic", "nf_conntrack_ipv4"),
        ("4.18.0-553.el8_10.x86_64", "nf_conntrack"),
        ("5.15.0-91-generic", "nf_conntrack"),
    ] {
        let page = missing(release);
        assert!(page.contains(&format!(" {module}]")), "{release}: {page}");
    }
}

/// RHEL 7 has it in its 3.10; kernels that show IPVS without it do not.
#[test]
fn conn_reuse_mode_where_the_kernel_has_it() {
    let asks = |release: &str, of_ipvs: &[&str]| {
        let mut text = format!("=== /proc/sys/kernel/osrelease\n{release}\n");
        for name in of_ipvs {
            text += &format!("=== /proc/sys/net/ipv4/vs/{name}\n1\n");
        }
        let (_tree, root) = unpack(&text);
        let facts = Facts::gather(&root, &mut NoPrograms);
        let mut steps = steps_at_start(&facts, &Needs::default()).into_iter();
        steps.any(|(step, _)| step.to_string().contains("conn_reuse_mode"))
    };
    assert!(asks(
        "3.10.0-1160.el7.x86_64",
        &["conntrack", "conn_reuse_mode"]
    ));
    assert!(!asks("3.10.0-1160.el7.x86_64", &["conntrack"]));
    assert!(!asks("5.4.0", &["conntrack"]));
    assert!(asks("5.4.0", &[]), "IPVS is not loaded yet");
    assert!(!asks("3.10.0", &[]), "likewise");
    assert!(!asks("5.15.0", &["conntrack", "conn_reuse_mode"]));
}

#[test]
fn the_list_of_kube_proxy_1_8_and_its_error() {
    let needs = Needs {
        profile: Profile::Kube18,
        ..Needs::default()
    };
    let text = report("ubuntu-20.04", &needs).page(false).to_string();
    assert!(
        text.contains("failed to load kernel modules: [ip_vs_sh ip_vs_wrr]"),
        "{text}"
    );
    let text = report("ubuntu-18.04", &needs).page(false).to_string();
    assert!(text.contains("ip_vs_wrr nf_conntrack_ipv4]"), "{text}");
}

#[test]
fn everything_that_is_needed_only_when_asked_for() {
    let needs = Needs {
        strict_arp: true,
        ipv6: true,
        masquerade_all: true,
        ..Needs::default()
    };
    let report = report("ubuntu-22.04", &needs);
    let ids: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.rule.id)
        .collect();
    assert_eq!(
        ids,
        [
            "ipv6-forwarding",
            "arp_ignore",
            "arp_announce",
            "br_netfilter-later",
            "masquerade-all"
        ]
    );
}

#[test]
fn what_the_kernel_answers_is_told() {
    let (_tree, root) = unpack(&text("ubuntu-22.04"));
    let mut facts = Facts::gather(&root, &mut NoPrograms);
    let findings = |facts: &Facts| {
        let report = check(facts, &Needs::default());
        let lines = report
            .findings
            .iter()
            .filter(|finding| finding.rule.id != "br_netfilter-later")
            .map(|finding| format!("{}: {}", finding.rule.id, finding.remedy));
        lines.collect::<Vec<_>>()
    };
    facts.ipvs = Attempt::Works { tcp_timeout: 900 };
    assert_eq!(
        findings(&facts),
        [
            "timeouts: sysctl -w net.ipv4.tcp_keepalive_time=450 where clients and pods run, or a longer `ipvsadm --set`"
        ]
    );
    facts.ipvs = Attempt::NoScheduler("no".to_owned());
    assert_eq!(findings(&facts), ["ipvs: modprobe ip_vs_rr"]);
    let module = facts.modules.get_mut("ip_vs_rr").unwrap();
    module.state = ModuleState::Absent;
    assert!(
        findings(&facts)
            .iter()
            .all(|line| !line.contains("modprobe"))
    );
    facts.modules = Facts::gather(&root, &mut NoPrograms).modules;
    facts.ipvs = Attempt::NotPermitted("EPERM".to_owned());
    assert!(findings(&facts)[0].contains("outside of user namespaces"));
}

/// One timer reads `servers × CPUs` counters.
#[test]
fn many_servers_on_many_cpus() {
    let mut facts = facts(&text("ubuntu-20.04"));
    let has = |facts: &Facts, id: &str| {
        let report = check(facts, &Needs::default());
        report.findings.iter().any(|finding| finding.rule.id == id)
    };
    facts.servers = (2_000, 20_000);
    assert!(!has(&facts, "estimators"));
    facts.cpus = 64;
    assert!(has(&facts, "estimators"));
    facts
        .sysctls
        .insert("net.ipv4.vs.run_estimation", Some("0".to_owned()));
    assert!(!has(&facts, "estimators"));
    facts.sysctls.insert("net.ipv4.vs.run_estimation", None);
    facts
        .sysctls
        .insert("net.ipv4.vs.est_nice", Some("0".to_owned()));
    assert!(!has(&facts, "estimators"), "threads, whatever the release");
    for value in facts.sysctls.values_mut() {
        *value = None;
    }
    assert!(has(&facts, "estimators"), "only the release is left");
    facts.kernel = "6.2.0".to_owned();
    assert!(!has(&facts, "estimators"));
    assert!(!has(&facts, "set-size"));
    facts.servers = (70_000, 0);
    assert!(has(&facts, "set-size"));
}

/// Everything but loading modules, which needs a kernel: it stands in the lab.
#[test]
fn mended_once_nothing_is_left() {
    let (tree, root) = unpack(&text("ubuntu-20.04"));
    let needs = Needs::default();
    let gather = || Facts::gather(&root, &mut NoPrograms);
    let plan = |facts: &Facts| steps(&root, facts, &needs, &check(facts, &needs));
    let todo: Vec<String> = plan(&gather()).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("steps of ubuntu-20.04", todo.join("\n"));
    for step in plan(&gather()) {
        mend(&root, &mut NoPrograms, &step).unwrap();
    }
    assert_eq!(plan(&gather()), []);
    assert_eq!(check(&gather(), &needs).findings.len(), 0);
    let read = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
    assert!(read("etc/modules-load.d/ipvs.conf").contains("\nip_vs_rr\n"));
    assert!(read("etc/sysctl.d/90-ipvs.conf").contains("net.ipv4.vs.conn_reuse_mode = 0\n"));
}

#[test]
fn systems_before_systemd_get_a_script() {
    let (tree, root) = unpack(&text("centos-7"));
    fs::remove_dir_all(tree.path().join("etc/modules-load.d")).unwrap();
    let needs = Needs::default();
    let facts = Facts::gather(&root, &mut NoPrograms);
    let steps = steps(&root, &facts, &needs, &check(&facts, &needs));
    let script = steps.iter().find_map(|step| match step {
        Step::Write {
            path,
            content,
            mode,
        } => Some((path, content, mode)),
        _ => None,
    });
    let (path, content, mode) = script.unwrap();
    assert_eq!(path, "/etc/sysconfig/modules/ipvs.modules");
    assert!(content.starts_with("#!/bin/bash\n") && content.contains("modprobe -- ip_vs_rr\n"));
    assert_eq!(*mode, 0o755);
    assert!(
        !steps
            .iter()
            .any(|step| step.to_string().contains("setenforce"))
    );
}
