//! In the place of the real kube-proxy: on the state that it left, and from the API that it reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipvs_test_support::{ApiServer, NetNs, run_kube_proxy};

use crate::golden::{FILES, capture, folder, recorded_namespace};

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("input.yaml").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 13);
    cases
}

fn arguments(recorded: &Path) -> Vec<String> {
    let line = fs::read_to_string(recorded.join("args")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

fn assert_same(namespace: &NetNs, recorded: &Path) {
    let out = tempfile::tempdir().unwrap();
    capture(namespace, out.path());
    for file in FILES {
        let read = |folder: &Path| fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(
            read(out.path()),
            read(recorded),
            "{} {file}",
            recorded.display()
        );
    }
}

/// Gives a program its input.
fn feed(namespace: &NetNs, program: &str, arguments: &[&str], input: &str) {
    use std::io::Write as _;
    let status = namespace.run(|| {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait().unwrap()
    });
    assert!(status.unwrap().success(), "{program}: {input}");
}

/// Makes the kernel what the real kube-proxy had made it.
fn restore(namespace: &NetNs, recorded: &Path) {
    let read = |file: &str| fs::read_to_string(recorded.join(file)).unwrap();
    let sets = read("ipsets");
    let (creates, adds): (Vec<&str>, Vec<&str>) =
        sets.lines().partition(|line| line.starts_with("create"));
    let sets = [creates, adds].concat().join("\n") + "\n";
    feed(namespace, "ipset", &["restore"], &sets);
    feed(namespace, "iptables-legacy-restore", &[], &read("iptables"));
    feed(
        namespace,
        "ip6tables-legacy-restore",
        &[],
        &read("ip6tables"),
    );
    feed(namespace, "ipvsadm", &["-R"], &read("virtual-servers"));
    let mut lines = "link add kube-ipvs0 type dummy\n".to_owned();
    for address in read("addresses").lines() {
        lines += &format!("addr add {address} dev kube-ipvs0\n");
    }
    namespace.ip(&lines).unwrap();
}

/// Not one operation: every connection goes on.
#[test]
fn on_the_state_of_the_real_kube_proxy_nothing_is_left_to_do() {
    for case in cases() {
        let recorded = case.join("default");
        let name = case.file_name().unwrap().to_str().unwrap();
        let namespace = recorded_namespace(&format!("over-{}", &name[..2]));
        restore(&namespace, &recorded);
        assert_same(&namespace, &recorded);
        let mut arguments = arguments(&recorded);
        arguments.push(format!("--manifests={}", case.join("input.yaml").display()));
        arguments.push("--once".to_owned());
        let output = run_kube_proxy(&namespace, &arguments).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {log}");
        assert!(!log.contains("synced"), "{name}: {log}");
        assert_same(&namespace, &recorded);
    }
}

#[test]
fn objects_from_the_api_make_the_same_state() {
    for case in cases() {
        let recorded = case.join("default");
        let name = case.file_name().unwrap().to_str().unwrap();
        let namespace = recorded_namespace(&format!("http-{}", &name[..2]));
        let server = namespace.run(ApiServer::start).unwrap().unwrap();
        let text = fs::read_to_string(case.join("input.yaml")).unwrap();
        for document in text.split("\n---") {
            let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            let items = object["items"].as_array().cloned();
            for object in items.unwrap_or_else(|| vec![object]) {
                if !object.is_null() {
                    server.put(&object.to_string()).unwrap();
                }
            }
        }
        let mut arguments = arguments(&recorded);
        arguments.push(format!("--master={}", server.url()));
        arguments.push("--once".to_owned());
        let output = run_kube_proxy(&namespace, &arguments).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {log}");
        assert_same(&namespace, &recorded);
    }
}
