//! Reports of whole systems. A tree is a text file: `=== /path`, then the content of that file. The lists of modules have
//! what the rules ask for: those of Debian 11 to 13 are of the kernels' packages, the others are written by hand after what
//! these systems come with, as are all other files.

use std::fs;
use std::path::Path;

use ipvs_probe::{
    Attempt, Facts, Needs, NoPrograms, Profile, Report, Root, Step, check, mend, steps,
};

fn unpack(name: &str) -> (tempfile::TempDir, Root) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let text = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    let tree = tempfile::tempdir().unwrap();
    for file in text.split("=== ").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        let path = tree.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = Root::below(tree.path());
    (tree, root)
}

fn report(name: &str, needs: &Needs) -> Report {
    let (_tree, root) = unpack(name);
    check(&Facts::gather(&root, &mut NoPrograms), needs)
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
    rhel_10 = "rhel-10",
    a_container = "container",
    a_user_namespace = "user-namespace",
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
            "masquerade-all"
        ]
    );
}

#[test]
fn what_the_kernel_answers_is_told() {
    let (_tree, root) = unpack("ubuntu-22.04");
    let mut facts = Facts::gather(&root, &mut NoPrograms);
    let findings = |facts: &Facts| {
        let report = check(facts, &Needs::default());
        let lines = report
            .findings
            .iter()
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
    facts.ipvs = Attempt::NotPermitted("EPERM".to_owned());
    assert!(findings(&facts)[0].contains("outside of user namespaces"));
}

/// One timer reads `servers × CPUs` counters.
#[test]
fn many_servers_on_many_cpus() {
    let (_tree, root) = unpack("ubuntu-20.04");
    let mut facts = Facts::gather(&root, &mut NoPrograms);
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
    assert!(!has(&facts, "set-size"));
    facts.servers = (70_000, 0);
    assert!(has(&facts, "set-size"));
}

/// Everything but loading modules, which needs a kernel: it stands in the lab.
#[test]
fn mended_once_nothing_is_left() {
    let (tree, root) = unpack("ubuntu-20.04");
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
    let (_tree, root) = unpack("centos-7");
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
