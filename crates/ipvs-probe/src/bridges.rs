use crate::Root;

/// A bridge that pods may be on: one with a port that is one end of a pair of interfaces (veth).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Whether it takes every frame itself (promiscuous mode), which is as good as hairpin mode on every port.
    pub promiscuous: bool,
    /// Whether its frames pass the rules of iptables, whatever the sysctl says for all bridges.
    pub calls_iptables: bool,
    /// Its ports that lead to pods.
    pub ports: Vec<BridgePort>,
}

/// A port of a [`Bridge`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BridgePort {
    /// Name of the interface.
    pub name: String,
    /// Whether frames may leave by the port by which they came.
    pub hairpin: bool,
}

/// The module that has frames of bridges pass the rules.
pub(crate) const BR_NETFILTER: &str = "br_netfilter";

const INTERFACES: &str = "/sys/class/net";
/// `IFF_PROMISC`.
const PROMISCUOUS: u32 = 0x100;

/// Those of the network namespace in which `/sys` was mounted.
pub(crate) fn bridges(root: &Root) -> Vec<Bridge> {
    let names = root.list(INTERFACES).into_iter();
    names.filter_map(|name| bridge(root, name)).collect()
}

fn bridge(root: &Root, name: String) -> Option<Bridge> {
    let folder = format!("{INTERFACES}/{name}");
    if !root.has(&format!("{folder}/bridge")) {
        return None;
    }
    let is_on = |file: &str| {
        root.read(file)
            .content()
            .is_some_and(|text| text.trim() == "1")
    };
    let ports = root.list(&format!("{folder}/brif")).into_iter();
    let ports: Vec<BridgePort> = ports
        .filter(|port| is_one_of_a_pair(root, port))
        .map(|port| BridgePort {
            hairpin: is_on(&format!("{folder}/brif/{port}/hairpin_mode")),
            name: port,
        })
        .collect();
    let flags = root.read(&format!("{folder}/flags")).content();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    (!ports.is_empty()).then_some(Bridge {
        name,
        promiscuous: flags.is_some_and(|flags| flags & PROMISCUOUS != 0),
        calls_iptables: is_on(&format!("{folder}/bridge/nf_call_iptables")),
        ports,
    })
}

/// A VLAN has another interface below it too, but says what it is.
fn is_one_of_a_pair(root: &Root, interface: &str) -> bool {
    let file = |name: &str| {
        root.read(&format!("{INTERFACES}/{interface}/{name}"))
            .content()
    };
    let has_type = file("uevent").is_some_and(|text| text.contains("DEVTYPE="));
    match (file("ifindex"), file("iflink")) {
        (Some(own), Some(below)) => own.trim() != below.trim() && !has_type,
        _ => false,
    }
}
