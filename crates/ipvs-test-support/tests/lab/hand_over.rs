//! In the place of the real kube-proxy: on the state that it left, and from the API that it reads.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipvs_test_support::{ApiServer, Cluster, NetNs, RunningProxier, eventually, run_kube_proxy};

use crate::recorded::{FILES, State, folder, recorded_namespace};

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

fn assert_same(namespace: &NetNs, wanted: &State, recorded: &Path) {
    State::of(namespace).assert_same(wanted, &recorded.display().to_string());
}

/// What was done, by the log: one line for each run that did something.
fn done(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("synced")).collect()
}

/// Gives a program its input.
fn feed(namespace: &NetNs, program: &str, arguments: &[&str], input: &str) {
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
    feed(namespace, "iptables-restore", &[], &read("iptables"));
    feed(namespace, "ip6tables-restore", &[], &read("ip6tables"));
    feed(namespace, "ipvsadm", &["-R"], &read("virtual-servers"));
    let mut lines = "link add kube-ipvs0 type dummy\n".to_owned();
    for address in read("addresses").lines() {
        lines += &format!("addr add {address} dev kube-ipvs0\n");
    }
    namespace.ip(&lines).unwrap();
}

/// Not one operation but the one that writes rules in our order, where kube-proxy's differs: every connection goes on.
#[test]
fn q16_on_the_state_of_the_real_kube_proxy_only_the_order_of_rules_changes() {
    let mut mended = 0;
    for case in cases() {
        let recorded = case.join("default");
        let name = case.file_name().unwrap().to_str().unwrap();
        let namespace = recorded_namespace(&format!("over-{}", &name[..2]));
        restore(&namespace, &recorded);
        assert_same(&namespace, &State::read(&recorded), &recorded);
        let ours = State::read(&recorded).in_our_order();
        let differing = ours.differing_files(&State::read(&recorded));
        let mut arguments = arguments(&recorded);
        arguments.push(format!("--manifests={}", case.join("input.yaml").display()));
        arguments.push("--once".to_owned());
        for writes in [differing.len(), 0] {
            let output = run_kube_proxy(&namespace, &arguments).unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {log}");
            if writes == 0 {
                assert!(done(&log).is_empty(), "{name}: {log}");
            } else {
                let wanted = format!("operations={writes} ");
                assert!(done(&log)[0].contains(&wanted), "{name}: {log}");
            }
            assert_same(&namespace, &ours, &recorded);
            mended += writes;
        }
    }
    assert!(mended >= 8, "{mended}");
}

/// Gives back what it gets, on port 8080.
fn serve_echo(pod: &NetNs) {
    let listener = pod.run(|| TcpListener::bind("0.0.0.0:8080"));
    pod.serve(listener.unwrap().unwrap(), |listener| {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut byte = [0];
                while let Ok(1..) = stream.read(&mut byte) {
                    stream.write_all(&byte)?;
                }
                std::io::Result::Ok(())
            });
        }
    });
}

fn connect(client: &NetNs) -> Result<TcpStream> {
    let stream = client.run(|| TcpStream::connect("10.96.1.1:80"))??;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(&[7])?;
    Ok(stream.read_exact(&mut [0])?)
}

/// Ours starts on the state of kube-proxy, is stopped, and another node is cleaned up; who is connected, or connects, does
/// not notice.
#[test]
fn taking_over_and_stopping_is_not_noticed_by_anybody() {
    let cluster = Cluster::new("over-live").unwrap();
    let pods = [81, 82, 83].map(|number| cluster.add_pod(number).unwrap());
    pods.iter().for_each(|pod| serve_echo(&pod.namespace));
    // The pods of the recorded Service, under addresses that this node has.
    let moved = tempfile::tempdir().unwrap();
    let case = folder().join("01-clusterip-tcp");
    let files = FILES.map(|file| case.join("default").join(file));
    for path in files.iter().chain([&case.join("input.yaml")]) {
        let mut text = fs::read_to_string(path).unwrap();
        for (from, to) in [("1.11", "1.81"), ("2.11", "1.82"), ("2.61", "1.83")] {
            text = text.replace(&format!("10.244.{from}"), &format!("10.244.{to}"));
        }
        fs::write(moved.path().join(path.file_name().unwrap()), text).unwrap();
    }
    restore(&cluster.node, moved.path());
    let sysctls = ["net/ipv4/ip_forward", "net/ipv4/vs/conntrack"];
    for name in sysctls {
        let path = format!("/proc/sys/{name}");
        cluster.node.run(|| fs::write(path, "1")).unwrap().unwrap();
    }
    let other = recorded_namespace("over-other");
    restore(&other, moved.path());

    let mut arguments = arguments(&case.join("default"));
    arguments.push(format!(
        "--manifests={}",
        moved.path().join("input.yaml").display()
    ));
    arguments.extend(["--ipvs-min-sync-period=0s", "--ipvs-sync-period=500ms"].map(str::to_owned));
    let log = moved.path().join("log");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let mut long = [(); 3].map(|()| connect(&cluster.client).unwrap());
    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let short = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                echo(&mut connect(&cluster.client)?)?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        let mut wait = || -> Result<()> {
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(100));
                long.iter_mut().try_for_each(echo)?;
            }
            Ok(())
        };
        let mut all = || {
            wait().context("before")?;
            let proxier = RunningProxier::start(&cluster.node, &arguments, &log)?;
            eventually(Duration::from_secs(60), || {
                wait().context("taking over")?;
                ensure!(said().contains("initial list complete"), "it does not know");
                Ok(())
            })?;
            wait().context("taken over")?;
            ensure!(proxier.stop()?.success(), "not stopped");
            wait().context("stopped")?;
            let cleaned = run_kube_proxy(&other, &["--cleanup"])?;
            ensure!(cleaned.status.success(), "{cleaned:?}");
            wait().context("another node cleaned up")
        };
        let done = all();
        stop.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|error| panic!("{error:#}: {}", said()));
        short.join().unwrap().unwrap();
    });
    assert_eq!(other.output("ipvsadm", &["-S", "-n"]).unwrap(), "");
    // The rules of IPv4, in our order.
    assert_eq!(done(&said()).len(), 1, "something to do: {}", said());
    assert!(done(&said())[0].contains("operations=1 "), "{}", said());
    println!("3 long connections and {asked:?} short ones, none failed");
    assert!(asked.into_inner() > 100);
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
        let ours = State::read(&recorded).in_our_order();
        assert_same(&namespace, &ours, &recorded);
    }
}
