//! The dummy interface: what others put on it, and links of another kind.

use super::*;

#[test]
fn what_others_put_on_the_dummy_interface_stays_where_asked_and_a_bridge_always() {
    let namespace = NetNs::new("cu-link").unwrap();
    assert!(run(&namespace, &[&shop(), "--once", "--foreign=keep"]).0);
    namespace
        .ip("addr add 10.9.9.9/32 dev kube-ipvs0\n")
        .unwrap();
    let (ok, log) = run(&namespace, &["--cleanup", "--foreign=keep"]);
    assert!(
        !ok && log.contains("dummy interface: the address 10.9.9.9"),
        "{log}"
    );
    assert_eq!(left(&namespace), ["kube-ipvs0"]);
    let shown = namespace
        .output("ip", &["-o", "addr", "show", "dev", "kube-ipvs0"])
        .unwrap();
    assert!(
        shown.contains("10.9.9.9/32") && !shown.contains("10.96."),
        "{shown}"
    );
    namespace.ip("link del kube-ipvs0\nlink add kube-ipvs0 type bridge\naddr add 10.9.9.9/24 dev kube-ipvs0\n").unwrap();
    for words in [&["--cleanup"][..], &["--cleanup", "--foreign=keep"]] {
        let (ok, log) = run(&namespace, words);
        assert!(
            !ok && log.contains("a link of another kind has its name"),
            "{log}"
        );
        let shown = namespace
            .output("ip", &["-o", "addr", "show", "dev", "kube-ipvs0"])
            .unwrap();
        assert!(shown.contains("10.9.9.9/24"), "{shown}");
    }
}

/// A network address is nobody's VIP, and a link of another kind that has the name of ours is somebody's.
#[test]
fn a_proxier_leaves_networks_on_its_interface_and_other_links_alone() {
    let namespace = NetNs::new("cu-name").unwrap();
    let addresses = || {
        let words = ["-o", "-4", "addr", "show", "dev", "kube-ipvs0"];
        namespace.output("ip", &words).unwrap()
    };
    namespace
        .ip("link add kube-ipvs0 type dummy\naddr add 10.9.9.9/24 dev kube-ipvs0\n")
        .unwrap();
    for _ in 0..2 {
        let (ok, log) = run(&namespace, &[&shop(), "--once"]);
        assert!(ok, "{log}");
        let shown = addresses();
        assert!(
            shown.contains("10.9.9.9/24") && shown.contains("/32"),
            "{shown}"
        );
    }
    let (ok, log) = run(&namespace, &["--cleanup"]);
    assert!(!ok && log.contains("the address 10.9.9.9"), "{log}");
    assert_eq!(left(&namespace), ["kube-ipvs0"]);
    namespace
        .ip("link del kube-ipvs0\nlink add kube-ipvs0 type bridge\naddr add 10.9.9.9/32 dev kube-ipvs0\n")
        .unwrap();
    let before = addresses();
    let (ok, log) = run(&namespace, &[&shop(), "--once"]);
    assert!(
        !ok && log.contains("link kube-ipvs0 is no dummy interface"),
        "{log}"
    );
    assert_eq!(
        log.matches(" WARN ").count(),
        1,
        "no line for each VIP: {log}"
    );
    assert_eq!(addresses(), before);
    let servers = namespace.output("ipvsadm", &["-S", "-n"]).unwrap();
    assert!(!servers.is_empty(), "node ports are served");
}

/// Their routes would go with the interface. Those of the kernel and those that bind VIPs keep nothing.
#[test]
fn the_interface_stays_as_long_as_a_route_of_others_leads_through_it() {
    for (name, route) in [
        ("cu-route4", "10.77.0.0/16"),
        ("cu-route6", "fd77::/64"),
        ("cu-routel", "local 10.78.0.0/16"),
        ("cu-routet", "10.79.0.1 table 100"),
    ] {
        let namespace = NetNs::new(name).unwrap();
        // The routes that bind VIPs have the node's addresses as their sources.
        let node = "addr add 192.168.50.10/32 dev lo\naddr add fd00:50::10/128 dev lo\n";
        namespace.ip(node).unwrap();
        let (ok, log) = run(&namespace, &[&shop(), "--once", "--vip-binding=route"]);
        assert!(ok, "{log}");
        let route = format!("{route} dev kube-ipvs0");
        namespace.ip(&format!("route add {route}\n")).unwrap();
        let (ok, log) = run(&namespace, &["--cleanup", "--foreign=keep"]);
        assert!(!ok && log.contains("through it is not ours"), "{log}");
        assert_eq!(left(&namespace), ["kube-ipvs0"]);
        namespace.ip(&format!("route del {route}\n")).unwrap();
        assert!(run(&namespace, &["--cleanup", "--foreign=keep"]).0);
        assert_eq!(left(&namespace), [""; 0]);
    }
}
