//! What clients see while a manifest changes: endpoints come, go and drain.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use ipvs_test_support::{
    Answer, Cluster, NetNs, RunningProxier, ask_tcp, eventually, run_kube_proxy, workspace,
};

use crate::packets::{CIDR, addr, pods};

pub(crate) fn web(endpoints: &str) -> String {
    let shop = std::fs::read_to_string(workspace().join("examples/manifests/web.yaml")).unwrap();
    let (head, _) = shop.split_once("endpoints:\n").unwrap();
    format!("{head}endpoints:\n{endpoints}")
}

pub(crate) const POD_A: &str =
    "- {addresses: [10.244.1.11], conditions: {ready: true}, nodeName: node-0}\n";
pub(crate) const POD_B: &str =
    "- {addresses: [10.244.1.12], conditions: {ready: true}, nodeName: node-0}\n";

#[test]
fn traffic_follows_the_manifest_while_it_runs() {
    let cluster = Cluster::new("pk-follow").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    let log = folder.path().join("log");
    std::fs::write(&file, web(POD_A)).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let arguments = [manifests.as_str(), CIDR, "--ipvs-min-sync-period=0s"];
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    // The first sync makes the kernel load some fifteen modules, from a disk that may be slow.
    let patience = Duration::from_secs(60);
    let answered_by = |wanted: &[&str]| {
        eventually(patience, || {
            let answers: Result<Vec<Answer>> = (0..4)
                .map(|_| ask_tcp(&cluster.client, addr("10.96.0.10:80")))
                .collect();
            let found: BTreeSet<String> = answers?.into_iter().map(|answer| answer.pod).collect();
            let wanted: BTreeSet<String> = wanted.iter().map(|pod| (*pod).to_owned()).collect();
            anyhow::ensure!(
                found == wanted,
                "{found:?} instead of {wanted:?}: {}",
                std::fs::read_to_string(&log)?
            );
            Ok(())
        })
        .unwrap();
    };
    answered_by(&["pod-a"]);
    std::fs::write(&file, web(&format!("{POD_A}{POD_B}"))).unwrap();
    answered_by(&["pod-a", "pod-b"]);
    // Broken: the last good state stays.
    std::fs::write(&file, web("- {addresses: [10.244.1.256]}\n")).unwrap();
    eventually(patience, || {
        let log = std::fs::read_to_string(&log)?;
        anyhow::ensure!(
            log.contains("endpoints[0].addresses[0]: 10.244.1.256"),
            "{log}"
        );
        Ok(())
    })
    .unwrap();
    answered_by(&["pod-a", "pod-b"]);
    std::fs::write(&file, web(POD_B)).unwrap();
    answered_by(&["pod-b"]);
    let table = cluster.node.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(
        table.contains("10.244.1.11:8080 -m -w 0"),
        "its closed connections are still remembered: {table}"
    );
    assert!(proxier.stop().unwrap().success());
    assert_eq!(
        pods(|| ask_tcp(&cluster.client, addr("10.96.0.10:80"))).len(),
        1,
        "the state stays in place"
    );
}

#[test]
fn row_121_an_idle_real_server_is_gone_in_the_same_sync() {
    let namespace = NetNs::new("pk-idle").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    let manifests = format!("--manifests={}", file.display());
    for (endpoints, count) in [(format!("{POD_A}{POD_B}"), 2), (POD_B.to_owned(), 1)] {
        std::fs::write(&file, web(&endpoints)).unwrap();
        assert!(
            run_kube_proxy(&namespace, &[manifests.as_str(), "--once"])
                .unwrap()
                .status
                .success()
        );
        let table = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
        assert_eq!(table.matches("-r 10.244.1.").count(), count, "{table}");
    }
}

#[test]
fn row_122_a_connection_lives_on_while_its_pod_drains() {
    use std::io::{Read as _, Write as _};
    let cluster = Cluster::new("pk-drain").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    std::fs::write(&file, web(POD_A).replace("port: 8080}", "port: 7777}")).unwrap();
    // An echo server with a connection that stays open.
    let pod: &NetNs = &cluster.pods[0].namespace;
    let listener = pod
        .run(|| std::net::TcpListener::bind("0.0.0.0:7777"))
        .unwrap()
        .unwrap();
    pod.serve(listener, |listener| {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let once = |file: &std::path::Path| {
        let manifests = format!("--manifests={}", file.display());
        let output = run_kube_proxy(&cluster.node, &[manifests.as_str(), "--once", CIDR]).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    once(&file);
    let mut stream = cluster
        .client
        .run(|| std::net::TcpStream::connect("10.96.0.10:80"))
        .unwrap()
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let mut echo = |byte: u8| {
        stream.write_all(&[byte]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [byte]);
    };
    echo(1);
    std::fs::write(&file, web("").replace("endpoints:\n", "endpoints: []\n")).unwrap();
    once(&file);
    let table = cluster.node.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(table.contains("10.244.1.11:7777 -m -w 0"), "{table}");
    echo(2);
    once(&file);
    echo(3);
    // It comes back: weight 1, and the connection is still the same.
    std::fs::write(&file, web(POD_A).replace("port: 8080}", "port: 7777}")).unwrap();
    once(&file);
    let table = cluster.node.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(table.contains("10.244.1.11:7777 -m -w 1"), "{table}");
    echo(4);
    // With a deadline the connection is cut.
    std::fs::write(&file, web("").replace("endpoints:\n", "endpoints: []\n")).unwrap();
    let manifests = format!("--manifests={}", file.display());
    let arguments = [manifests.as_str(), CIDR, "--drain-deadline=1s"];
    let log = folder.path().join("log");
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    eventually(Duration::from_secs(60), || {
        let table = cluster.node.output("ipvsadm", &["-S", "-n"])?;
        anyhow::ensure!(!table.contains("10.244.1.11:7777"), "{table}");
        Ok(())
    })
    .unwrap();
    stream.write_all(&[5]).unwrap();
    assert!(stream.read_exact(&mut [0]).is_err(), "nobody answers");
    proxier.stop().unwrap();
}

/// The proxier with a source of its own, without Kubernetes.
#[test]
fn a_static_load_balancer_follows_its_file() {
    let cluster = Cluster::new("pk-static").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.toml");
    let write = |servers: &str| {
        let text = format!(
            "[virtual_server.web]\naddress = \"10.96.0.10:80\"\nscheduler = \"wrr\"\nservers = [{servers}]\n"
        );
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    let a = "{ address = \"10.244.1.11:8080\", weight = 3 }";
    let b = "{ address = \"10.244.1.12:8080\" }";
    write(&format!("{a}, {b}"));
    let start = || {
        let mut command = std::process::Command::new(ipvs_test_support::example("static_lb"));
        command.arg(&file).spawn().unwrap()
    };
    let mut process = cluster.node.run(start).unwrap();
    let answers = |wanted: usize| {
        eventually(Duration::from_secs(60), || {
            let answers: Result<Vec<Answer>> = (0..4)
                .map(|_| ask_tcp(&cluster.client, addr("10.96.0.10:80")))
                .collect();
            let answers = answers?;
            let of_a = answers.iter().filter(|answer| answer.pod == "pod-a");
            let of_a = of_a.count();
            anyhow::ensure!(of_a == wanted, "{of_a} of 4 by pod-a instead of {wanted}");
            Ok(())
        })
        .unwrap();
    };
    answers(3);
    write(b);
    answers(0);
    process.kill().unwrap();
    process.wait().unwrap();
}
