//! What the kernel tells of: node ports follow the node's addresses, own changes are nobody's business, what is lost is read
//! again, and clients hardly notice what others do.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ipvs_codec::Family;
use ipvs_netlink::{Binding, Heard, LinkEvent, LinkGroup, LinkNotifications, Links, Notification};
use ipvs_test_support::{Cluster, NetNs, RunningProxier, ask_tcp, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::changes::{POD_A, POD_B, web};
use crate::hands::{drift, observe};
use crate::packets::{CIDR, addr};
use crate::shop::shop;
use crate::storm::storm;

/// Longer than anything takes; what is waited for so long is not right.
const PATIENCE: Duration = Duration::from_secs(30);
/// No resync while a test runs.
const NO_RESYNC: &str = "--ipvs-sync-period=10h";

/// A Service with a node port.
const NODE_PORT: &str = "apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {type: NodePort, clusterIP: 10.96.0.77, ports: [{port: 80, protocol: TCP, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, namespace: default, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.11]}]
ports: [{name: '', port: 8080, protocol: TCP}]
";

/// Writes it into a folder; the flag for it.
fn node_port(folder: &Path) -> String {
    let file = folder.join("node-port.yaml");
    std::fs::write(&file, NODE_PORT).unwrap();
    format!("--manifests={}", file.display())
}

fn start(node: &NetNs, more: &[&str], log: &Path) -> RunningProxier {
    let mut arguments = vec![CIDR, "--ipvs-min-sync-period=0s", NO_RESYNC];
    arguments.extend(more);
    RunningProxier::start(node, &arguments, log).unwrap()
}

/// Waits for something that a program of the namespace says; how long that took.
fn until(node: &NetNs, log: &Path, command: &str, is_so: impl Fn(&str) -> bool) -> Duration {
    let start = Instant::now();
    let words: Vec<&str> = command.split(' ').collect();
    eventually(PATIENCE, || {
        let said = node.output(words[0], &words[1..])?;
        ensure!(is_so(&said), "{command}: {said}");
        Ok(())
    })
    .unwrap_or_else(|error| {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        panic!("{error:#}\n{log}")
    });
    start.elapsed()
}

#[test]
fn node_ports_are_served_on_a_new_address_and_not_on_one_that_is_gone() {
    let cluster = Cluster::new("ev-node").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let _proxier = start(&cluster.node, &[&node_port(folder.path()), "-v=4"], &log);
    let ask = |text: &str| ask_tcp(&cluster.client, addr(text)).map(drop);
    eventually(2 * PATIENCE, || ask("192.168.50.10:30080")).unwrap();
    for _ in 0..3 {
        cluster
            .node
            .ip("addr add 192.168.50.77/24 dev eth0")
            .unwrap();
        let served = until(&cluster.node, &log, "ipvsadm -Ln", |said| {
            said.contains("192.168.50.77:30080")
        });
        eventually(PATIENCE, || ask("192.168.50.77:30080")).unwrap();
        cluster
            .node
            .ip("addr del 192.168.50.77/24 dev eth0")
            .unwrap();
        let gone = until(&cluster.node, &log, "ipvsadm -Ln", |said| {
            !said.contains("192.168.50.77:")
        });
        println!("served after {served:?}, gone after {gone:?}");
    }
    assert_eq!(
        drift(&cluster.node, "").unwrap(),
        0,
        "nobody undid anything"
    );
}

#[test]
fn what_the_proxier_does_itself_is_no_event() {
    for binding in ["--vip-binding=address", "--vip-binding=route"] {
        let cluster = Cluster::new("ev-own").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("web.yaml"), folder.path().join("log"));
        std::fs::write(&file, web(POD_A)).unwrap();
        let manifests = format!("--manifests={}", file.display());
        let _proxier = start(&cluster.node, &[&manifests, binding, "-v=4"], &log);
        let is_bound = |said: &str| said.contains("10.96.0.10:80");
        let both = format!("{POD_A}{POD_B}");
        for round in 0..3 {
            std::fs::write(&file, web(&both)).unwrap();
            until(&cluster.node, &log, "ipvsadm -Ln", |said| {
                is_bound(said) && said.contains("10.244.1.12:8080")
            });
            // Without any Service: VIPs of both families, entries and rules go.
            std::fs::write(&file, "# nothing\n").unwrap();
            until(&cluster.node, &log, "ipvsadm -Ln", |said| !is_bound(said));
            println!("round {round}");
        }
        thread::sleep(Duration::from_millis(1500));
        let text = std::fs::read_to_string(&log).unwrap();
        let events: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("kernel event"))
            .collect();
        assert_eq!(events, [""; 0], "{text}");
    }
}

