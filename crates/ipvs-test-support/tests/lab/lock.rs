//! The lock of iptables, held by others: waited for, and called what it is.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipvs_test_support::{Need, NetNs, RunningProxier, command, eventually, is_skipped_without};

use crate::metrics::get;

const PATIENCE: Duration = Duration::from_secs(60);
const WAITS: &str = "waiting for the xtables lock, held by others";

fn service(name: &str, last: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.{last}, ports: [{{port: 80}}]}}\n"
    )
}

/// Takes the lock, as a firewall does that restores many rules.
fn hold(lock: &Path) -> File {
    let file = File::create(lock).unwrap();
    file.lock().unwrap();
    file
}

fn proxier(folder: &Path, arguments: &[&str]) -> Command {
    let manifests = format!("--manifests={}", folder.join("objects").display());
    let mut all = vec![manifests.as_str(), "--iptables-backend=legacy"];
    all.extend_from_slice(arguments);
    let mut command = command(&all);
    command.env("XTABLES_LOCKFILE", folder.join("lock"));
    command
}

fn serves(namespace: &NetNs, address: &str) -> Result<()> {
    let table = namespace.output("ipvsadm", &["-S", "-n"])?;
    ensure!(table.contains(address), "{table}");
    Ok(())
}

fn says(log: &Path, words: &str) -> Result<()> {
    let text = fs::read_to_string(log)?;
    ensure!(text.contains(words), "not said: {words}: {text}");
    Ok(())
}

/// A folder with a lock and the objects of a proxier.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("objects")).unwrap();
    let one = service("a", 10);
    fs::write(folder.path().join("objects/a.yaml"), one).unwrap();
    folder
}

#[test]
fn a_lock_that_is_held_at_start_is_waited_for() {
    if is_skipped_without(Need::LegacyTables) {
        return;
    }
    let namespace = NetNs::new("lock-start").unwrap();
    let folder = folder();
    let folder = folder.path();
    let log = folder.join("log");
    for arguments in [&["--once"][..], &[]] {
        let held = hold(&folder.join("lock"));
        let command = proxier(folder, arguments);
        let mut running = RunningProxier::start_command(&namespace, command, &log).unwrap();
        eventually(PATIENCE, || says(&log, WAITS)).unwrap();
        // It is this process that holds it.
        says(&log, &format!("process {} (", std::process::id())).unwrap();
        assert!(running.ended().unwrap().is_none());
        drop(held);
        eventually(PATIENCE, || serves(&namespace, "10.96.0.10:80")).unwrap();
        if arguments.is_empty() {
            assert!(running.stop().unwrap().success());
        } else {
            let ended = || running.ended()?.context("it goes on");
            assert!(eventually(PATIENCE, ended).unwrap().success());
        }
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.matches(WAITS).count(), 1, "{text}");
        assert!(!text.contains("cannot proxy"), "{text}");
        namespace.output("ipvsadm", &["-C"]).unwrap();
    }
}

/// Whoever asks must not take it for dead and start it anew, nor send traffic.
#[test]
fn health_is_answered_while_the_lock_is_waited_for_at_start() {
    if is_skipped_without(Need::LegacyTables) {
        return;
    }
    let namespace = NetNs::new("lock-health").unwrap();
    namespace
        .output("ip", &["link", "set", "lo", "up"])
        .unwrap();
    let folder = folder();
    let (folder, log) = (folder.path(), folder.path().join("log"));
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-0}\n";
    fs::write(folder.join("objects/node.yaml"), node).unwrap();
    let held = hold(&folder.join("lock"));
    let command = proxier(folder, &[]);
    let _running = RunningProxier::start_command(&namespace, command, &log).unwrap();
    eventually(PATIENCE, || says(&log, WAITS)).unwrap();
    let answers = |path: &str, status: &str, words: &str| {
        let answer = get(&namespace, 10256, path)?;
        let is_right = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words);
        ensure!(is_right, "{path}: {answer}");
        Ok(())
    };
    let unready = "nothing was synced yet";
    eventually(PATIENCE, || answers("/livez", "200", "\"healthy\":true")).unwrap();
    eventually(PATIENCE, || answers("/healthz", "503", unready)).unwrap();
    let metrics = get(&namespace, 10249, "/metrics").unwrap();
    assert!(
        metrics.contains("kubeproxy_proxy_healthz_total{code=\"503\"}"),
        "{metrics}"
    );
    drop(held);
    eventually(PATIENCE, || answers("/healthz", "200", "IPv4")).unwrap();
    answers("/livez", "200", "IPv4").unwrap();
    let metrics = get(&namespace, 10249, "/metrics").unwrap();
    let of_family = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}";
    assert!(metrics.contains(of_family), "{metrics}");
}

/// One that was to do something to its end has failed then.
#[test]
fn a_proxier_that_waits_for_the_lock_can_be_stopped() {
    if is_skipped_without(Need::LegacyTables) {
        return;
    }
    let namespace = NetNs::new("lock-stop").unwrap();
    let folder = folder();
    let _held = hold(&folder.path().join("lock"));
    let log = folder.path().join("log");
    for (arguments, wanted) in [(&[][..], 0), (&["--once"], 1)] {
        let command = proxier(folder.path(), arguments);
        let running = RunningProxier::start_command(&namespace, command, &log).unwrap();
        eventually(PATIENCE, || says(&log, WAITS)).unwrap();
        let status = running.stop().unwrap();
        assert_eq!(
            status.code(),
            Some(wanted),
            "{:?}",
            fs::read_to_string(&log)
        );
    }
}

/// What needs no new rules goes on meanwhile.
#[test]
fn a_lock_that_is_held_during_a_sync_is_waited_for() {
    if is_skipped_without(Need::LegacyTables) {
        return;
    }
    let namespace = NetNs::new("lock-sync").unwrap();
    let folder = folder();
    let (folder, log) = (folder.path(), folder.path().join("log"));
    let command = proxier(folder, &["--ipvs-min-sync-period=0s"]);
    let _running = RunningProxier::start_command(&namespace, command, &log).unwrap();
    eventually(PATIENCE, || serves(&namespace, "10.96.0.10:80")).unwrap();
    let chain = || namespace.output("iptables-legacy-save", &["-t", "nat"]);
    eventually(PATIENCE, || {
        let rules = chain()?;
        ensure!(rules.contains("KUBE-CLUSTER-IP"), "{rules}");
        Ok(())
    })
    .unwrap();
    let held = hold(&folder.join("lock"));
    // A set that was empty, so that the rules must name it.
    let by_other = service("b", 11).replace("spec: {", "spec: {externalIPs: [203.0.113.5], ");
    fs::write(folder.join("objects/b.yaml"), by_other).unwrap();
    let words = format!("is held by process {} (", std::process::id());
    eventually(PATIENCE, || says(&log, &words)).unwrap();
    fs::write(folder.join("objects/c.yaml"), service("c", 12)).unwrap();
    eventually(PATIENCE, || serves(&namespace, "10.96.0.12:80")).unwrap();
    assert!(!chain().unwrap().contains("KUBE-EXTERNAL-IP"));
    drop(held);
    eventually(PATIENCE, || {
        let rules = chain()?;
        ensure!(rules.contains("KUBE-EXTERNAL-IP"), "{rules}");
        Ok(())
    })
    .unwrap();
}
