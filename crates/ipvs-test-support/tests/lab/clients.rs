//! Clients that must not notice.

use std::collections::{BTreeSet, VecDeque};
use std::net::{TcpStream, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ipvs_test_support::{Cluster, Pod, RunningProxier, UDP_PORT, ask_tcp, eventually, serve_tcp};

use crate::changes::{POD_A, POD_B, web};
use crate::packets::{CIDR, addr};

/// A manifest that changes under a running proxier.
pub(crate) struct Followed {
    pub(crate) cluster: Cluster,
    folder: tempfile::TempDir,
    proxier: Option<RunningProxier>,
}

impl Followed {
    pub(crate) fn start(prefix: &str, manifest: &str) -> Self {
        let mut followed = Self {
            cluster: Cluster::new(prefix).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            proxier: None,
        };
        followed.change(manifest);
        let argument = format!("--manifests={}", followed.folder.path().display());
        let arguments = [argument.as_str(), CIDR, "--ipvs-min-sync-period=0s"];
        let log = followed.folder.path().join("log");
        let node = &followed.cluster.node;
        followed.proxier = Some(RunningProxier::start(node, &arguments, &log).unwrap());
        followed
    }

    pub(crate) fn change(&self, manifest: &str) {
        let new = self.folder.path().join("web.new");
        std::fs::write(&new, manifest).unwrap();
        std::fs::rename(&new, self.folder.path().join("web.yaml")).unwrap();
    }
}

/// Pods of a Deployment take turns: the new one is ready, the old one ends, serving until it is gone.
#[test]
fn a_rolling_update_loses_no_connection() {
    let ending = |pod: &str| {
        let conditions = "ready: false, serving: true, terminating: true";
        pod.replace("ready: true", conditions)
    };
    let followed = Followed::start("cl-roll", &web(POD_A));
    let ask = || ask_tcp(&followed.cluster.client, addr("10.96.0.10:80"));
    eventually(Duration::from_secs(60), || ask().map(drop)).unwrap();
    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask()?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        for round in 0..6 {
            let (old, new) = if round % 2 == 0 {
                (POD_A, POD_B)
            } else {
                (POD_B, POD_A)
            };
            for endpoints in [
                format!("{old}{new}"),
                format!("{}{new}", ending(old)),
                new.to_owned(),
            ] {
                followed.change(&web(&endpoints));
                thread::sleep(Duration::from_millis(400));
            }
        }
        stop.store(true, Ordering::Relaxed);
        let asking = asking.join().unwrap();
        asking.unwrap_or_else(|error| panic!("after {asked:?} connections: {error:#}"));
    });
    println!(
        "6 updates, {} connections, none failed",
        asked.load(Ordering::Relaxed)
    );
    assert!(asked.load(Ordering::Relaxed) > 100);
}

/// Connections a second, of all clients.
const RATE: u32 = 200;
const CLIENTS: u32 = 4;

