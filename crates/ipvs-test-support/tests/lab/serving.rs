//! What the proxier serves over HTTP, on a real node: to whom, and what clients whom nobody knows can do to it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipvs_test_support::{Cluster, NetNs, RunningProxier, ask_tcp, command, eventually, kube_proxy};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::metrics::{get, metrics};
use crate::packets::{CIDR, addr};
use crate::shop::shop;

const PATIENCE: Duration = Duration::from_secs(60);
const HEALTH: u16 = 10256;

/// A load balancer that asks on port 32000.
const LOAD_BALANCER: &str = "
apiVersion: v1
kind: Service
metadata: {name: etp, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.90
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30090}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: etp-1, namespace: shop, labels: {kubernetes.io/service-name: etp}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.11], nodeName: node-0}]
---
apiVersion: v1
kind: Node
metadata: {name: node-0}
status: {addresses: [{type: InternalIP, address: 192.168.50.10}, {type: InternalIP, address: \"fd00:50::10\"}]}
";

/// The status line of an answer.
fn status(from: &NetNs, address: SocketAddr) -> Result<String> {
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    })?
}

fn is_well(from: &NetNs, address: SocketAddr) -> Result<()> {
    let status = status(from, address).with_context(|| format!("ask {address}"))?;
    ensure!(status == "HTTP/1.1 200 OK", "{address}: {status}");
    Ok(())
}

/// The same command, with so many files at most.
fn with_files(files: u32, arguments: &[&str]) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$@\"");
    limited.args(["-c", &script, "sh"]).arg(kube_proxy());
    limited.args(command(arguments).get_args());
    limited
}

fn start(cluster: &Cluster, command: Command, log: &Path) -> RunningProxier {
    let proxier = RunningProxier::start_command(&cluster.node, command, log).unwrap();
    let ask = || ask_tcp(&cluster.client, addr("10.96.0.10:80")).map(drop);
    eventually(PATIENCE, ask).unwrap();
    proxier
}

/// They keep open what they can get, half of them with half a request.
fn idle_clients(client: &NetNs, address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let one = |number: usize| {
        let mut stream = TcpStream::connect(address)?;
        if number.is_multiple_of(2) {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: no")?;
        }
        Ok(stream)
    };
    let clients = client.run(|| (0..number).map(one).collect::<Result<_>>());
    clients.unwrap().unwrap()
}

#[test]
fn idle_clients_stop_neither_health_nor_resyncs() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let cluster = Cluster::new("idle").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&shop(), CIDR, "--ipvs-sync-period=1s"].map(String::from);
    let arguments = arguments.each_ref().map(String::as_str);
    let log = folder.path().join("log");
    let _proxier = start(&cluster, with_files(256, &arguments), &log);
    let health = addr("192.168.50.10:10256");
    let mut clients = idle_clients(&cluster.client, health, 400);
    // A probe of the node, and a load balancer beside the clients that are idle: each at its first attempt.
    for _ in 0..5 {
        is_well(&cluster.node, health).unwrap();
        is_well(&cluster.client, health).unwrap();
    }
    let told = metrics(&cluster.node).unwrap();
    let files = told
        .lines()
        .find_map(|line| line.strip_prefix("process_open_fds "));
    let files: f64 = files.unwrap().parse().unwrap();
    assert!(
        files < 160.0,
        "{files} of 256: too few are left for the sync"
    );
    // What hands do is put right while they are there.
    for _ in 0..3 {
        let more = idle_clients(&cluster.client, health, 40);
        let arguments = ["-D", "-t", "10.96.0.10:80"];
        cluster.node.output("ipvsadm", &arguments).unwrap();
        let is_back = || ask_tcp(&cluster.client, addr("10.96.0.10:80")).map(drop);
        eventually(PATIENCE, is_back).unwrap();
        is_well(&cluster.client, health).unwrap();
        drop(more);
    }
    // All of them end by themselves, without an answer.
    for stream in &mut clients {
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert!(!answer.starts_with(b"HTTP/1.1 200")),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("Too many open files"), "{log}");
}

