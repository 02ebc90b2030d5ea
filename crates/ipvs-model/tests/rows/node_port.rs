//! Rows 69 to 80: node ports.

use crate::fixture::*;
use ipvs_codec::Protocol;
use ipvs_model::input::Change;
use ipvs_model::{Config, FilterSet};

#[test]
fn row_069_and_079_a_node_port_on_every_node_address() {
    let node = Node::with([node_port("TCP", ""), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.real_servers("192.168.1.10", 30080).len(), 2);
    assert_eq!(node.real_servers("10.244.0.1", 30080).len(), 2);
    assert_eq!(node.known.virtual_servers.len(), 3);
    assert_eq!(node.members(FilterSet::NodePortTcp), ["IPv4:30080"]);
    assert_eq!(node.vips(), ["10.96.0.10"]);
}

#[test]
fn row_070_and_071_node_ports_of_other_protocols() {
    let udp = Node::with([node_port("UDP", ""), node_addresses()]);
    assert_eq!(udp.members(FilterSet::NodePortUdp), ["IPv4:30080"]);
    let sctp = Node::with([node_port("SCTP", ""), node_addresses()]);
    assert_eq!(
        sctp.members(FilterSet::NodePortSctp),
        ["10.244.0.1:30080/SCTP", "192.168.1.10:30080/SCTP"]
    );
    assert!(sctp.members(FilterSet::NodePortTcp).is_empty());
}

#[test]
fn row_072_a_node_port_with_policy_local() {
    let local = r#""externalTrafficPolicy": "Local","#;
    let node = Node::with([node_port("TCP", local), slice(&[E1, E2]), node_addresses()]);
    assert_eq!(node.members(FilterSet::NodePortLocalTcp), ["IPv4:30080"]);
    assert_eq!(
        node.real_servers("192.168.1.10", 30080),
        ["10.244.0.5:8080"]
    );
    assert_eq!(node.real_servers("10.96.0.10", 80).len(), 2);
}

#[test]
fn row_073_to_076_which_addresses_serve_node_ports() {
    let served = |addresses: ipvs_model::NodePortAddresses| {
        let config = Config {
            node_port_addresses: addresses,
            ..config()
        };
        let node = Node::new(config, [node_port("TCP", ""), node_addresses(), n1("a")]);
        ["192.168.1.10", "10.244.0.1"].map(|ip| node.service(Protocol::TCP, ip, 30080).is_some())
    };
    use ipvs_model::NodePortAddresses::{All, Cidrs, Primary};
    assert_eq!(served(All), [true, true]);
    assert_eq!(served(Primary), [true, false]);
    assert_eq!(
        served(Cidrs(vec!["192.168.1.0/24".parse().unwrap()])),
        [true, false]
    );
    assert_eq!(
        served(Cidrs(vec!["172.31.0.0/16".parse().unwrap()])),
        [false, false]
    );
    assert_eq!(
        served(Cidrs(vec!["fd00::/8".parse().unwrap()])),
        [true, true],
        "none of this family: all"
    );
}

#[test]
fn row_077_and_078_node_addresses_come_and_go() {
    let mut node = Node::with([node_port("TCP", ""), slice(&[E1]), node_addresses()]);
    let done = node.change(vec![Change::NodeAddresses(vec![
        "192.168.1.11".parse().unwrap(),
    ])]);
    assert!(
        done[0].starts_with("add virtual server 192.168.1.11:30080/TCP"),
        "{done:?}"
    );
    assert_eq!(
        done.iter()
            .filter(|operation| operation.starts_with("remove virtual server"))
            .count(),
        2
    );
}

/// Where kube-proxy's two instances would listen: each for its family.
#[test]
fn health_checks_are_answered_where_the_flag_says_loopback_included() {
    use ipvs_codec::Family;
    use ipvs_model::NodePortAddresses::{self, All, Cidrs, Primary};
    let answered = |families: &[Family], addresses: NodePortAddresses| {
        let config = Config {
            node_port_addresses: addresses,
            families: families.to_vec(),
            ..config()
        };
        let node = Node::new(config, [node_addresses(), n1("a")]);
        let addresses = node.model.health_check_addresses().into_iter();
        addresses.map(|ip| ip.to_string()).collect::<Vec<_>>()
    };
    let cidrs = |texts: &[&str]| Cidrs(texts.iter().map(|text| text.parse().unwrap()).collect());
    let both = |addresses| answered(&Family::ALL, addresses);
    assert_eq!(both(All), ["0.0.0.0", "::"]);
    assert_eq!(answered(&[Family::Ipv4], All), ["0.0.0.0"]);
    assert_eq!(answered(&[Family::Ipv4], Primary), ["192.168.1.10"]);
    let networks = cidrs(&["192.168.1.0/24", "127.0.0.0/8"]);
    assert_eq!(both(networks), ["192.168.1.10", "127.0.0.1", "::"]);
    assert_eq!(both(cidrs(&["0.0.0.0/0", "::1/128"])), ["0.0.0.0", "::1"]);
    assert_eq!(
        answered(&[Family::Ipv4], cidrs(&["172.31.0.0/16"])),
        [""; 0]
    );
}
