//! Connection tracking: flows are listed, and forgotten one by one.

use std::net::UdpSocket;
use std::time::Duration;

use ipvs_codec::Family;
use ipvs_netlink::Conntrack;
use ipvs_test_support::{Cluster, NetNs, run_kube_proxy, workspace};

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
    for program in ["iptables", "ip6tables"] {
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

/// A client that asks from one port, over and over, as DNS resolvers do.
#[test]
fn row_134_a_client_of_udp_is_served_by_who_is_left() {
    let cluster = Cluster::new("flows-udp").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.yaml");
    let dns = std::fs::read_to_string(workspace().join("examples/manifests/dns.yaml")).unwrap();
    let manifests = format!("--manifests={}", file.display());
    let sync = |manifest: &str| {
        std::fs::write(&file, manifest).unwrap();
        let arguments = [manifests.as_str(), "--once", "--cluster-cidr=10.244.0.0/16"];
        let output = run_kube_proxy(&cluster.node, &arguments).unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{log}");
        log
    };
    sync(&dns);
    let bound = cluster.client.run(|| UdpSocket::bind("0.0.0.0:4444"));
    let socket = bound.unwrap().unwrap();
    socket.connect("10.96.0.53:53").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    let ask = || {
        let mut text = [0; 64];
        socket.send(b"who?\n").unwrap();
        let length = socket.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        text.split(' ').next().unwrap().to_owned()
    };
    let first = ask();
    assert_eq!(ask(), first, "one flow, one pod");
    let gone = match first.as_str() {
        "pod-a" => "10.244.1.11",
        _ => "10.244.1.12",
    };
    let lines = dns.lines().filter(|line| !line.contains(gone));
    let log = sync(&lines.collect::<Vec<_>>().join("\n"));
    assert!(log.contains("conntrack entries of IPv4 UDP"), "{log}");
    assert_ne!(ask(), first);
}
