//! Every way to a Service, with packets: who answers, and whom it sees.
//!
//! Services have one endpoint at most, so that what must happen is known: it answers, or nobody does.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipvs_test_support::{NetNs, POD_PORT, Protocol, Rack, eventually, run_kube_proxy};

/// Where a Service's endpoint is, as seen from node-0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Local,
    Remote,
    None,
    /// Local, serving and on its way out; the only one, so that it is used.
    Terminating,
}

impl Endpoint {
    const ALL: [Self; 4] = [Self::Local, Self::Remote, Self::None, Self::Terminating];

    /// The node and last number of the pod.
    const fn pod(self) -> Option<(u8, u8)> {
        match self {
            Self::Local => Some((0, 11)),
            Self::Remote => Some((1, 11)),
            Self::None => None,
            Self::Terminating => Some((0, 12)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

impl Access {
    const ALL: [Self; 4] = [
        Self::ClusterIp,
        Self::NodePort,
        Self::ExternalIp,
        Self::LoadBalancer,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    PodOfNode,
    PodOfOther,
    Node,
    OtherNode,
    Outside,
}

impl Client {
    const ALL: [Self; 5] = [
        Self::PodOfNode,
        Self::PodOfOther,
        Self::Node,
        Self::OtherNode,
        Self::Outside,
    ];

    fn namespace(self, rack: &Rack) -> &NetNs {
        match self {
            Self::PodOfNode => &rack.nodes[0].pods[1],
            Self::PodOfOther => &rack.nodes[2].pods[0],
            Self::Node => &rack.nodes[0].namespace,
            Self::OtherNode => &rack.nodes[2].namespace,
            Self::Outside => &rack.outside,
        }
    }

    /// The node whose IPVS sees it first: its own, and node-0 for the outside and for node ports.
    const fn entry(self, access: Access) -> u8 {
        match (self, access) {
            (Self::PodOfOther | Self::OtherNode, Access::NodePort) => 0,
            (Self::PodOfOther | Self::OtherNode, _) => 2,
            _ => 0,
        }
    }

    /// The addresses that it has itself.
    fn addresses(self, ipv6: bool) -> Vec<IpAddr> {
        match self {
            Self::PodOfNode => vec![Rack::pod_address(0, 12, ipv6)],
            Self::PodOfOther => vec![Rack::pod_address(2, 11, ipv6)],
            Self::Node => of_node(0, ipv6),
            Self::OtherNode => of_node(2, ipv6),
            Self::Outside if ipv6 => vec!["fd00:50::200".parse().unwrap()],
            Self::Outside => vec!["192.168.50.200".parse().unwrap()],
        }
    }

    const fn is_pod(self) -> bool {
        matches!(self, Self::PodOfNode | Self::PodOfOther)
    }
}

/// The addresses of a node, towards the network and towards its pods.
fn of_node(node: u8, ipv6: bool) -> Vec<IpAddr> {
    let towards_pods = if ipv6 {
        [0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, 1].into()
    } else {
        [10, 244, node, 1].into()
    };
    vec![Rack::node_address(node, ipv6), towards_pods]
}

/// One cell, all of it.
#[derive(Debug, Clone, Copy)]
struct Cell {
    client: Client,
    access: Access,
    endpoint: Endpoint,
    local_policy: bool,
    protocol: Protocol,
    ipv6: bool,
}

impl Cell {
    /// The number of the service: its addresses and ports are made of it.
    fn service(self) -> u8 {
        let endpoint = Endpoint::ALL.iter().position(|it| *it == self.endpoint);
        let endpoint = u8::try_from(endpoint.unwrap()).unwrap();
        10 + endpoint * 2 + u8::from(self.local_policy)
    }

    fn port(self) -> u16 {
        80 + self.protocol as u16
    }

    fn target(self) -> SocketAddr {
        let number = self.service();
        let ip: IpAddr = match (self.access, self.ipv6) {
            (Access::ClusterIp, false) => [10, 96, 0, number].into(),
            (Access::ClusterIp, true) => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number.into()].into(),
            (Access::ExternalIp, false) => [203, 0, 113, number].into(),
            (Access::ExternalIp, true) => [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, number.into()].into(),
            (Access::LoadBalancer, false) => [198, 51, 100, number].into(),
            (Access::LoadBalancer, true) => {
                [0x2001, 0xdb8, 0x100, 0, 0, 0, 0, number.into()].into()
            }
            (Access::NodePort, ipv6) => Rack::node_address(0, ipv6),
        };
        let port = match self.access {
            Access::NodePort => self.node_port(),
            _ => self.port(),
        };
        (ip, port).into()
    }

    fn node_port(self) -> u16 {
        30_000 + u16::from(self.service()) * 10 + self.protocol as u16
    }

    /// Whether a node that connects to the address does so from the address itself, as it does with any of its own. A route
    /// says otherwise.
    fn comes_from_itself(self, binding: Binding) -> bool {
        let is_node = matches!(self.client, Client::Node | Client::OtherNode);
        let is_vip = matches!(self.access, Access::ExternalIp | Access::LoadBalancer);
        is_node && is_vip && binding == Binding::Address
    }

    /// The pod that must answer, or nobody.
    fn answers(self, binding: Binding) -> Option<(u8, u8)> {
        let pod = self.endpoint.pod()?;
        let entry = self.client.entry(self.access);
        if self.access == Access::ClusterIp || !self.local_policy || pod.0 == entry {
            return Some(pod);
        }
        // A policy Local without an endpoint where the client enters. Those of other nodes are used without masquerading,
        // so that only who gets the answer by way of the same node is served.
        let own_node = match self.client {
            Client::PodOfNode | Client::Node => 0,
            Client::PodOfOther | Client::OtherNode => 2,
            Client::Outside => return None,
        };
        // kube-proxy's fault (A7): a node's own connection comes from the virtual address, to which no other node answers.
        (own_node == entry && !self.comes_from_itself(binding)).then_some(pod)
    }

    /// Whom the pod must see; nothing where both the client and the node are right.
    fn sees(self, masquerade: Masquerade, binding: Binding) -> Option<Seen> {
        let hairpin = self.answers(binding)? == (0, 12) && self.client == Client::PodOfNode;
        if hairpin {
            return Some(Seen::Node);
        }
        match (self.access, masquerade) {
            _ if self.local_policy && self.comes_from_itself(binding) => Some(Seen::Vip),
            _ if !self.client.is_pod() && self.client != Client::Outside => None,
            (Access::ClusterIp, Masquerade::All) => Some(Seen::Node),
            (Access::ClusterIp, Masquerade::FromOutside | Masquerade::Needed) => Some(Seen::Client),
            _ if self.local_policy && self.client == Client::Outside => Some(Seen::Client),
            _ if self.client == Client::Outside => Some(Seen::Node),
            _ => None,
        }
    }
}

/// Whom a pod sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Client,
    /// The node where the client enters.
    Node,
    /// The address that the client asked.
    Vip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    Address,
    Route,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Masquerade {
    /// `--cluster-cidr`.
    FromOutside,
    /// `--masquerade-all`.
    All,
    /// Neither: nobody knows who is of the cluster.
    Needed,
}

fn manifest() -> String {
    let mut text = String::new();
    for node in 0..3 {
        let [v4, v6] = [false, true].map(|ipv6| Rack::node_address(node, ipv6));
        text += &format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-{node}}}\nstatus:\n  addresses:\n  \
             - {{type: InternalIP, address: {v4}}}\n  - {{type: InternalIP, address: '{v6}'}}\n"
        );
    }
    for endpoint in Endpoint::ALL {
        for local_policy in [false, true] {
            let cell = |protocol| Cell {
                client: Client::Node,
                access: Access::ClusterIp,
                endpoint,
                local_policy,
                protocol,
                ipv6: false,
            };
            let number = cell(Protocol::Tcp).service();
            let ports: Vec<String> = Protocol::ALL
                .into_iter()
                .map(|protocol| {
                    let cell = cell(protocol);
                    format!(
                        "{{name: {}, port: {}, protocol: {protocol}, targetPort: {POD_PORT}, nodePort: {}}}",
                        protocol.name().to_lowercase(),
                        cell.port(),
                        cell.node_port()
                    )
                })
                .collect();
            let policy = if local_policy { "Local" } else { "Cluster" };
            text += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec:\n  type: LoadBalancer\n  \
                 externalTrafficPolicy: {policy}\n  ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]\n  \
                 clusterIP: 10.96.0.{number}\n  clusterIPs: [10.96.0.{number}, 'fd00:10:96::{number:x}']\n  \
                 externalIPs: [203.0.113.{number}, '2001:db8:113::{number:x}']\n  ports: [{}]\nstatus:\n  loadBalancer:\n    \
                 ingress: [{{ip: 198.51.100.{number}}}, {{ip: '2001:db8:100::{number:x}'}}]\n",
                ports.join(", ")
            );
            let Some((node, last)) = endpoint.pod() else {
                continue;
            };
            let conditions = match endpoint {
                Endpoint::Terminating => "{ready: false, serving: true, terminating: true}",
                _ => "{ready: true}",
            };
            for (ipv6, kind) in [(false, "IPv4"), (true, "IPv6")] {
                let address = Rack::pod_address(node, last, ipv6);
                let ports: Vec<String> = Protocol::ALL
                    .into_iter()
                    .map(|protocol| {
                        let name = protocol.name().to_lowercase();
                        format!("{{name: {name}, port: {POD_PORT}, protocol: {protocol}}}")
                    })
                    .collect();
                text += &format!(
                    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{number}-{}, labels: \
                     {{kubernetes.io/service-name: s{number}}}}}\naddressType: {kind}\nports: [{}]\nendpoints:\n\
                     - {{addresses: ['{address}'], conditions: {conditions}, nodeName: node-{node}}}\n",
                    kind.to_lowercase(),
                    ports.join(", ")
                );
            }
        }
    }
    text
}

