//! Rules and chains.

use super::*;

#[test]
fn a_rule_of_others_keeps_the_one_chain_that_it_names() {
    for (table, rule, chain) in [
        ("nat", "-A CNI-X -j KUBE-MARK-MASQ", "KUBE-MARK-MASQ"),
        (
            "nat",
            "-A PREROUTING -p tcp -j KUBE-SERVICES",
            "KUBE-SERVICES",
        ),
        ("filter", "-A FORWARD -j KUBE-FORWARD", "KUBE-FORWARD"),
        ("filter", "-A INPUT -g KUBE-IPVS-FILTER", "KUBE-IPVS-FILTER"),
    ] {
        let mut remains = node();
        let mut text = String::new();
        let saved = &remains.rules[&Family::Ipv4];
        for of in Table::ALL {
            text.push_str(&format!("*{of}\n"));
            for (_, chain, rules) in saved.chains().filter(|(table, _, _)| *table == of) {
                text.push_str(&format!(":{chain} - [0:0]\n"));
                for rule in rules {
                    text.push_str(&format!("-A {chain} {rule}\n"));
                }
            }
            if of.name() == table {
                text.push_str(&format!("{rule}\n"));
            }
        }
        remains.rules.insert(Family::Ipv4, SavedRules::parse(&text));
        let mut kernel = Kernel::with(remains);
        let report = kernel.clean_up(&Config::default());
        let holder = format!("the rule `{rule}` of table {table} (IPv4) refers to it");
        assert_eq!(
            texts(&report),
            [format!("chain {chain} of table {table} (IPv4): {holder}")]
        );
        assert_eq!(kernel.waited, Duration::ZERO, "nothing is refused");
        let left = &kernel.remains.rules[&Family::Ipv4];
        let kube: Vec<_> = left
            .chains()
            .filter(|(_, name, _)| name.starts_with("KUBE-"))
            .collect();
        assert_eq!(
            (kube.len(), kube[0].1, kube[0].2),
            (1, chain, &[][..]),
            "empty"
        );
        assert!(kernel.remains.sets.is_empty());
    }
}

#[test]
fn a_back_end_of_iptables_that_cannot_be_read_is_named() {
    let mut remains = node();
    let denied = "iptables-legacy-save: Permission denied".to_owned();
    remains.unread_rules.insert(Family::Ipv4, denied);
    let mut kernel = Kernel::with(remains);
    let left = texts(&kernel.clean_up(&Config::default()));
    assert_eq!(
        left,
        ["IPv4 rules: cannot be read: iptables-legacy-save: Permission denied"]
    );
    assert!(
        kernel.remains.sets.is_empty(),
        "the rules of the other are gone"
    );
}

#[test]
fn chains_that_are_refused_together_are_tried_in_pieces() {
    let bad = "KUBE-SEP-0042";
    let mut text = String::from("*nat\n");
    for number in 0..200 {
        text.push_str(&format!(
            ":KUBE-SEP-{number:04} - [0:0]\n-A KUBE-SEP-{number:04} -j KUBE-MARK-MASQ\n"
        ));
    }
    let rules = BTreeMap::from([(Family::Ipv4, SavedRules::parse(&text))]);
    let judge = move |operation: &CleanUpOperation| match operation {
        CleanUpOperation::RemoveRules { removal, .. } => removal
            .deleted
            .contains(&bad.to_owned())
            .then(|| refusal("line 43 failed", false)),
        _ => None,
    };
    let remains = Remains {
        rules,
        ..Remains::default()
    };
    let mut kernel = Kernel::refusing(remains, judge);
    let report = kernel.clean_up(&Config::default());
    assert_eq!(
        texts(&report),
        [format!("chain {bad} of table nat (IPv4): line 43 failed")]
    );
    assert!(kernel.asked.len() < 40, "{} processes", kernel.asked.len());
}

#[test]
fn the_chains_of_the_iptables_mode_go_and_those_of_others_stay() {
    let others = "*nat\n:KUBE-MARK-DROP - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -m comment --comment \"kubernetes service portals\" -j DOCKER\n:DOCKER - [0:0]\n\
        *filter\n:KUBE-FIREWALL - [0:0]\n:KUBE-NWPLCY-X - [0:0]\n:KUBE-ROUTER-INPUT - [0:0]\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n\
        -A INPUT -j KUBE-FIREWALL\n*mangle\n:KUBE-IPTABLES-HINT - [0:0]\n";
    let theirs = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SEP-B - [0:0]\n:KUBE-EXT-C - [0:0]\n:KUBE-FW-D - [0:0]\n\
        :KUBE-SVL-E - [0:0]\n:KUBE-XLB-F - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
        -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
        -A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SEP-B\n-A KUBE-SEP-B -j KUBE-MARK-MASQ\n\
        *filter\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n\
        -A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n\
        -A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n\
        *mangle\n:KUBE-PROXY-CANARY - [0:0]\n";
    let saved = SavedRules::parse(&format!("{others}{theirs}"));
    assert!(CleanUp::concerns(&saved) && !CleanUp::concerns(&SavedRules::parse(others)));
    let remains = Remains {
        rules: BTreeMap::from([(Family::Ipv6, saved)]),
        ..Remains::default()
    };
    let mut kernel = Kernel::with(remains);
    let report = kernel.clean_up(&Config::default());
    assert_eq!(texts(&report), [""; 0]);
    assert_eq!(
        kernel.remains.rules[&Family::Ipv6],
        SavedRules::parse(others)
    );
}
