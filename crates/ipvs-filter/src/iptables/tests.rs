//! Rows 95 to 114 of the acceptance table, as far as they are about rules; and that our rules are recognised.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs_codec::{Family, Protocol};
use ipvs_model::{
    AddressAndPort, FilterSet, FilterSets, FilterShape, KnownFilter, LocalPods, Masquerade,
};
use ipvs_netfilter::iptables::{Removal, SavedRules, Table};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{recognise, ruleset, sample};

fn shape(family: Family, filled: &[FilterSet]) -> FilterShape {
    FilterShape {
        cluster_ips: filled
            .contains(&FilterSet::ClusterIp)
            .then_some(Masquerade::Node),
        filled: filled.iter().copied().collect(),
        ..sample(family)
    }
}

fn saved(shape: &FilterShape) -> SavedRules {
    let mut saved = SavedRules::default();
    saved.restored(&ruleset(shape));
    saved
}

fn rules(shape: &FilterShape, table: Table, chain: &str) -> Vec<String> {
    let saved = saved(shape);
    let rules = saved.rules(table, chain).unwrap();
    rules.iter().map(ToString::to_string).collect()
}

#[test]
fn row_095_and_101_an_empty_cluster() {
    let shape = shape(Family::Ipv4, &[]);
    let rules = |chain| rules(&shape, Table::Nat, chain);
    assert_eq!(
        rules("KUBE-SERVICES"),
        [
            "-s 127.0.0.0/8 -j RETURN",
            "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"
        ]
    );
    assert_eq!(rules("KUBE-POSTROUTING").len(), 3);
    assert_eq!(rules("KUBE-LOAD-BALANCER"), ["-j KUBE-MARK-MASQ"]);
    assert!(rules("KUBE-NODE-PORT").is_empty());
}

/// The rule of KUBE-SERVICES that masquerades traffic to cluster IPs.
fn masquerade_rule(masquerade: Masquerade) -> String {
    let shape = FilterShape {
        cluster_ips: Some(masquerade),
        ..shape(Family::Ipv4, &[FilterSet::ClusterIp])
    };
    let services = rules(&shape, Table::Nat, "KUBE-SERVICES");
    let masquerades = |rule: &String| rule.ends_with("-j KUBE-MARK-MASQ");
    services.into_iter().find(masquerades).unwrap()
}

#[test]
fn rows_103_to_107_who_is_masqueraded_on_the_way_to_a_cluster_ip() {
    let network = "10.244.0.0/16".parse().unwrap();
    let name = |text: &str| text.parse().unwrap();
    let pods = Masquerade::NotFrom;
    for (masquerade, begins, directions) in [
        (Masquerade::All, "-m comment", "dst,dst"),
        (Masquerade::Node, "-m comment", "src,dst"),
        (
            pods(LocalPods::Network(network)),
            "! -s 10.244.0.0/16 -m comment",
            "dst,dst",
        ),
        (
            pods(LocalPods::Bridge(name("cbr0"))),
            "! -i cbr0 -m comment",
            "dst,dst",
        ),
        (
            pods(LocalPods::InterfacePrefix(name("cali"))),
            "! -i cali+ -m comment",
            "dst,dst",
        ),
    ] {
        let rule = masquerade_rule(masquerade);
        let words = format!("KUBE-CLUSTER-IP {directions}");
        assert!(rule.starts_with(begins) && rule.contains(&words), "{rule}");
    }
}

#[test]
fn row_108_the_mark_bit() {
    let shape = FilterShape {
        mark: 1,
        ..sample(Family::Ipv4)
    };
    let mark = rules(&shape, Table::Nat, "KUBE-MARK-MASQ");
    assert_eq!(mark, ["-j MARK --set-xmark 0x1/0x1"]);
}

#[test]
fn row_109_ports_at_random_where_iptables_can() {
    let last = |random_fully| {
        let shape = FilterShape {
            random_fully,
            ..sample(Family::Ipv4)
        };
        let rules = rules(&shape, Table::Nat, "KUBE-POSTROUTING");
        assert!(
            rules[0].ends_with("-j MASQUERADE"),
            "hairpin traffic keeps its port: {rules:?}"
        );
        rules[3].clone()
    };
    assert!(last(true).ends_with("-j MASQUERADE --random-fully"));
    assert!(last(false).ends_with("-j MASQUERADE"));
}

