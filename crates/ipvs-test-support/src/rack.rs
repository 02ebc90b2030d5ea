use std::net::IpAddr;

use anyhow::{Context as _, Result};

use crate::NetNs;
use crate::pod::{Protocol, serve};

/// Three nodes with two pods each, and an outside client, on one network:
///
/// ```text
/// outside 192.168.50.200 ─┬─ node-0 192.168.50.10 ── 10.244.0.11, 10.244.0.12
///         fd00:50::200    ├─ node-1 192.168.50.11 ── 10.244.1.11, 10.244.1.12
///                         └─ node-2 192.168.50.12 ── 10.244.2.11, 10.244.2.12    (IPv6: fd00:10:244:N::11, ::12)
/// ```
///
/// Nodes route each other's pods. The outside reaches 203.0.113.0/24, 198.51.100.0/24 and their IPv6 likes
/// (2001:db8:113::/64, 2001:db8:100::/64) through node-0. Pods answer on [`POD_PORT`] by every protocol that the kernel has,
/// with their name.
#[derive(Debug)]
pub struct Rack {
    /// node-0 to node-2.
    pub nodes: Vec<RackNode>,
    /// The outside client.
    pub outside: NetNs,
    /// What joins them.
    _switch: NetNs,
}

/// A node of a [`Rack`].
#[derive(Debug)]
pub struct RackNode {
    /// As in manifests.
    pub name: String,
    /// Where it runs.
    pub namespace: NetNs,
    /// Its two pods, named `pod-NODE-11` and `pod-NODE-12`.
    pub pods: Vec<NetNs>,
}

/// The port that pods answer on.
pub const POD_PORT: u16 = 8080;

impl Rack {
    /// Lays it out; namespaces are named with `prefix`.
    ///
    /// # Errors
    /// With what `ip` says: it needs root, and the modules `veth` and `bridge`.
    pub fn new(prefix: &str) -> Result<Self> {
        let switch = NetNs::new(&format!("{prefix}-switch"))?;
        switch.ip("link add br0 type bridge\nlink set br0 up")?;
        let join = |name: &str, number: u8| {
            let namespace = NetNs::new(&format!("{prefix}-{name}"))?;
            namespace.ip(&format!(
                "link add eth0 type veth peer name {name} netns {}",
                switch.name()
            ))?;
            switch.ip(&format!("link set {name} master br0\nlink set {name} up"))?;
            namespace.ip(&format!(
                "addr add 192.168.50.{number}/24 dev eth0\naddr add fd00:50::{number}/64 dev eth0 nodad\nlink set eth0 up"
            ))?;
            anyhow::Ok(namespace)
        };
        let outside = join("outside", 200)?;
        outside.ip(
            "route add 203.0.113.0/24 via 192.168.50.10\nroute add 198.51.100.0/24 via 192.168.50.10\n\
             route add 2001:db8:113::/64 via fd00:50::10\nroute add 2001:db8:100::/64 via fd00:50::10\n",
        )?;
        let mut nodes = Vec::new();
        for number in 0..3_u8 {
            let name = format!("node-{number}");
            let namespace = join(&name, 10 + number)?;
            let mut lines = "route add default via 192.168.50.200\n".to_owned();
            for other in (0..3_u8).filter(|other| *other != number) {
                lines += &format!(
                    "route add 10.244.{other}.0/24 via 192.168.50.1{other}\n\
                     route add fd00:10:244:{other}::/64 via fd00:50::1{other}\n"
                );
            }
            namespace.ip(&lines)?;
            namespace.ip("route add ::/0 via fd00:50::200")?;
            // Also on nodes without a proxier, which would set it for IPv4.
            for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                namespace.run(|| std::fs::write(format!("/proc/sys/net/{family}"), "1"))??;
            }
            let pods: Result<Vec<NetNs>> = [11, 12]
                .into_iter()
                .map(|last| pod(prefix, &namespace, number, last))
                .collect();
            nodes.push(RackNode {
                name,
                pods: pods?,
                namespace,
            });
        }
        Ok(Self {
            nodes,
            outside,
            _switch: switch,
        })
    }

    /// The address of a pod.
    #[must_use]
    pub fn pod_address(node: u8, last: u8, ipv6: bool) -> IpAddr {
        if ipv6 {
            let last = u16::from_str_radix(&last.to_string(), 16).unwrap_or_default();
            [0xfd00, 0x10, 0x244, node.into(), 0, 0, 0, last].into()
        } else {
            [10, 244, node, last].into()
        }
    }

    /// The address of a node.
    #[must_use]
    pub fn node_address(node: u8, ipv6: bool) -> IpAddr {
        if ipv6 {
            [0xfd00, 0x50, 0, 0, 0, 0, 0, 0x10 + u16::from(node)].into()
        } else {
            [192, 168, 50, 10 + node].into()
        }
    }
}

fn pod(prefix: &str, node: &NetNs, number: u8, last: u8) -> Result<NetNs> {
    let namespace = NetNs::new(&format!("{prefix}-p{number}{last}"))?;
    let link = format!("pod{last}");
    node.ip(&format!(
        "link add {link} type veth peer name eth0 netns {}",
        namespace.name()
    ))?;
    node.ip(&format!(
        "addr add 10.244.{number}.1/32 dev {link}\naddr add fd00:10:244:{number}::1/128 dev {link} nodad\n\
         link set {link} up\nroute add 10.244.{number}.{last}/32 dev {link}\n\
         route add fd00:10:244:{number}::{last}/128 dev {link}\n"
    ))?;
    namespace.ip(&format!(
        "addr add 10.244.{number}.{last}/32 dev eth0\naddr add fd00:10:244:{number}::{last}/128 dev eth0 nodad\n\
         link set eth0 up\nroute add 10.244.{number}.1 dev eth0\nroute add default via 10.244.{number}.1\n\
         route add fd00:10:244:{number}::1/128 dev eth0\n"
    ))?;
    namespace.ip(&format!(
        "route add ::/0 via fd00:10:244:{number}::1 dev eth0"
    ))?;
    let name = format!("pod-{number}-{last}");
    for ipv6 in [false, true] {
        let address = Rack::pod_address(number, last, ipv6);
        for protocol in Protocol::ALL {
            serve(&namespace, &name, protocol, (address, POD_PORT).into())
                .with_context(|| format!("{name} by {protocol}"))?;
        }
    }
    Ok(namespace)
}