/// Whatever else needs files: no listener is lost.
#[test]
fn a_proxier_that_had_no_files_left_answers_when_it_has_some() {
    let cluster = Cluster::new("files").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shop = shop();
    let log = folder.path().join("log");
    let proxier = start(&cluster, command(&[shop.as_str(), CIDR]), &log);
    let health = addr("192.168.50.10:10256");
    is_well(&cluster.client, health).unwrap();
    let process = Pid::from_raw(proxier.id().cast_signed());
    let before = getrlimit_of(process);
    let none = Rlimit {
        current: Some(3),
        ..before
    };
    prlimit(process, Resource::Nofile, none).unwrap();
    let mut waits = idle_clients(&cluster.client, health, 1);
    let said = || {
        let log = fs::read_to_string(&log)?;
        ensure!(log.contains("cannot accept a connection"), "{log}");
        Ok(())
    };
    eventually(PATIENCE, said).unwrap();
    prlimit(process, Resource::Nofile, before).unwrap();
    is_well(&cluster.client, health).unwrap();
    // Who came meanwhile was not forgotten.
    waits[0]
        .write_all(b"de\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    waits[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn getrlimit_of(process: Option<Pid>) -> Rlimit {
    let same = getrlimit(Resource::Nofile);
    // The kernel tells the old one while it sets another.
    let before = prlimit(process, Resource::Nofile, same).unwrap();
    prlimit(process, Resource::Nofile, before).unwrap();
    before
}

#[test]
fn health_is_answered_by_both_families_where_the_flags_say() {
    let cluster = Cluster::new("families").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects.yaml");
    fs::write(&objects, LOAD_BALANCER).unwrap();
    let run = |more: &[&str]| {
        let manifests = format!("--manifests={}", objects.display());
        let arguments = [&[manifests.as_str(), CIDR], more].concat();
        let log = folder.path().join("log");
        RunningProxier::start(&cluster.node, &arguments, &log).unwrap()
    };
    let [v4, v6]: [IpAddr; 2] = ["192.168.50.10", "fd00:50::10"].map(|ip| ip.parse().unwrap());
    let loopback: [IpAddr; 2] = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
    let answers = |from: &NetNs, ip: IpAddr, port: u16| is_well(from, SocketAddr::new(ip, port));
    let everywhere = run(&[]);
    for port in [HEALTH, 32000] {
        for ip in [v4, v6] {
            eventually(PATIENCE, || answers(&cluster.client, ip, port)).unwrap();
        }
        for ip in loopback {
            answers(&cluster.node, ip, port).unwrap();
        }
    }
    // Metrics are on loopback only, by IPv4 as the flag says.
    assert!(
        get(&cluster.node, 10249, "/proxyMode")
            .unwrap()
            .ends_with("ipvs")
    );
    for ip in [v4, v6] {
        assert!(answers(&cluster.client, ip, 10249).is_err(), "{ip}");
    }
    everywhere.stop().unwrap();

    let chosen = run(&[
        "--nodeport-addresses=127.0.0.0/8,fd00:50::/64",
        "--healthz-bind-address=192.168.50.10:10256",
    ]);
    eventually(PATIENCE, || answers(&cluster.node, loopback[0], 32000)).unwrap();
    eventually(PATIENCE, || answers(&cluster.client, v6, 32000)).unwrap();
    eventually(PATIENCE, || answers(&cluster.client, v4, HEALTH)).unwrap();
    let closed = [
        (v4, 32000),
        (loopback[1], 32000),
        (v6, HEALTH),
        (loopback[0], HEALTH),
    ];
    for (ip, port) in closed {
        assert!(answers(&cluster.node, ip, port).is_err(), "{ip} {port}");
    }
    chosen.stop().unwrap();
}
