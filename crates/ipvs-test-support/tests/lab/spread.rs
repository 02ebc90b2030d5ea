//! Who gets how many connections: schedulers, weights, affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipvs_test_support::{Rack, eventually, run_kube_proxy};

use crate::packets::CIDR;

/// Sources that the outside has beside its own address: 192.168.50.101 and on.
const SOURCES: u8 = 48;
/// Of the kernel, for flows that say nothing any more.
const UDP_TIMEOUT: Duration = Duration::from_secs(1);
const PODS: [(u8, u8); 4] = [(0, 11), (0, 12), (1, 11), (1, 12)];

/// A Service on 203.0.113.N with all four pods.
fn service(name: &str, number: u8, annotations: &str, spec: &str) -> String {
    let endpoints = PODS.map(|(node, last)| {
        format!("- {{addresses: [10.244.{node}.{last}], nodeName: node-{node}}}\n")
    });
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
         spec:\n  clusterIP: 10.96.2.{number}\n  externalIPs: [203.0.113.{number}]\n{spec}\
         \x20 ports: [{{port: 80, protocol: UDP}}]\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         ports: [{{port: 8080, protocol: UDP}}]\nendpoints:\n{}",
        endpoints.concat()
    )
}

fn manifest() -> String {
    let by = |scheduler: &str| format!("ipvs-proxier/scheduler: {scheduler}");
    let weighted = format!("{}, ipvs-proxier/weights: \"node-0=1,node-1=3\"", by("wrr"));
    let one_packet = format!("{}, ipvs-proxier/one-packet: \"true\"", by("rr"));
    let affinity =
        "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}\n";
    [
        service("rr", 1, &by("rr"), ""),
        service("wrr", 2, &weighted, ""),
        service("lc", 3, &by("lc"), ""),
        service("sh", 4, &by("sh"), ""),
        service("mh", 5, &by("mh"), ""),
        service("one-packet", 6, &one_packet, ""),
        service("affine", 7, &by("rr"), affinity),
    ]
    .concat()
}

/// The pod that answers a new flow from a source.
fn ask(rack: &Rack, from: SocketAddrV4, service: u8) -> Result<String> {
    rack.outside.run(|| {
        let socket = UdpSocket::bind(from)?;
        socket.connect(SocketAddr::from(([203, 0, 113, service], 80)))?;
        socket.set_read_timeout(Some(Duration::from_secs(3)))?;
        socket.send(b"?")?;
        let mut text = [0; 64];
        let length = socket.recv(&mut text)?;
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
        let pod = text.split(' ').next().context("no pod")?;
        Ok(pod.to_owned())
    })?
}

fn source(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number % usize::from(SOURCES)).unwrap();
    Ipv4Addr::new(192, 168, 50, 101 + number)
}

/// How many flows each pod gets, from all sources in turn.
fn spread(rack: &Rack, service: u8, flows: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for flow in 0..flows {
        let pod = ask(rack, SocketAddrV4::new(source(flow), 0), service).unwrap();
        *counts.entry(pod).or_default() += 1;
    }
    counts
}

fn counts_are(found: &BTreeMap<String, usize>, wanted: [usize; 4], off: usize) {
    for ((node, last), wanted) in PODS.into_iter().zip(wanted) {
        let pod = format!("pod-{node}-{last}");
        let count = found.get(&pod).copied().unwrap_or_default();
        assert!(
            count.abs_diff(wanted) <= off,
            "{pod} instead of {wanted}: {found:?}"
        );
    }
}

/// Each source, at a port of its choice or at any, has a pod of its own, and keeps it when its connections have ended.
fn sources_keep_their_pods(rack: &Rack, service: u8, port: u16) {
    let all = || -> Vec<String> {
        let from = (0..usize::from(SOURCES)).map(|number| SocketAddrV4::new(source(number), port));
        from.map(|from| ask(rack, from, service).unwrap()).collect()
    };
    let first = all();
    std::thread::sleep(2 * UDP_TIMEOUT);
    assert_eq!(all(), first);
    let pods: BTreeSet<String> = first.into_iter().collect();
    assert_eq!(pods.len(), PODS.len(), "only {pods:?} have sources");
}

#[test]
fn schedulers_spread_as_they_should() {
    schedulers("spread", 480);
}

#[test]
#[ignore = "minutes: cargo xtask test --nightly"]
fn schedulers_spread_10000_flows_as_they_should() {
    schedulers("spread-10k", 10_000);
}

fn schedulers(prefix: &str, flows: usize) {
    let rack = Rack::new(prefix).unwrap();
    for number in 0..SOURCES {
        let line = format!("addr add 192.168.50.{}/32 dev eth0\n", 101 + number);
        rack.outside.ip(&line).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, manifest()).unwrap();
    let node = &rack.nodes[0].namespace;
    let arguments = [
        format!("--manifests={}", file.display()),
        CIDR.to_owned(),
        format!("--ipvs-udp-timeout={}s", UDP_TIMEOUT.as_secs()),
        "--once".to_owned(),
    ];
    let output = run_kube_proxy(node, &arguments).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let any_port = SocketAddrV4::new(source(0), 0);
    let first = || ask(&rack, any_port, 1);
    eventually(Duration::from_secs(20), first).unwrap();

    counts_are(&spread(&rack, 1, flows), [flows / 4; 4], 1);
    let weighted = [flows / 8, flows / 8, 3 * flows / 8, 3 * flows / 8];
    counts_are(&spread(&rack, 2, flows), weighted, 3);
    // Connections end meanwhile, by their timeout.
    counts_are(&spread(&rack, 3, flows), [flows / 4; 4], flows / 8);
    sources_keep_their_pods(&rack, 4, 0);
    // As kube-proxy makes it, by address and port.
    sources_keep_their_pods(&rack, 5, 40_053);

    // One flow of many packets: each is scheduled anew. Their answers come from the pods themselves.
    rack.outside
        .run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            for _ in 0..flows {
                socket.send_to(b"?", "203.0.113.6:80").unwrap();
            }
        })
        .unwrap();
    let count = || -> Result<Vec<u64>> {
        let table = node.output(
            "ipvsadm",
            &["-L", "-n", "--stats", "--exact", "-u", "203.0.113.6:80"],
        )?;
        let servers = table
            .lines()
            .filter(|line| line.trim_start().starts_with("->"));
        let packets = servers.filter_map(|line| line.split_whitespace().nth(3)?.parse().ok());
        Ok(packets.collect())
    };
    eventually(Duration::from_secs(5), || {
        let counts = count()?;
        let quarter = flows as u64 / 4;
        anyhow::ensure!(counts == [quarter; 4], "{counts:?}");
        Ok(())
    })
    .unwrap();

    // A source keeps its pod until the timeout, counted from its last flow.
    let affine = || ask(&rack, any_port, 7).unwrap();
    let pod = affine();
    for _ in 0..20 {
        assert_eq!(affine(), pod);
        std::thread::sleep(Duration::from_millis(150));
    }
    std::thread::sleep(Duration::from_millis(4_500));
    assert_ne!(affine(), pod, "the next one, since 2 s have passed");
}