/// Asks every cell; returns what is wrong.
fn ask_all(rack: &Rack, masquerade: Masquerade, binding: Binding) -> (usize, Vec<String>) {
    let (mut asked, mut wrong) = (0, Vec::new());
    for protocol in Protocol::ALL {
        for ipv6 in [false, true] {
            for endpoint in Endpoint::ALL {
                for local_policy in [false, true] {
                    for access in Access::ALL {
                        for client in Client::ALL {
                            // Nobody outside has a way to cluster IPs.
                            if client == Client::Outside && access == Access::ClusterIp {
                                continue;
                            }
                            let cell = Cell {
                                client,
                                access,
                                endpoint,
                                local_policy,
                                protocol,
                                ipv6,
                            };
                            asked += 1;
                            wrong.extend(check(rack, cell, masquerade, binding));
                        }
                    }
                }
            }
        }
    }
    (asked, wrong)
}

fn check(rack: &Rack, cell: Cell, masquerade: Masquerade, binding: Binding) -> Option<String> {
    let wanted = cell.answers(binding);
    let patience = Duration::from_millis(if wanted.is_some() { 10_000 } else { 150 });
    let namespace = cell.client.namespace(rack);
    let found = ipvs_test_support::ask(namespace, cell.protocol, cell.target(), patience);
    let (answer, (node, last)) = match (found, wanted) {
        (Err(_), None) => return None,
        (Ok(answer), Some(pod)) => (answer, pod),
        (found, wanted) => return Some(format!("{cell:?}: {found:?} instead of {wanted:?}")),
    };
    let name = format!("pod-{node}-{last}");
    if answer.pod != name {
        return Some(format!("{cell:?}: {answer:?} instead of {name}"));
    }
    let is_client = cell.client.addresses(cell.ipv6).contains(&answer.client);
    let entry = of_node(cell.client.entry(cell.access), cell.ipv6);
    let is_entry = entry.contains(&answer.client);
    let wanted = cell.sees(masquerade, binding);
    let right = match wanted {
        Some(Seen::Client) => is_client,
        Some(Seen::Node) => is_entry,
        Some(Seen::Vip) => answer.client == cell.target().ip(),
        None => is_client || is_entry,
    };
    (!right).then(|| {
        format!(
            "{cell:?}: {name} saw {} instead of {wanted:?}",
            answer.client
        )
    })
}

