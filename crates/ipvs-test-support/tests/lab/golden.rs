//! States that the real kube-proxy made of the same objects: ours must be the same, but for the order of
//! rules that quirk 16 is about.

use std::fs;
use std::path::{Path, PathBuf};

use ipvs_test_support::run_kube_proxy;

use crate::recorded::{State, folder, recorded_namespace};

/// Of one case, with one set of arguments.
fn same_state(case: &Path, arguments: &str) {
    let recorded = case.join(arguments);
    let input = case.join("input.yaml");
    let case = case.file_name().unwrap().to_str().unwrap();
    let namespace = recorded_namespace(&format!("golden-{}-{arguments}", &case[..2]));
    let line = fs::read_to_string(recorded.join("args")).unwrap();
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    let manifests = format!("--manifests={}", input.display());
    arguments.extend([manifests.as_str(), "--once"]);

    let output = run_kube_proxy(&namespace, &arguments).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for again in [false, true] {
        let state = State::of(&namespace);
        state.assert_same(
            &State::read(&recorded).in_our_order(),
            &format!("{case} {line} again: {again}"),
        );
        let output = run_kube_proxy(&namespace, &arguments).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(
            !log.contains("synced"),
            "{case}: a second sync did something\n{log}"
        );
    }
}

macro_rules! cases {
    ($($name:ident = $case:literal,)*) => {$(
        mod $name {
            #[test]
            fn with_cluster_cidr() {
                super::same_state(&super::folder().join($case), "default");
            }

            #[test]
            fn with_masquerade_all() {
                super::same_state(&super::folder().join($case), "masquerade-all");
            }
        }
    )*};
}

cases! {
    row_027_clusterip_tcp = "01-clusterip-tcp",
    clusterip_udp = "02-clusterip-udp",
    row_035_headless = "04-headless",
    row_069_nodeport = "05-nodeport",
    row_055_load_balancer = "06-lb-ingress",
    row_047_external_ips = "08-external-ips",
    row_042_session_affinity = "09-session-affinity",
    row_058_external_policy_local = "10-etp-local",
    row_086_terminating = "12-terminating",
    row_028_no_endpoints = "13-no-endpoints",
    row_114_ipv6 = "14-ipv6",
    row_056_ip_mode = "16-lb-ipmode",
    row_035_ignored = "18-ignored",
}

/// States that were recorded elsewhere.
#[test]
#[ignore = "cargo xtask golden --cases FOLDER runs it"]
fn every_case_of_a_folder() {
    let folder = std::env::var_os("IPVS_GOLDEN").expect("IPVS_GOLDEN names the folder");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut compared = 0;
    for case in entries(Path::new(&folder)) {
        if !case.join("input.yaml").is_file() {
            continue;
        }
        for recorded in entries(&case) {
            if recorded.join("args").is_file() {
                same_state(&case, recorded.file_name().unwrap().to_str().unwrap());
                compared += 1;
            }
        }
    }
    println!("{compared} states are the same");
    assert!(compared > 0, "no case in {}", Path::new(&folder).display());
}

#[test]
fn row_132_and_133_clean_up_leaves_what_is_foreign() {
    let namespace = recorded_namespace("clean-up");
    namespace
        .output(
            "iptables",
            &["-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"],
        )
        .unwrap();
    namespace
        .output("iptables", &["-N", "KUBE-FIREWALL"])
        .unwrap();
    namespace
        .output("ipset", &["create", "mine", "hash:ip"])
        .unwrap();
    let before = State::of(&namespace);

    let input = format!(
        "--manifests={}",
        folder().join("01-clusterip-tcp/input.yaml").display()
    );
    let output = run_kube_proxy(&namespace, &[input.as_str(), "--once"]).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let virtual_servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(
        virtual_servers.contains("10.96.1.1:80"),
        "{virtual_servers}"
    );

    for _ in 0..2 {
        let output = run_kube_proxy(&namespace, &["--cleanup"]).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        State::of(&namespace).assert_same(&before, "after clean-up");
        assert!(
            namespace
                .output("ip", &["link", "show", "kube-ipvs0"])
                .is_err(),
            "the link is gone"
        );
    }
}