#[test]
fn row_113_policy_local_returns_before_the_mark() {
    use FilterSet::{
        NodePortLocalSctp, NodePortLocalTcp, NodePortLocalUdp, NodePortSctp, NodePortTcp,
        NodePortUdp,
    };
    for (word, sets) in [
        ("tcp", [NodePortTcp, NodePortLocalTcp]),
        ("udp", [NodePortUdp, NodePortLocalUdp]),
        ("sctp", [NodePortSctp, NodePortLocalSctp]),
    ] {
        let shape = shape(Family::Ipv4, &sets);
        let rules = rules(&shape, Table::Nat, "KUBE-NODE-PORT");
        assert_eq!(rules.len(), 2);
        let begins = format!("-p {word} ");
        assert!(rules.iter().all(|rule| rule.starts_with(&begins)));
        assert!(rules[0].contains("-LOCAL-") && rules[0].ends_with("-j RETURN"));
        assert!(rules[1].ends_with("-j KUBE-MARK-MASQ"), "{rules:?}");
    }
}

#[test]
fn row_114_ipv6_rules() {
    let shape = shape(Family::Ipv6, &[FilterSet::ClusterIp]);
    let rules = rules(&shape, Table::Nat, "KUBE-SERVICES");
    assert_eq!(rules[0], "-s ::1/128 -j RETURN");
    assert_eq!(
        rules[2],
        "-m set --match-set KUBE-6-CLUSTER-IP dst,dst -j ACCEPT"
    );
}

#[test]
fn row_102_and_q16_fixed_vips_are_accepted_before_the_jump_for_node_ports() {
    let filled = [
        FilterSet::ClusterIp,
        FilterSet::ExternalIp,
        FilterSet::LoadBalancer,
    ];
    let rules = rules(&shape(Family::Ipv4, &filled), Table::Nat, "KUBE-SERVICES");
    let targets: Vec<&str> = rules
        .iter()
        .map(|rule| rule.rsplit(' ').next().unwrap())
        .collect();
    let wanted = [
        "RETURN",
        "KUBE-LOAD-BALANCER",
        "KUBE-MARK-MASQ",
        "KUBE-MARK-MASQ",
        "ACCEPT",
        "ACCEPT",
        "ACCEPT",
        "ACCEPT",
        "KUBE-NODE-PORT",
    ];
    assert_eq!(targets, wanted);
}

#[test]
fn row_060_the_node_itself_does_not_reach_a_refused_port() {
    let shape = FilterShape {
        refused: BTreeSet::from([AddressAndPort {
            address: IpAddr::from([198, 18, 0, 7]),
            protocol: Protocol::TCP,
            port: 80,
        }]),
        ..sample(Family::Ipv4)
    };
    let rule = "-s 198.18.0.7/32 -m ipvs --vproto 6 --vaddr 198.18.0.7 --vport 80 -j DROP";
    let rules = rules(&shape, Table::Filter, "KUBE-IPVS-OUT-FILTER");
    assert_eq!(rules, [rule]);
}

#[test]
fn chains_of_ours_are_those_that_are_written() {
    let rules = ruleset(&sample(Family::Ipv4));
    for (table, rules) in [(Table::Nat, rules.nat), (Table::Filter, rules.filter)] {
        let written: Vec<&str> = rules.chains.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(written, super::rules::chains(table));
    }
}