fn matrix(prefix: &str, masquerade: Masquerade, binding: Binding) {
    let rack = Rack::new(prefix).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    std::fs::write(&file, manifest()).unwrap();
    let masquerading = match masquerade {
        Masquerade::FromOutside => "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48",
        Masquerade::All => "--masquerade-all",
        Masquerade::Needed => "--masquerade-all=false",
    };
    for node in &rack.nodes {
        let arguments = [
            format!("--manifests={}", file.display()),
            format!("--hostname-override={}", node.name),
            format!("--vip-binding={binding:?}").to_lowercase(),
            masquerading.to_owned(),
            "--once".to_owned(),
        ];
        let output = run_kube_proxy(&node.namespace, &arguments).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
    }
    // Neighbours may still be looking for each other.
    let first = Cell {
        client: Client::Outside,
        access: Access::NodePort,
        endpoint: Endpoint::Remote,
        local_policy: false,
        protocol: Protocol::Tcp,
        ipv6: true,
    };
    eventually(Duration::from_secs(20), || {
        check(&rack, first, masquerade, binding).map_or(Ok(()), |wrong| Err(anyhow::anyhow!(wrong)))
    })
    .unwrap();
    let start = Instant::now();
    let (asked, wrong) = ask_all(&rack, masquerade, binding);
    println!(
        "{binding:?}, {masquerade:?}: {asked} questions, {} wrong answers, {:.1} s",
        wrong.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn row_119_and_every_way_to_a_service_with_addresses() {
    matrix("mxa", Masquerade::FromOutside, Binding::Address);
}

#[test]
fn row_119_and_every_way_to_a_service_with_routes() {
    matrix("mxr", Masquerade::FromOutside, Binding::Route);
}

#[test]
fn every_way_to_a_service_when_everything_is_masqueraded() {
    matrix("mxm", Masquerade::All, Binding::Route);
}

/// Of traffic to cluster IPs only a node's own is masqueraded, which comes from the virtual address.
#[test]
fn every_way_to_a_service_when_nobody_knows_who_is_of_the_cluster() {
    matrix("mxn", Masquerade::Needed, Binding::Address);
}
