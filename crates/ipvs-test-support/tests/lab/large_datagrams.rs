//! Datagrams that are larger than a link takes, from the node itself to a VIP that is a route: kube-proxy's ipvs mode loses them,
//! since the kernel takes the VIP for local, where 65,536 bytes go in one piece, and IPVS refuses what no link takes.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipvs_netlink::{Binding, Links};
use ipvs_test_support::{Cluster, NetNs, RunningProxier, ask_tcp, eventually};

use crate::packets::{CIDR, addr};
use crate::shop::sync;

const ROUTES: &str = "--vip-binding=route";
const EMSGSIZE: i32 = 90;
/// Before and behind what the links take in one piece, and what they take without headers.
const SIZES: [usize; 8] = [1000, 1372, 1373, 1472, 1473, 2000, 5000, 40_000];

/// A Service of UDP and TCP on port 53, of both families, with pod-a behind it.
const SERVICE: &str = r"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-0},
   status: {addresses: [{type: InternalIP, address: 192.168.50.10}, {type: InternalIP, address: 'fd00:50::10'}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: m}
  spec:
    clusterIPs: [10.96.0.15, 'fd00:10:96::15']
    type: LoadBalancer
    externalTrafficPolicy: Local
    healthCheckNodePort: 32112
    ports: [{name: u, port: 53, protocol: UDP, nodePort: 30053}, {name: t, port: 53, nodePort: 30053}]
  status: {loadBalancer: {ingress: [{ip: 203.0.113.8}]}}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: m4, labels: {kubernetes.io/service-name: m}}
  addressType: IPv4
  ports: [{name: u, port: 8080, protocol: UDP}, {name: t, port: 8080}]
  endpoints: [{addresses: [10.244.1.11], nodeName: node-0}]
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: m6, labels: {kubernetes.io/service-name: m}}
  addressType: IPv6
  ports: [{name: u, port: 8080, protocol: UDP}, {name: t, port: 8080}]
  endpoints: [{addresses: ['fd00:10:244:1::11'], nodeName: node-0}]
";

const IPV4: [&str; 2] = ["10.96.0.15:53", "203.0.113.8:53"];
const IPV6: &str = "[fd00:10:96::15]:53";

struct Fixture {
    cluster: Cluster,
    manifest: tempfile::NamedTempFile,
}

impl Fixture {
    fn new(prefix: &str) -> Self {
        let cluster = Cluster::new(prefix).unwrap();
        for own in ["10.244.1.11:8080", "[fd00:10:244:1::11]:8080"] {
            serve_lengths(&cluster.pods[0].namespace, addr(own));
        }
        let manifest = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(manifest.path(), SERVICE).unwrap();
        Self { cluster, manifest }
    }

    fn arguments(&self) -> [String; 3] {
        let manifests = format!("--manifests={}", self.manifest.path().display());
        [manifests, CIDR.to_owned(), ROUTES.to_owned()]
    }

    /// Runs the proxier to its end; what it logged.
    fn sync(&self) -> String {
        let arguments = self.arguments();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push("--once");
        sync(&self.cluster.node, &arguments)
    }

    /// The MTUs of the routes to VIPs.
    fn mtus(&self) -> Vec<Option<u32>> {
        let mtu = |binding: &Binding| match binding {
            Binding::Route { mtu, .. } => Some(*mtu),
            _ => None,
        };
        self.bindings().iter().filter_map(mtu).collect()
    }

    fn bindings(&self) -> Vec<Binding> {
        let read = || {
            let mut links = Links::open()?;
            let link = links.find("kube-ipvs0")?.context("no dummy interface")?;
            anyhow::Ok(links.bindings(link.index)?)
        };
        self.cluster.node.run(read).unwrap().unwrap()
    }

    /// As releases made them before routes had an MTU.
    fn without_mtu(&self) {
        let old: Vec<Binding> = self
            .bindings()
            .into_iter()
            .map(|binding| match binding {
                Binding::Route {
                    address, source, ..
                } => Binding::Route {
                    address,
                    source,
                    mtu: None,
                },
                other => other,
            })
            .collect();
        let bind = || {
            let mut links = Links::open().unwrap();
            let link = links.find("kube-ipvs0").unwrap().unwrap();
            links.bind(link.index, &old)
        };
        let done = self.cluster.node.run(bind).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        assert_eq!(self.mtus(), [None; 3]);
    }
}

/// Answers with how many bytes came.
fn serve_lengths(pod: &NetNs, own: SocketAddr) {
    let socket = pod.run(|| UdpSocket::bind(own)).unwrap().unwrap();
    pod.serve(socket, |socket| {
        let mut request = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut request) {
            let _ = socket.send_to(length.to_string().as_bytes(), peer);
        }
    });
}

/// Sends so many bytes, from a fresh port, three times: each is answered.
fn send(from: &NetNs, server: &str, size: usize) -> Result<()> {
    let server: SocketAddr = addr(server);
    from.run(|| {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        for _ in 0..3 {
            socket.send(&vec![7; size])?;
            let mut answer = [0; 16];
            let length = socket.recv(&mut answer)?;
            let answer = std::str::from_utf8(answer.get(..length).unwrap_or_default())?;
            ensure!(answer == size.to_string(), "{answer} of {size} bytes");
        }
        Ok(())
    })?
    .with_context(|| format!("{size} bytes to {server}"))
}

