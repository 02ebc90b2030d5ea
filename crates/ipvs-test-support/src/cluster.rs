use anyhow::Result;

use crate::NetNs;
use crate::pod::{serve_tcp, serve_udp};

/// A pod of a [`Cluster`].
#[derive(Debug)]
pub struct Pod {
    /// Its name, by which it answers.
    pub name: String,
    /// Where it runs.
    pub namespace: NetNs,
    /// The last number of its addresses: 10.244.1.N and fd00:10:244:1::N.
    number: u8,
}

impl Pod {
    fn new(prefix: &str, name: &str, number: u8) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            namespace: NetNs::new(&format!("{prefix}-{name}"))?,
            number,
        })
    }
}

/// A node with two pods and an outside client, each a network namespace, joined by veth and routed:
///
/// ```text
/// client 192.168.50.1 ── 192.168.50.10 node ── 10.244.1.11 pod-a
///        fd00:50::1      fd00:50::10      └─── 10.244.1.12 pod-b     (IPv6: fd00:10:244:1::11, ::12)
/// ```
///
/// The client routes 10.96.0.0/16 and fd00:10:96::/112 to the node. The pods answer on [`TCP_PORTS`] and, for UDP, on
/// [`UDP_PORT`], with their name.
#[derive(Debug)]
pub struct Cluster {
    /// The node, named `node-0` in manifests.
    pub node: NetNs,
    /// pod-a and pod-b.
    pub pods: [Pod; 2],
    /// The outside client.
    pub client: NetNs,
    prefix: String,
}

/// TCP ports that every pod of a [`Cluster`] answers on.
pub const TCP_PORTS: [u16; 5] = [8080, 8081, 9090, 9100, 5353];
/// UDP port that every pod of a [`Cluster`] answers on.
pub const UDP_PORT: u16 = 5353;

impl Cluster {
    /// Lays it out; namespaces are named with `prefix`.
    ///
    /// # Errors
    /// With what `ip` says: it needs root, and the module `veth`.
    pub fn new(prefix: &str) -> Result<Self> {
        let namespace = |name: &str| NetNs::new(&format!("{prefix}-{name}"));
        let cluster = Self {
            node: namespace("node")?,
            pods: [
                Pod::new(prefix, "pod-a", 11)?,
                Pod::new(prefix, "pod-b", 12)?,
            ],
            client: namespace("client")?,
            prefix: prefix.to_owned(),
        };
        cluster.join_client()?;
        for pod in &cluster.pods {
            cluster.join_pod(pod)?;
            for port in TCP_PORTS {
                serve_tcp(&pod.namespace, &pod.name, port)?;
            }
            // One socket for each family, so that answers come from the address that was asked.
            serve_udp(&pod.namespace, &pod.name, [0, 0, 0, 0].into(), UDP_PORT)?;
        }
        Ok(cluster)
    }

    /// One more pod, `pod-NUMBER` with the address 10.244.1.NUMBER, that answers nobody yet. Its link goes when it is dropped.
    ///
    /// # Errors
    /// With what `ip` says.
    pub fn add_pod(&self, number: u8) -> Result<Pod> {
        let pod = Pod::new(&self.prefix, &format!("pod-{number}"), number)?;
        self.join_pod(&pod)?;
        Ok(pod)
    }

    fn join_client(&self) -> Result<()> {
        self.node.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}",
            self.client.name()
        ))?;
        self.node.ip(
            "addr add 192.168.50.10/24 dev eth0\naddr add fd00:50::10/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via 192.168.50.1\n",
        )?;
        self.client.ip(
            "addr add 192.168.50.1/24 dev eth0\naddr add fd00:50::1/64 dev eth0 nodad\nlink set eth0 up\n\
             route add 10.96.0.0/16 via 192.168.50.10\nroute add fd00:10:96::/112 via fd00:50::10\n",
        )?;
        self.node.ip("route add ::/0 via fd00:50::1")?;
        // The proxier sets forwarding for IPv4, as kube-proxy does; for IPv6 the node's owner must.
        self.node
            .run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))??;
        Ok(())
    }

    fn join_pod(&self, pod: &Pod) -> Result<()> {
        let Pod {
            name,
            namespace,
            number,
        } = pod;
        self.node.ip(&format!(
            "link add {name} type veth peer name eth0 netns {}",
            namespace.name()
        ))?;
        self.node.ip(&format!(
            "addr add 10.244.1.1/32 dev {name}\naddr add fd00:10:244:1::1/128 dev {name} nodad\nlink set {name} up\n\
             route add 10.244.1.{number}/32 dev {name}\nroute add fd00:10:244:1::{number}/128 dev {name}\n"
        ))?;
        namespace.ip(&format!(
            "addr add 10.244.1.{number}/32 dev eth0\naddr add fd00:10:244:1::{number}/128 dev eth0 nodad\n\
             link set eth0 up\nroute add 10.244.1.1 dev eth0\nroute add default via 10.244.1.1\n\
             route add fd00:10:244:1::1/128 dev eth0\n"
        ))?;
        namespace.ip("route add ::/0 via fd00:10:244:1::1 dev eth0")
    }
}