/// As a Deployment does it: a new pod is ready, then an old one ends, which serves for a while, and is gone with its link.
#[test]
fn a_rolling_update_of_ten_pods_loses_no_connection() {
    let endpoint = |number: u8, conditions: &str| {
        format!(
            "- {{addresses: [10.244.1.{number}], conditions: {{{conditions}}}, nodeName: node-0}}\n"
        )
    };
    let ready = |numbers: Range<u8>| -> String {
        numbers
            .map(|number| endpoint(number, "ready: true"))
            .collect()
    };
    let followed = Followed::start("cl-ten", &web(&ready(21..31)));
    let cluster = &followed.cluster;
    let mut pods: VecDeque<Pod> = (21..41)
        .map(|number| cluster.add_pod(number).unwrap())
        .inspect(|pod| serve_tcp(&pod.namespace, &pod.name, 8080).unwrap())
        .collect();
    let ask = || ask_tcp(&cluster.client, addr("10.96.0.10:80"));
    eventually(Duration::from_secs(60), || ask().map(drop)).unwrap();
    let stop = AtomicBool::new(false);
    let client = || {
        let (start, mut took) = (Instant::now(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let due = start + Duration::from_secs(1) * u32::try_from(took.len())? * CLIENTS / RATE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            let answer = ask()?;
            took.push((asked.elapsed(), answer.pod));
        }
        anyhow::Ok(took)
    };
    let start = Instant::now();
    let mut took = thread::scope(|scope| {
        let mut clients = Vec::new();
        clients.resize_with(CLIENTS as usize, || scope.spawn(client));
        for old in 21..31 {
            let new = old + 10;
            followed.change(&web(&ready(old..new + 1)));
            thread::sleep(Duration::from_millis(400));
            let ending = endpoint(old, "ready: false, serving: true, terminating: true");
            followed.change(&web(&format!("{ending}{}", ready(old + 1..new + 1))));
            thread::sleep(Duration::from_millis(400));
            followed.change(&web(&ready(old + 1..new + 1)));
            eventually(Duration::from_secs(20), || {
                let table = followed.cluster.node.output("ipvsadm", &["-L", "-n"])?;
                serves_no_more(&table, &format!("10.244.1.{old}:8080"))
            })
            .unwrap();
            // Those that it has accepted last.
            thread::sleep(Duration::from_millis(200));
            drop(pods.pop_front());
        }
        stop.store(true, Ordering::Relaxed);
        let clients = clients.into_iter().map(|client| client.join().unwrap());
        clients.flat_map(Result::unwrap).collect::<Vec<_>>()
    });
    let time = start.elapsed();
    took.sort();
    let names: BTreeSet<&String> = took.iter().map(|(_, pod)| pod).collect();
    assert_eq!(names.len(), 20, "{names:?}");
    println!(
        "10 pods of 10 replaced in {time:?}, {} connections, none failed, half within {:?}, all within {:?}",
        took.len(),
        took[took.len() / 2].0,
        took[took.len() - 1].0
    );
}

/// A machine that is busy may see a change a second late: a pod has longer to end, and a test must not be its judge.
fn serves_no_more(table: &str, real_server: &str) -> Result<()> {
    for line in table.lines() {
        if let ["->", address, _, weight, active, _] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        {
            ensure!(
                address != real_server || (weight, active) == ("0", "0"),
                "{line}"
            );
        }
    }
    Ok(())
}

/// A service of UDP.
pub(crate) fn dns(endpoints: &str) -> String {
    web(endpoints)
        .replace("protocol: TCP", "protocol: UDP")
        .replace("port: 8080}", &format!("port: {UDP_PORT}}}"))
        .replace("port: 8080,", &format!("port: {UDP_PORT},"))
}

/// A client of UDP that keeps its port while the only endpoint goes and another comes: its flow must not stay with the old
/// one, nor with none.
#[test]
fn a_udp_client_with_one_port_goes_over_to_the_new_endpoint() {
    let followed = Followed::start("cl-udp", &dns(POD_A));
    let connect = || {
        let socket = UdpSocket::bind("0.0.0.0:40053")?;
        socket.connect("10.96.0.10:80")?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        anyhow::Ok(socket)
    };
    let socket = followed.cluster.client.run(connect).unwrap().unwrap();
    // Who answers the next question, if anybody does.
    let ask = || {
        let mut text = [0; 64];
        // A refusal by ICMP comes out here.
        let _ = socket.send(b"?");
        let length = socket.recv(&mut text).ok()?;
        let answer = String::from_utf8_lossy(&text[..length]).into_owned();
        answer.split(' ').next().map(str::to_owned)
    };
    let until = |pod: Option<&str>, patience: Duration| {
        let start = Instant::now();
        while ask().as_deref() != pod {
            assert!(start.elapsed() < patience, "{pod:?} does not come");
            thread::sleep(Duration::from_millis(10));
        }
        start.elapsed()
    };
    until(Some("pod-a"), Duration::from_secs(60));
    followed.change(&dns("").replace("endpoints:\n", "endpoints: []\n"));
    let gone = until(None, Duration::from_secs(60));
    thread::sleep(Duration::from_millis(300));
    followed.change(&dns(POD_B));
    let back = until(Some("pod-b"), Duration::from_secs(60));
    println!("gone after {gone:?}, by the new one after {back:?}");
    // A file is looked at four times a second; the rest is one sync.
    assert_eq!(ask().as_deref(), Some("pod-b"));
}

/// A connection that says nothing for a while, over changes that do not concern it.
#[test]
fn a_silent_connection_stays_while_others_come_and_go() {
    use std::io::{Read as _, Write as _};
    let followed = Followed::start(
        "cl-silent",
        &web(POD_A).replace("port: 8080}", "port: 7777}"),
    );
    let pod = &followed.cluster.pods[0].namespace;
    let listener = pod.run(|| std::net::TcpListener::bind("0.0.0.0:7777"));
    let listener = listener.unwrap().unwrap();
    pod.serve(listener, |listener| {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    stream.write_all(&byte).unwrap();
                }
            });
        }
    });
    let connect = || Ok(TcpStream::connect("10.96.0.10:80")?);
    let connected = eventually(Duration::from_secs(60), || {
        followed.cluster.client.run(connect)?
    });
    let mut stream = connected.unwrap();
    let patience = Some(Duration::from_secs(3));
    stream.set_read_timeout(patience).unwrap();
    let both = format!("{POD_A}{POD_B}");
    for endpoints in [both.as_str(), POD_A].repeat(3) {
        followed.change(&web(endpoints).replace("port: 8080}", "port: 7777}"));
        thread::sleep(Duration::from_millis(400));
        stream.write_all(&[1]).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
    }
}