/// Every size arrives; IPv6 from the node itself only what its links take in one piece.
fn every_size_arrives(fixture: &Fixture, mtu: usize) {
    let (node, pod) = (&fixture.cluster.node, &fixture.cluster.pods[1].namespace);
    for size in SIZES {
        for server in IPV4 {
            send(node, server, size).unwrap();
        }
        for server in ["10.96.0.15:53", IPV6] {
            send(pod, server, size).unwrap();
        }
        let done = send(node, IPV6, size);
        if size <= mtu - 48 {
            done.unwrap();
        } else {
            // IPVS looks at a datagram as the node sends it, before it is cut, and with IPv6 takes none that is larger than the
            // link of the real server: no route changes that. At least it says so.
            let error = done.unwrap_err();
            let errno = error.downcast_ref().and_then(std::io::Error::raw_os_error);
            assert_eq!(errno, Some(EMSGSIZE), "{error:#}");
        }
    }
}

#[test]
fn datagrams_of_every_size_reach_vips_that_are_routes_from_the_node_itself() {
    let fixture = Fixture::new("big-d");
    fixture.sync();
    assert_eq!(fixture.mtus(), [Some(1500); 3]);
    every_size_arrives(&fixture, 1500);
    // As behind an overlay network.
    for pod in &fixture.cluster.pods {
        let node = &fixture.cluster.node;
        node.ip(&format!("link set {} mtu 1400", pod.name)).unwrap();
        pod.namespace.ip("link set eth0 mtu 1400").unwrap();
    }
    let log = fixture.sync();
    assert!(log.contains("operations=3 "), "{log}");
    assert_eq!(fixture.mtus(), [Some(1400); 3]);
    every_size_arrives(&fixture, 1400);
    let log = fixture.sync();
    assert!(!log.contains("synced"), "{log}");
}

#[test]
fn routes_of_an_older_release_get_an_mtu_and_nobody_who_connects_notices() {
    let fixture = Fixture::new("big-o");
    fixture.sync();
    fixture.without_mtu();
    let node = &fixture.cluster.node;
    let error = send(node, "10.96.0.15:53", 1473).unwrap_err();
    let errno = error.downcast_ref().and_then(std::io::Error::raw_os_error);
    assert_eq!(errno, Some(EMSGSIZE), "this is what is mended: {error:#}");
    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for from in [&fixture.cluster.client, node] {
                    for server in ["10.96.0.15:53", IPV6] {
                        ask_tcp(from, addr(server))?;
                        send(from, server, 1000)?;
                    }
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        let log = fixture.sync();
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap().unwrap();
        assert!(log.contains("operations=3 "), "{log}");
    });
    assert!(asked.into_inner() > 0);
    assert_eq!(fixture.mtus(), [Some(1500); 3]);
    for size in SIZES {
        send(node, "10.96.0.15:53", size).unwrap();
    }
}

#[test]
fn routes_follow_the_smallest_mtu_of_the_nodes_links_and_keep_it() {
    let fixture = Fixture::new("big-f");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut arguments = fixture.arguments().to_vec();
    // Not by a resync.
    arguments.extend(["--ipvs-min-sync-period=0s", "--ipvs-sync-period=10h"].map(str::to_owned));
    let node = &fixture.cluster.node;
    let proxier = RunningProxier::start(node, &arguments, &log).unwrap();
    let said = |log: &Path| std::fs::read_to_string(log).unwrap_or_default();
    eventually(Duration::from_secs(60), || {
        ensure!(said(&log).contains("initial list complete"), "not yet");
        ask_tcp(node, addr("10.96.0.15:53")).map(drop)
    })
    .unwrap();
    let have = |mtu| {
        eventually(Duration::from_secs(60), || {
            let found = fixture.mtus();
            ensure!(found == [Some(mtu); 3], "{found:?}: {}", said(&log));
            Ok(())
        })
        .unwrap();
    };
    have(1500);
    // What others change comes back. Links of field buses and those that lead nowhere do not count.
    fixture.without_mtu();
    have(1500);
    node.ip("link add bus type veth peer name bus1\nlink set bus mtu 127\nlink set bus up\naddr add 192.168.77.1/24 dev bus\n\
             link add nowhere type dummy\nlink set nowhere mtu 1300\nlink set nowhere up\naddr add 192.168.79.1/24 dev nowhere\n\
             link add off type veth peer name off1\nlink set off mtu 1300\naddr add 192.168.80.1/24 dev off\n\
             link add vpn type veth peer name vpn1\nlink set vpn mtu 1380\nlink set vpn up\naddr add 192.168.78.1/24 dev vpn\n")
        .unwrap();
    have(1380);
    node.ip("link delete vpn\n").unwrap();
    have(1500);
    assert!(proxier.stop().unwrap().success());
}
