//! The rule skeleton in the kernel's own tables, beside rules of others.

use ipvs_test_support::{NetNs, run_kube_proxy, workspace};

fn sync(namespace: &NetNs, arguments: &[&str]) -> String {
    let manifests = workspace().join("examples/manifests");
    let manifests = format!("--manifests={}", manifests.display());
    let all = [&[manifests.as_str(), "--once"], arguments].concat();
    let output = run_kube_proxy(namespace, &all).unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

fn iptables(namespace: &NetNs, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    namespace.output("iptables", &words).unwrap()
}

fn saved(namespace: &NetNs, table: &str, chain: &str) -> Vec<String> {
    let words = ["-t", table, "-c"];
    let text = namespace.output("iptables-save", &words).unwrap();
    let of_chain = format!("-A {chain} ");
    let rules = text.lines().filter(|line| line.contains(&of_chain));
    rules.map(str::to_owned).collect()
}

#[test]
fn row_110_jumps_stand_before_foreign_rules_which_keep_their_counters() {
    let namespace = NetNs::new("ru-jumps").unwrap();
    for chain in ["INPUT", "FORWARD"] {
        iptables(
            &namespace,
            &format!("-A {chain} -p tcp --dport 22 -j ACCEPT -c 7 420"),
        );
    }
    for _ in 0..3 {
        sync(&namespace, &[]);
        let input = saved(&namespace, "filter", "INPUT");
        let targets: Vec<&str> = input
            .iter()
            .map(|rule| rule.rsplit(' ').next().unwrap())
            .collect();
        let wanted = [
            "KUBE-IPVS-FILTER",
            "KUBE-PROXY-FIREWALL",
            "KUBE-NODE-PORT",
            "ACCEPT",
        ];
        assert_eq!(targets, wanted);
        assert!(input[3].starts_with("[7:420] "), "{input:?}");
        let forward = saved(&namespace, "filter", "FORWARD");
        assert!(
            forward[0].ends_with("-j KUBE-PROXY-FIREWALL"),
            "{forward:?}"
        );
        assert!(forward[1].ends_with("-j KUBE-FORWARD"), "{forward:?}");
        assert!(forward[2].starts_with("[7:420] "), "{forward:?}");
        // What the loop would have to write again if anything differed.
        iptables(&namespace, "-t nat -F KUBE-MARK-MASQ");
    }
}

#[test]
fn row_111_and_112_a_jump_and_a_chain_that_others_emptied_come_back() {
    let namespace = NetNs::new("ru-again").unwrap();
    sync(&namespace, &[]);
    let chain = saved(&namespace, "nat", "KUBE-SERVICES");
    iptables(&namespace, "-t nat -D PREROUTING 1");
    iptables(
        &namespace,
        "-t nat -A PREROUTING -p tcp --dport 1 -j ACCEPT",
    );
    iptables(&namespace, "-t nat -F KUBE-SERVICES");
    sync(&namespace, &[]);
    assert_eq!(saved(&namespace, "nat", "KUBE-SERVICES").len(), chain.len());
    let jumps = saved(&namespace, "nat", "PREROUTING");
    assert!(
        jumps[0].ends_with("-j KUBE-SERVICES") && jumps.len() == 2,
        "at the top: {jumps:?}"
    );
}

/// The kernel says each rule as we do, so that a second sync finds nothing to write.
#[test]
fn row_106_every_way_to_tell_pods_apart_is_read_back_as_it_was_written() {
    for (at, (arguments, words)) in [
        (&["--detect-local-mode=NodeCIDR"][..], "src,dst"),
        (
            &[
                "--detect-local-mode=BridgeInterface",
                "--pod-bridge-interface=cbr0",
            ],
            "! -i cbr0",
        ),
        (
            &[
                "--detect-local-mode=InterfaceNamePrefix",
                "--pod-interface-name-prefix=cali",
            ],
            "! -i cali+",
        ),
        (&["--iptables-masquerade-bit=0"], "src,dst"),
    ]
    .into_iter()
    .enumerate()
    {
        let namespace = NetNs::new(&format!("ru-local{at}")).unwrap();
        let first = sync(&namespace, arguments);
        assert!(first.contains("synced"), "{first}");
        let rules = saved(&namespace, "nat", "KUBE-SERVICES").join("\n");
        assert!(rules.contains(words), "{rules}");
        let second = sync(&namespace, arguments);
        assert!(
            !second.contains("synced"),
            "nothing is left to do: {second}"
        );
    }
}

#[test]
fn row_080_and_q3_fixed_node_ports_are_not_on_ipv6_link_local_nor_virtual_addresses() {
    let namespace = NetNs::new("ru-linklocal").unwrap();
    namespace
        .ip(
            "link add node0 type dummy\nlink set node0 up\naddr add 169.254.7.1/16 dev node0\n\
             addr add fe80::7/64 dev node0 nodad\naddr add fd00:7::1/64 dev node0 nodad\n",
        )
        .unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: NodePort\n  \
                   clusterIPs: [10.96.7.7, 'fd00:96::7']\n  ports: [{port: 80, nodePort: 30080}]\n";
    std::fs::write(file.path(), service).unwrap();
    let manifests = format!("--manifests={}", file.path().display());
    let table = |more: &[&str]| {
        let all = [&[manifests.as_str(), "--once"], more].concat();
        let output = run_kube_proxy(&namespace, &all).unwrap();
        assert!(output.status.success());
        namespace.output("ipvsadm", &["-S", "-n"]).unwrap()
    };
    let all = table(&[]);
    assert!(all.contains("-A -t 169.254.7.1:30080"), "{all}");
    assert!(all.contains("-A -t [fd00:7::1]:30080"), "{all}");
    assert!(!all.contains("[fe80::"), "{all}");
    // Quirk 3, fixed: a network that covers VIPs too does not open node ports on them.
    let everything = table(&["--nodeport-addresses=10.0.0.0/8,169.254.0.0/16"]);
    assert!(everything.contains("-A -t 169.254.7.1:30080"));
    assert!(!everything.contains("10.96.7.7:30080"), "{everything}");
}