#[test]
fn what_asks_for_a_set_names_it_and_nothing_else_does() {
    for family in Family::ALL {
        for set in FilterSet::ALL {
            let one: FilterSets = [set].into_iter().collect();
            for shape in [
                sample(family),
                sample(family).without_sets(one),
                shape(family, &[]),
            ] {
                let named = ruleset(&shape).names_set(super::set_name(set, family).as_str());
                assert_eq!(named, shape.asks_for(set), "{set}");
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = FilterShape> {
    let name = |text: &str| text.parse().unwrap();
    let shaping: Vec<FilterSet> = FilterSet::ALL
        .into_iter()
        .filter(|set| set.shapes_filter())
        .collect();
    let count = shaping.len();
    let pods = select(vec![
        LocalPods::Network("10.244.0.0/16".parse().unwrap()),
        LocalPods::Network("fd00:244::/56".parse().unwrap()),
        LocalPods::Bridge(name("cbr0")),
        LocalPods::InterfacePrefix(name("cali")),
    ]);
    let masquerade = prop_oneof![
        Just(Masquerade::All),
        Just(Masquerade::Node),
        pods.prop_map(Masquerade::NotFrom)
    ];
    let refused = select(vec!["198.18.0.7", "198.18.0.8", "fd00::7"]);
    let refused = (
        refused,
        select(vec![Protocol::TCP, Protocol::SCTP]),
        1..4_u16,
    );
    let refused = refused.prop_map(|(address, protocol, port)| AddressAndPort {
        address: address.parse().unwrap(),
        protocol,
        port,
    });
    let sets = (
        subsequence(shaping, 0..=count),
        subsequence(FilterSet::ALL.to_vec(), 0..4),
    );
    let settings = (select(Family::ALL.to_vec()), 0..32_u32, any::<bool>());
    let refused = proptest::collection::btree_set(refused, 0..4);
    (settings, sets, masquerade, refused).prop_map(
        |((family, bit, random_fully), (filled, without), masquerade, refused)| {
            let refused = refused.into_iter();
            let shape = FilterShape {
                family,
                mark: 1 << bit,
                random_fully,
                cluster_ips: filled.contains(&FilterSet::ClusterIp).then_some(masquerade),
                filled: filled.into_iter().collect(),
                without: FilterSets::default(),
                refused: refused
                    .filter(|one| Family::of(one.address) == family)
                    .collect(),
            };
            shape.without_sets(without.into_iter().collect())
        },
    )
}

/// As kube-proxy has them, and releases of ours before the fix of its quirk 16.
#[test]
fn rules_in_kube_proxys_order_are_none_of_a_shape() {
    for family in Family::ALL {
        for filled in [
            vec![FilterSet::ClusterIp],
            vec![FilterSet::LoadBalancer],
            vec![FilterSet::ClusterIp, FilterSet::LoadBalancer],
        ] {
            let shape = shape(family, &filled);
            let mut ruleset = ruleset(&shape);
            let chains = &mut ruleset.nat.chains;
            let (_, services) = chains
                .iter_mut()
                .find(|(name, _)| name == "KUBE-SERVICES")
                .unwrap();
            let at = services.len() - filled.len() - 1;
            services[at..].rotate_right(1);
            let mut saved = SavedRules::default();
            saved.restored(&ruleset);
            let found = recognise(family, &saved);
            assert_eq!(found.shape, None, "{filled:?}");
            assert!(found.is_guarded);
        }
    }
}

#[test]
fn a_guard_is_one_that_refuses_and_is_asked() {
    let chain = "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-IPVS-FILTER - [0:0]\n";
    let jump = "-A INPUT -j KUBE-IPVS-FILTER\n";
    let refusal = "-A KUBE-IPVS-FILTER -m set --match-set KUBE-IPVS-IPS dst -j REJECT\n";
    let is_guarded = |rules: &[&str]| {
        let text = format!("{chain}{}COMMIT\n", rules.concat());
        recognise(Family::Ipv4, &SavedRules::parse(&text)).is_guarded
    };
    assert!(is_guarded(&[jump, refusal]));
    // As `iptables -F` leaves it, and with a part of it.
    assert!(!is_guarded(&[]) && !is_guarded(&[jump]) && !is_guarded(&[refusal]));
    let other = refusal.replace("KUBE-IPVS-IPS", "KUBE-6-IPVS-IPS");
    assert!(!is_guarded(&[jump, &other]));
}

proptest! {
    #[test]
    fn a_shape_is_recognised_by_its_rules(shape in shapes()) {
        let family = shape.family;
        let mut saved = saved(&shape);
        let known = KnownFilter {
            refused: shape.refused.clone(),
            is_guarded: shape.asks_for(FilterSet::Vip),
            shape: Some(shape),
            ..KnownFilter::default()
        };
        prop_assert_eq!(&recognise(family, &saved), &known);
        // Without any one of its rules it is none.
        let all: Vec<_> = saved
            .all_rules()
            .map(|(table, chain, rule)| (table, chain.to_owned(), rule.clone()))
            .collect();
        for (table, chain, rule) in all {
            let mut less = saved.clone();
            less.removed(&Removal { rules: vec![(chain, rule)], ..Removal::of(table) });
            let found = recognise(family, &less);
            // The rules of a set are there or not, and so are those of refused ports.
            prop_assert_ne!(&found.shape, &known.shape);
        }
        let log = "*filter\n:THEIRS - [0:0]\n-A THEIRS -m set --match-set KUBE-IPVS-IPS dst -j LOG\n";
        for (table, chain, rule) in SavedRules::parse(log).all_rules() {
            let mut text = format!("*{table}\n-A {chain} {rule}\n");
            for (table, chain, rule) in saved.all_rules() {
                text.push_str(&format!("*{table}\n-A {chain} {rule}\n"));
            }
            for (table, chain, _) in saved.chains() {
                text.push_str(&format!("*{table}\n:{chain} - [0:0]\n"));
            }
            saved = SavedRules::parse(&text);
        }
        let held = recognise(family, &saved);
        prop_assert_eq!(&held.shape, &known.shape);
        let holders: Vec<&str> = held.held_by.values().map(String::as_str).collect();
        let rule = "rule `-A THEIRS -m set --match-set KUBE-IPVS-IPS dst -j LOG` of table filter (IPv4)";
        let wanted = if family == Family::Ipv4 { vec![rule] } else { Vec::new() };
        prop_assert_eq!(holders, wanted);
    }
}
