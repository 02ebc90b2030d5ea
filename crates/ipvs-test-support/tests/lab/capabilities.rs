//! Which capabilities each feature needs: it works with those alone, and without any one of them it says which is missing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ipvs_test_support::{
    Cluster, NetNs, RunningProxier, ask_tcp, eventually, example, iptables_is_legacy, kube_proxy,
};

use crate::changes::{POD_A, POD_B, web};
use crate::nftables::lab_has_nftables;
use crate::packets::{CIDR, addr};
use crate::shop::shop;

/// A program as a user without a name, in group 0 for the files of iptables, which gets no new privileges.
fn confined(capabilities: &[&str], program: &Path) -> Command {
    let words = [program.display().to_string()];
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65532",
            "--regid=0",
            "--clear-groups",
            "--no-new-privs",
        ])
        .args(sets(capabilities))
        .args(words);
    command
}

fn sets(capabilities: &[&str]) -> [String; 3] {
    let set: String = capabilities
        .iter()
        .map(|capability| format!(",+{capability}"))
        .collect();
    ["inh-caps", "ambient-caps", "bounding-set"].map(|name| format!("--{name}=-all{set}"))
}

/// The lock of iptables where such a user may write.
fn lock() -> tempfile::NamedTempFile {
    let lock = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(lock.path(), PermissionsExt::from_mode(0o660)).unwrap();
    lock
}

const BOTH: [(&str, &str); 2] = [("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW")];

struct Feature {
    program: &'static str,
    words: Vec<String>,
    /// And what is said where one is missing.
    needs: &'static [(&'static str, &'static str)],
}

#[test]
fn each_feature_needs_its_capabilities_and_says_which_it_lacks() {
    let namespace = NetNs::new("caps").unwrap();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let node = ["--hostname-override=node-0", "--conntrack-max-per-core=0"];
    let iptables = "--filter=iptables";
    let mut features = vec![
        Feature {
            program: "kube-proxy",
            words: words(&[node[0], node[1], &shop(), "--once", iptables]),
            needs: &BOTH,
        },
        Feature {
            program: "ipvsadm",
            words: words(&["-L", "-n"]),
            needs: &[("net_admin", "Permission denied (you must be root)")],
        },
        Feature {
            program: "preflight",
            words: words(&[iptables]),
            needs: &BOTH,
        },
        Feature {
            program: "kube-proxy",
            words: words(&["--cleanup"]),
            // Without CAP_NET_RAW neither back end lists rules with sets.
            needs: if iptables_is_legacy().unwrap() {
                &[
                    BOTH[0],
                    (
                        "net_raw",
                        "IPv4 rules: cannot be read: iptables-legacy-save",
                    ),
                ]
            } else {
                &BOTH
            },
        },
    ];
    if lab_has_nftables() {
        features.push(Feature {
            program: "kube-proxy",
            words: words(&[node[0], node[1], &shop(), "--once", "--filter=nftables"]),
            needs: &BOTH[..1],
        });
    }
    // Sysctls belong to root, in a container to its init container.
    let init = [node[0], node[1], "--init-only"];
    let prepared = namespace.output(&kube_proxy().display().to_string(), &init);
    prepared.unwrap();
    let lock = lock();
    let run = |feature: &Feature, capabilities: &[&str]| -> Output {
        let mut command = confined(capabilities, &example(feature.program));
        command
            .args(&feature.words)
            .env("XTABLES_LOCKFILE", lock.path());
        namespace.run(|| command.output().unwrap()).unwrap()
    };
    for feature in &features {
        let all: Vec<&str> = feature
            .needs
            .iter()
            .map(|(capability, _)| *capability)
            .collect();
        let what = format!("{} {}", feature.program, feature.words.join(" "));
        for (missing, says) in feature.needs {
            let others: Vec<&str> = all.iter().filter(|one| *one != missing).copied().collect();
            let output = run(feature, &others);
            let said = [&output.stdout[..], &output.stderr[..]].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!output.status.success(), "{what} without {missing}: {said}");
            assert!(said.contains(says), "{what} without {missing}: {said}");
        }
        let output = run(feature, &all);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {log}");
    }
}

/// As `deploy/` runs it: nothing can be written but in memory, and the file system of the machine least of all.
#[test]
fn it_serves_with_two_capabilities_on_a_read_only_file_system() {
    let cluster = Cluster::new("caps-ro").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (file, log) = (folder.path().join("web.yaml"), folder.path().join("log"));
    std::fs::write(&file, web(POD_A)).unwrap();
    let init = [
        "--hostname-override=node-0",
        "--conntrack-max-per-core=0",
        "--init-only",
    ];
    let prepared = cluster
        .node
        .output(&kube_proxy().display().to_string(), &init);
    prepared.unwrap();
    let lock = lock();
    // In the lab some folders are file systems of their own.
    let read_only = "mount -o remount,bind,ro / && \
                     for place in /etc /usr /var /boot /opt; do mount -o remount,bind,ro $place 2>/dev/null; done; \
                     ! touch /etc/ipvs-test 2>/dev/null && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", read_only, "sh"]);
    let inner = confined(&["net_admin", "net_raw"], &kube_proxy());
    command.arg(inner.get_program()).args(inner.get_args());
    command
        .args([
            CIDR,
            "--hostname-override=node-0",
            "--conntrack-max-per-core=0",
        ])
        .args(["--ipvs-min-sync-period=0s", "--ipvs-sync-period=2s"])
        .arg(format!("--manifests={}", file.display()))
        .env("XTABLES_LOCKFILE", lock.path());
    let _proxier = RunningProxier::start_command(&cluster.node, command, &log).unwrap();
    for (endpoints, pod) in [(POD_A, "pod-a"), (POD_B, "pod-b")] {
        std::fs::write(&file, web(endpoints)).unwrap();
        let answered = eventually(Duration::from_secs(60), || {
            let answer = ask_tcp(&cluster.client, addr("10.96.0.10:80"))?;
            anyhow::ensure!(answer.pod == pod, "{answer:?}");
            Ok(())
        });
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        answered.unwrap_or_else(|error| panic!("{error:#}: {}", said()));
    }
    // It resyncs, too.
    cluster
        .node
        .output("ipvsadm", &["-D", "-t", "10.96.0.10:80"])
        .unwrap();
    let back = eventually(Duration::from_secs(30), || {
        ask_tcp(&cluster.client, addr("10.96.0.10:80"))
    });
    assert_eq!(back.unwrap().pod, "pod-b");
}