#[test]
fn what_was_lost_while_it_could_not_read_is_read_again() {
    let cluster = Cluster::new("ev-lost").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let objects = [shop(), node_port(folder.path())];
    let objects = objects.each_ref().map(String::as_str);
    let proxier = start(&cluster.node, &objects, &log);
    let ask = |text: &str| ask_tcp(&cluster.client, addr(text)).map(drop);
    eventually(2 * PATIENCE, || ask("10.96.0.10:80")).unwrap();
    let wanted = observe(&cluster.node).unwrap();
    let pid = Pid::from_raw(i32::try_from(proxier.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    cluster
        .node
        .ip("link add storm type dummy\nlink set storm up\naddr flush dev kube-ipvs0\naddr add 192.168.50.78/24 dev eth0")
        .unwrap();
    cluster.node.run(|| storm(5_000)).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    until(&cluster.node, &log, "ipvsadm -Ln", |said| {
        said.contains("192.168.50.78:30080")
    });
    cluster
        .node
        .ip("addr del 192.168.50.78/24 dev eth0")
        .unwrap();
    eventually(PATIENCE, || {
        let found = observe(&cluster.node)?;
        ensure!(found == wanted, "{found:?}\ninstead of\n{wanted:?}");
        Ok(())
    })
    .unwrap();
    assert!(
        drift(&cluster.node, "cause=\"lost\"").unwrap() > 0,
        "none were lost"
    );
    ask("10.96.0.10:80").unwrap();
}

/// What others do every few seconds while clients connect.
const HANDS: [&str; 6] = [
    "ip addr flush dev kube-ipvs0",
    "ip link del kube-ipvs0",
    "ipvsadm -C",
    "ipset flush",
    "iptables -t nat -F; iptables -t nat -X; iptables -F; iptables -X",
    "ip route flush table local dev kube-ipvs0",
];
const BETWEEN_HANDS: Duration = Duration::from_secs(5);
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(20);

/// Whether a connection comes about soon enough for a client that is in a hurry.
fn connects(server: SocketAddr) -> bool {
    TcpStream::connect_timeout(&server, Duration::from_millis(500)).is_ok()
}

#[test]
fn clients_hardly_notice_what_others_do() {
    let cluster = Cluster::new("ev-traffic").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _proxier = start(&cluster.node, &[&shop()], &folder.path().join("log"));
    let server = addr("10.96.0.10:80");
    eventually(2 * PATIENCE, || ask_tcp(&cluster.client, server)).unwrap();
    let (is_over, made, failed) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let ask = || {
        while !is_over.load(Ordering::Relaxed) {
            let next = Instant::now() + BETWEEN_CONNECTIONS;
            made.fetch_add(1, Ordering::Relaxed);
            if !connects(server) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    let hands = || -> Result<()> {
        for hand in HANDS {
            let before = failed.load(Ordering::Relaxed);
            cluster
                .node
                .output("sh", &["-c", &format!("({hand}) 2>/dev/null; true")])?;
            thread::sleep(BETWEEN_HANDS);
            println!("{} failed: {hand}", failed.load(Ordering::Relaxed) - before);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| cluster.client.run(ask).unwrap());
        let done = hands();
        is_over.store(true, Ordering::Relaxed);
        client.join().unwrap();
        done.unwrap();
    });
    let (made, failed) = (made.into_inner(), failed.into_inner());
    println!("{failed} of {made} connections failed");
    // Whatever is undone is there again before the next hand, or nearly all of them would fail.
    assert!(failed < made / 2, "{failed} of {made}");
    eventually(PATIENCE, || ask_tcp(&cluster.client, server)).unwrap();
}

#[test]
fn notifications_say_what_and_who_and_that_some_were_lost() {
    let namespace = NetNs::new("ev-netlink").unwrap();
    namespace.ip("link add storm type dummy").unwrap();
    namespace
        .run(|| {
            let groups = [LinkGroup::Links, LinkGroup::Addresses(Family::Ipv4)];
            let mut heard = LinkNotifications::open(&groups).unwrap();
            let mut links = Links::open().unwrap();
            let link = links.find("storm").unwrap().unwrap().index;
            let address = Binding::Address([10, 100, 0, 1].into());
            assert!(links.bind(link, &[address])[0].is_ok());
            let mut all = Vec::new();
            let take = |notification: Notification<LinkEvent<'_>>| {
                if let LinkEvent::Address {
                    address, is_gone, ..
                } = notification.event
                {
                    all.push((address, is_gone, notification.port));
                }
            };
            assert_eq!(heard.receive(PATIENCE, take).unwrap(), Heard::Some);
            assert_eq!(all, [([10, 100, 0, 1].into(), false, links.port())]);
            let nothing = heard.receive(Duration::from_millis(1), |_| panic!("nothing happened"));
            assert_eq!(nothing.unwrap(), Heard::Nothing);
            // Nobody reads, until there is no room.
            let others: Vec<Binding> = (2..=250)
                .map(|last| Binding::Address([10, 100, 0, last].into()))
                .collect();
            let mut rounds = 0;
            let mut has_lost = false;
            while !has_lost {
                rounds += 1;
                assert!(rounds < 1_000, "none is ever lost");
                for _ in 0..20 {
                    links.bind(link, &others);
                    links.unbind(link, &others);
                }
                loop {
                    match heard.receive(Duration::ZERO, |_| {}).unwrap() {
                        Heard::Some => {}
                        Heard::Nothing => break,
                        Heard::Lost => {
                            has_lost = true;
                            break;
                        }
                    }
                }
            }
            // An address that came before the loss and went in it would be there for ever.
            let nothing = heard.receive(Duration::ZERO, |_| panic!("from before the loss"));
            assert_eq!(nothing.unwrap(), Heard::Nothing);
            // What comes afterwards is whole.
            assert!(links.unbind(link, &[address])[0].is_ok());
            let mut gone = 0;
            heard.receive(PATIENCE, |_| gone += 1).unwrap();
            assert_eq!(gone, 1);
        })
        .unwrap();
}
