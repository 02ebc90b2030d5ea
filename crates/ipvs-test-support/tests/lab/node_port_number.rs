//! VIPs with a port that is the number of another Service's node port: quirk 16 of kube-proxy (kubernetes#132068).

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use anyhow::Result;
use ipvs_test_support::{Cluster, ask_tcp, ask_udp, filter_is_nftables};

use crate::packets::{CIDR, addr};
use crate::shop::sync;

/// Services of TCP and UDP with port 30080, and two others that have it as a node port.
const SERVICES: &str = r"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-0}, status: {addresses: [{type: InternalIP, address: 192.168.50.10}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: a}
  spec:
    clusterIPs: [10.96.0.13, 'fd00:10:96::13']
    ports: [{name: t, port: 30080}, {name: u, port: 30080, protocol: UDP}]
- apiVersion: v1
  kind: Service
  metadata: {name: lb}
  spec:
    clusterIPs: [10.96.0.14, 'fd00:10:96::14']
    type: LoadBalancer
    externalTrafficPolicy: Local
    healthCheckNodePort: 32111
    ports: [{name: t, port: 30080, nodePort: 31999}]
  status: {loadBalancer: {ingress: [{ip: 203.0.113.9}, {ip: 'fd00:203::9'}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: np}
  spec:
    clusterIPs: [10.96.0.12, 'fd00:10:96::12']
    type: NodePort
    ports: [{name: t, port: 80, nodePort: 30080}, {name: u, port: 80, protocol: UDP, nodePort: 30080}]
";

/// With an endpoint for each Service and family.
fn manifest() -> String {
    let mut all = SERVICES.to_owned();
    for (service, number) in [("a", 11), ("lb", 11), ("np", 12)] {
        for (family, pod) in [("IPv4", "10.244.1."), ("IPv6", "fd00:10:244:1::")] {
            all += &format!(
                "- apiVersion: discovery.k8s.io/v1\n  kind: EndpointSlice\n  addressType: {family}\n  metadata: \
                 {{name: {service}-{}, labels: {{kubernetes.io/service-name: {service}}}}}\n  \
                 ports: [{{name: t, port: 8080}}, {{name: u, port: 5353, protocol: UDP}}]\n  \
                 endpoints: [{{addresses: ['{pod}{number}'], nodeName: node-0}}]\n",
                family.to_lowercase(),
            );
        }
    }
    all
}

struct Fixture {
    cluster: Cluster,
    manifest: tempfile::NamedTempFile,
}

impl Fixture {
    fn new(prefix: &str) -> Self {
        let cluster = Cluster::new(prefix).unwrap();
        let client = &cluster.client;
        client
            .ip("route add 203.0.113.9/32 via 192.168.50.10\nroute add fd00:203::9/128 via fd00:50::10\n")
            .unwrap();
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), manifest()).unwrap();
        Self {
            cluster,
            manifest: file,
        }
    }

    /// Runs the proxier to its end; what it logged.
    fn sync(&self, binding: &str) -> String {
        let manifests = format!("--manifests={}", self.manifest.path().display());
        let binding = format!("--vip-binding={binding}");
        let nodes = "--nodeport-addresses=192.168.50.0/24,fd00:50::/64";
        let arguments = [manifests.as_str(), "--once", CIDR, nodes, binding.as_str()];
        sync(&self.cluster.node, &arguments)
    }

    /// Whom the servers see, of a pod and of an outside client that must keep their addresses.
    fn seen(&self) -> Result<Vec<(&'static str, IpAddr)>> {
        let (pod, client) = (&self.cluster.pods[1].namespace, &self.cluster.client);
        let cluster_ips = ["10.96.0.13:30080", "[fd00:10:96::13]:30080"];
        let load_balancers = ["203.0.113.9:30080", "[fd00:203::9]:30080"];
        let asked = [
            cluster_ips.map(|vip| (pod, vip)),
            load_balancers.map(|vip| (client, vip)),
        ];
        let mut seen = Vec::new();
        for (from, vip) in asked.concat() {
            seen.push((vip, ask_tcp(from, addr(vip))?.client));
        }
        let [vip, _] = cluster_ips;
        seen.push((vip, ask_udp(pod, addr(vip))?.client));
        Ok(seen)
    }

    /// The clients themselves.
    fn own() -> Vec<(&'static str, IpAddr)> {
        let own = [
            ("10.96.0.13:30080", "10.244.1.12"),
            ("[fd00:10:96::13]:30080", "fd00:10:244:1::12"),
            ("203.0.113.9:30080", "192.168.50.1"),
            ("[fd00:203::9]:30080", "fd00:50::1"),
            ("10.96.0.13:30080", "10.244.1.12"),
        ];
        own.map(|(vip, client)| (vip, client.parse().unwrap()))
            .into()
    }

    fn services_chain(&self, program: &str) -> Vec<String> {
        let save = format!("{program}-save");
        let text = self.cluster.node.output(&save, &["-t", "nat"]).unwrap();
        let rules = text
            .lines()
            .filter(|line| line.starts_with("-A KUBE-SERVICES "));
        rules.map(str::to_owned).collect()
    }

    /// Puts the jump for node ports where kube-proxy has it: before the two rules that accept.
    fn in_kube_proxys_order(&self) {
        for program in ["iptables", "ip6tables"] {
            let rules = self.services_chain(program);
            let (jump, others) = rules.split_last().unwrap();
            assert!(jump.ends_with("-j KUBE-NODE-PORT"), "{rules:?}");
            // The new one comes first, so that the chain is never without it.
            for command in [
                format!(
                    "-I KUBE-SERVICES {} -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
                    others.len() - 1
                ),
                format!("-D KUBE-SERVICES {}", rules.len() + 1),
            ] {
                let words: Vec<&str> = ["-t", "nat"]
                    .into_iter()
                    .chain(command.split(' '))
                    .collect();
                self.cluster.node.output(program, &words).unwrap();
            }
        }
    }
}

