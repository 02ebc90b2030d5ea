//! Connection tracking: flows are listed, and forgotten one by one.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::ensure;
use ipvs_codec::Family;
use ipvs_netlink::Conntrack;
use ipvs_test_support::{
    Cluster, NetNs, RunningProxier, ask_udp, eventually, run_kube_proxy, workspace,
};

use crate::packets::{CIDR, addr};

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
    // By the proxier, or by the kernel: since 5.9 it may be faster.
    let left = cluster.node.run(|| {
        let mut flows = Conntrack::open().unwrap().flows(Family::Ipv4).unwrap();
        flows.retain(|flow| flow.reply.source.to_string() == gone);
        flows
    });
    assert_eq!(left.unwrap(), [], "{log}");
    assert_ne!(ask(), first);
}

/// A pod that terminates normally serves for some time without being asked any more; then it is gone.
#[test]
fn an_endpoint_that_has_served_to_its_end_leaves_no_flows() {
    let cluster = Cluster::new("flows-end").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("dns.yaml"), folder.path().join("log"));
    let dns = std::fs::read_to_string(workspace().join("examples/manifests/dns.yaml")).unwrap();
    let change = |manifest: &str| {
        let new = folder.path().join("dns.new");
        std::fs::write(&new, manifest).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    change(&dns);
    let arguments = [format!("--manifests={}", file.display()), CIDR.to_owned()];
    let _proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let patience = Duration::from_secs(60);
    let flows = |server: &str| -> usize {
        let server: std::net::IpAddr = server.parse().unwrap();
        let found = cluster.node.run(|| {
            let mut conntrack = Conntrack::open().unwrap();
            conntrack.flows(Family::Ipv4).unwrap()
        });
        let is_ours = |flow: &ipvs_netfilter::conntrack::Flow| {
            flow.original.protocol == 17 && flow.reply.source == server
        };
        found.unwrap().iter().filter(|flow| is_ours(flow)).count()
    };
    let ask = || ask_udp(&cluster.client, addr("10.96.0.53:53")).map(drop);
    eventually(patience, ask).unwrap();
    // As kube-proxy's iptables mode would leave it: IPVS ends its own flows with the real server.
    let iptables = |action: &str| {
        let rule = format!(
            "-t nat {action} PREROUTING -p udp -d 10.96.0.53 --dport 53 -j DNAT --to-destination 10.244.1.11:5353"
        );
        let words: Vec<&str> = rule.split(' ').collect();
        cluster.node.output("iptables", &words).unwrap();
    };
    let timeout = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
    let lasts = cluster.node.run(|| std::fs::write(timeout, "3600"));
    lasts.unwrap().unwrap();
    iptables("-I");
    let asked = || {
        let answer = ask_udp(&cluster.client, addr("10.96.0.53:53"))?;
        ensure!(answer.pod == "pod-a", "{answer:?}");
        Ok(())
    };
    eventually(patience, asked).unwrap();
    iptables("-D");
    assert!(flows("10.244.1.11") > 0, "none");
    let going = "10.244.1.11], conditions: {ready: false, serving: true, terminating: true}";
    change(&dns.replace("10.244.1.11], conditions: {ready: true}", going));
    let has_left = || {
        let table = cluster.node.output("ipvsadm", &["-S", "-n"])?;
        ensure!(!table.contains("-r 10.244.1.11:5353"), "{table}");
        Ok(())
    };
    eventually(patience, has_left).unwrap();
    assert!(flows("10.244.1.11") > 0, "it still serves");
    let gone = dns.lines().filter(|line| !line.contains("10.244.1.11"));
    change(&gone.collect::<Vec<_>>().join("\n"));
    let are_forgotten = || {
        ensure!(flows("10.244.1.11") == 0, "{} left", flows("10.244.1.11"));
        Ok(())
    };
    eventually(patience, are_forgotten).unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("conntrack entries of IPv4 UDP"), "{log}");
}
