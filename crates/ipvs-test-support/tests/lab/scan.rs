//! A virtual address is no way to the node: only ports of Services answer there, and nobody answers for it by ARP where
//! strict ARP is asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};

use ipvs_test_support::{NetNs, Rack, eventually, run_kube_proxy, serve_tcp};

use crate::packets::CIDR;

/// Two Services share a load balancer's address: one for all, two with source ranges.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: open}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.1.1, "fd00:10:96::1:1"]
  clusterIP: 10.96.1.1
  externalIPs: [203.0.113.1, "2001:db8:113::1"]
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}, {ip: "2001:db8:100::1"}]}}
---
apiVersion: v1
kind: Service
metadata: {name: outside-only}
spec:
  type: LoadBalancer
  clusterIP: 10.96.1.2
  loadBalancerSourceRanges: [192.168.50.200/32]
  ports: [{port: 443, nodePort: 30443}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  type: LoadBalancer
  clusterIP: 10.96.1.3
  loadBalancerSourceRanges: [192.0.2.0/24]
  ports: [{port: 444, nodePort: 30444}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}
"#;

const PORTS: [u16; 24] = [
    1, 21, 22, 23, 25, 53, 80, 111, 179, 443, 444, 2379, 5000, 6443, 8080, 8443, 9090, 10248,
    10249, 10250, 10256, 30080, 30443, 30444,
];
/// What the node itself serves, on every address it has.
const HOST_PORTS: [u16; 4] = [22, 5000, 10250, 10256];

fn manifest() -> String {
    let slice = |service: &str, family: &str, address: &str| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: {family}\n\
             metadata: {{name: {service}-{}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             ports: [{{port: 8080}}]\nendpoints: [{{addresses: [\"{address}\"], nodeName: node-1}}]\n",
            family.to_lowercase()
        )
    };
    let services = ["open", "outside-only", "nobody"];
    let ipv4 = services.map(|service| slice(service, "IPv4", "10.244.1.11"));
    let ipv6 = slice("open", "IPv6", "fd00:10:244:1::11");
    format!("{OBJECTS}{}{ipv6}", ipv4.concat())
}

/// The ports on which a connection comes about.
fn open_ports(from: &NetNs, address: IpAddr) -> Vec<u16> {
    let connects = |port: &u16| {
        let server = SocketAddr::new(address, *port);
        TcpStream::connect_timeout(&server, Duration::from_millis(1_500)).is_ok()
    };
    let all_at_once = || {
        std::thread::scope(|scope| {
            let tries = PORTS.map(|port| scope.spawn(move || connects(&port)));
            tries.map(|one| one.join().unwrap())
        })
    };
    let open = from.run(all_at_once).unwrap();
    let open = PORTS.into_iter().zip(open).filter(|(_, open)| *open);
    open.map(|(port, _)| port).collect()
}

const ECHO_REPLY: (u8, u8) = (0, 0);
const PORT_UNREACHABLE: (u8, u8) = (3, 3);

/// Type and code of the answer to a ping over IPv4.
fn ping(from: &NetNs, address: Ipv4Addr) -> Option<(u8, u8)> {
    // Type 8, code 0, a checksum that makes the sum of all words 0xffff, number 1 of a client that calls itself 0x7069.
    let request = [8, 0, 0x87, 0x95, 0x70, 0x69, 0, 1];
    let ask = || -> anyhow::Result<(u8, u8)> {
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
        let patience = Some(Duration::from_secs(2));
        set_socket_timeout(&socket, Timeout::Recv, patience)?;
        sendto(
            &socket,
            &request,
            SendFlags::empty(),
            &SocketAddr::from((address, 0)),
        )?;
        let mut packet = [0; 256];
        let (length, _) = recv(&socket, &mut packet[..], RecvFlags::empty())?;
        let header = usize::from(packet[0] & 0xf) * 4;
        anyhow::ensure!(length >= header + 8, "{length} bytes");
        Ok((packet[header], packet[header + 1]))
    };
    from.run(ask).unwrap().ok()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn scan(prefix: &str, binding: &str) {
    let rack = Rack::new(prefix).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, manifest()).unwrap();
    for node in &rack.nodes {
        for port in HOST_PORTS {
            serve_tcp(&node.namespace, &node.name, port).unwrap();
        }
        let arguments = [
            format!("--manifests={}", file.display()),
            format!("--hostname-override={}", node.name),
            CIDR.to_owned(),
            binding.to_owned(),
            "--ipvs-strict-arp".to_owned(),
            "--once".to_owned(),
        ];
        let output = run_kube_proxy(&node.namespace, &arguments).unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let node = &rack.nodes[0].namespace;
    let pod = &rack.nodes[0].pods[0];
    // The scanner sees what is open.
    let of_node = open_ports(&rack.outside, Rack::node_address(0, false));
    for port in HOST_PORTS.into_iter().chain([30080]) {
        assert!(of_node.contains(&port), "{port} in {of_node:?}");
    }
    let mut scans = 0;
    for (name, from, address, wanted) in [
        ("outside", &rack.outside, "203.0.113.1", &[80][..]),
        ("outside", &rack.outside, "2001:db8:113::1", &[80]),
        ("outside", &rack.outside, "198.51.100.1", &[80, 443]),
        ("outside", &rack.outside, "2001:db8:100::1", &[80]),
        ("pod", pod, "10.96.1.1", &[80]),
        ("pod", pod, "fd00:10:96::1:1", &[80]),
        ("pod", pod, "10.96.1.2", &[443]),
        ("pod", pod, "203.0.113.1", &[80]),
        ("pod", pod, "198.51.100.1", &[80]),
        ("node", node, "10.96.1.1", &[80]),
        ("node", node, "fd00:10:96::1:1", &[80]),
        ("node", node, "203.0.113.1", &[80]),
    ] {
        assert_eq!(
            open_ports(from, ip(address)),
            wanted,
            "{address} from {name} with {binding}"
        );
        scans += 1;
    }
    // As for every port of no Service: refused, not unheard.
    for address in ["203.0.113.1", "198.51.100.1"] {
        let answer = ping(&rack.outside, address.parse().unwrap());
        assert_eq!(answer, Some(PORT_UNREACHABLE), "{address} with {binding}");
    }
    let answer = ping(pod, "10.96.1.1".parse().unwrap());
    assert_eq!(answer, Some(PORT_UNREACHABLE), "{binding}");
    let answer = ping(&rack.outside, "192.168.50.10".parse().unwrap());
    assert_eq!(answer, Some(ECHO_REPLY), "the node itself");
    println!(
        "{scans} scans of {} ports: only those of Services answer",
        PORTS.len()
    );
}

#[test]
fn only_ports_of_services_answer_on_a_virtual_address_bound_as_address() {
    scan("scan-a", "--vip-binding=address");
}

#[test]
fn only_ports_of_services_answer_on_a_virtual_address_bound_as_route() {
    scan("scan-r", "--vip-binding=route");
}

/// The outside believes the address to be on its own network, and asks who has it.
#[test]
fn with_strict_arp_nobody_answers_for_a_virtual_address() {
    let rack = Rack::new("scan-arp").unwrap();
    let node = &rack.nodes[0];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, manifest()).unwrap();
    rack.outside
        .ip("route replace 203.0.113.1/32 dev eth0\n")
        .unwrap();
    let ask = || {
        let connects = || {
            TcpStream::connect_timeout(&"203.0.113.1:80".parse().unwrap(), Duration::from_secs(4))
        };
        rack.outside.output("ip", &["neigh", "flush", "all"])?;
        anyhow::Ok(rack.outside.run(connects)?.map(drop)?)
    };
    for (binding, strict, answers) in [
        ("address", false, true),
        ("address", true, false),
        ("route", true, false),
    ] {
        let arguments = [
            format!("--manifests={}", file.display()),
            CIDR.to_owned(),
            format!("--vip-binding={binding}"),
            format!("--ipvs-strict-arp={strict}"),
            "--once".to_owned(),
        ];
        let output = run_kube_proxy(&node.namespace, &arguments).unwrap();
        assert!(output.status.success(), "{output:?}");
        let asked = if answers {
            eventually(Duration::from_secs(10), ask)
        } else {
            ask()
        };
        assert_eq!(
            asked.is_ok(),
            answers,
            "{binding}, strict {strict}: {asked:?}"
        );
    }
}