#[test]
fn q16_fixed_a_vips_port_that_is_a_node_port_too_leaves_clients_their_addresses() {
    for (prefix, binding) in [("q16-a", "address"), ("q16-r", "route")] {
        let fixture = Fixture::new(prefix);
        fixture.sync(binding);
        assert_eq!(fixture.seen().unwrap(), Fixture::own(), "{binding}");
        // The node port itself, and clients from elsewhere, are masqueraded as ever.
        let client = &fixture.cluster.client;
        for server in [
            "192.168.50.10:30080",
            "[fd00:50::10]:30080",
            "10.96.0.13:30080",
        ] {
            let answer = ask_tcp(client, addr(server)).unwrap();
            let own = ["192.168.50.1", "fd00:50::1"].map(|own| own.parse::<IpAddr>().unwrap());
            assert!(
                !own.contains(&answer.client),
                "{binding} {server}: {answer:?}"
            );
        }
        let answer = ask_udp(client, addr("192.168.50.10:30080")).unwrap();
        assert_eq!(answer.pod, "pod-b");
    }
}

#[test]
fn q16_fixed_kube_proxys_order_is_mended_at_start_and_nobody_who_connects_notices() {
    if filter_is_nftables() {
        println!("skipped: it needs rules of iptables");
        return;
    }
    let fixture = Fixture::new("q16-o");
    fixture.sync("address");
    let ours = ["iptables", "ip6tables"].map(|program| fixture.services_chain(program));
    fixture.in_kube_proxys_order();
    let masqueraded = fixture.seen().unwrap();
    for (seen, own) in masqueraded.iter().zip(Fixture::own()) {
        assert_ne!(*seen, own, "this is what is mended");
    }
    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let log = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fixture.seen()?;
                ask_tcp(&fixture.cluster.client, addr("192.168.50.10:30080"))?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        let log = fixture.sync("address");
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap().unwrap();
        log
    });
    assert!(asked.into_inner() > 0);
    // The rules of both families, and nothing else.
    assert!(log.contains("operations=2 "), "{log}");
    let found = ["iptables", "ip6tables"].map(|program| fixture.services_chain(program));
    assert_eq!(found, ours);
    assert_eq!(fixture.seen().unwrap(), Fixture::own());
}
