//! Connection tracking: flows are listed, and forgotten one by one.

use std::net::UdpSocket;

use ipvs_codec::Family;
use ipvs_netlink::Conntrack;
use ipvs_test_support::NetNs;

#[test]
fn flows_are_listed_and_forgotten() {
    let namespace = NetNs::new("flows").unwrap();
    // Without a rule that wants it, nothing is tracked.
    let track = [
        "-A",
        "OUTPUT",
        "-m",
        "conntrack",
        "--ctstate",
        "NEW",
        "-j",
        "ACCEPT",
    ];
    for program in ["iptables-legacy", "ip6tables-legacy"] {
        namespace.output(program, &track).unwrap();
    }
    namespace
        .run(|| {
            let mut conntrack = Conntrack::open().unwrap();
            for (family, local, far) in [
                (Family::Ipv4, "127.0.0.1:0", "127.0.0.1:5353"),
                (Family::Ipv6, "[::1]:0", "[::1]:5353"),
            ] {
                let socket = UdpSocket::bind(local).unwrap();
                socket.send_to(b"hello", far).unwrap();
                let ours = |flow: &ipvs_netfilter::conntrack::Flow| {
                    flow.original.protocol == 17
                        && flow.original.ports.is_some_and(|(_, port)| port == 5353)
                };
                let mut flows = conntrack.flows(family).unwrap();
                flows.retain(ours);
                assert_eq!(flows.len(), 1, "{flows:?}");
                let flow = flows[0];
                assert_eq!(
                    flow.original.destination.to_string() + ":5353",
                    far.replace(['[', ']'], "")
                );
                assert_eq!(flow.reply.source, flow.original.destination);
                assert!(flow.id.is_some());

                // Another flow in the same place is not taken for it.
                let mut other = flow;
                other.id = flow.id.map(|id| id.wrapping_add(1));
                let refused = conntrack.delete(&[other]).remove(0);
                assert!(
                    refused.as_ref().is_err_and(|cause| cause.is_not_found()),
                    "{refused:?}"
                );
                let outcomes = conntrack.delete(&[flow, flow]);
                assert!(outcomes[0].is_ok());
                assert!(
                    outcomes[1]
                        .as_ref()
                        .is_err_and(|cause| cause.is_not_found())
                );
                assert!(!conntrack.flows(family).unwrap().iter().any(ours));
            }
        })
        .unwrap();
}
