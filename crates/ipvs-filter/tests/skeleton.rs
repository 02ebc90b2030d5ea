//! The skeleton beside the rules that `nft` makes of text, as recorded for the crate `ipvs-netfilter` from the file
//! `filter.nft` there: a filter that was tried with packets.

use ipvs_filter::nftables::{
    InvalidShape, LocalPods, MasqueradeClusterIps, SetKind, Shape, Skeleton,
};
use ipvs_netfilter::nftables::{Change, Expression, Family, Set, Value};

fn shape(family: Family, pods: &str) -> Shape {
    Shape {
        family,
        name: "kube-proxy-ipvs".parse().unwrap(),
        mark: 0x4000,
        masquerade: LocalPods::Network(pods.parse().unwrap()).into(),
        fully_random: true,
    }
}

#[cfg(target_endian = "little")]
mod recorded {
    use std::collections::BTreeMap;

    use ipvs_netfilter::nftables::{Chain, Rule, Set};

    use super::*;

    /// The payloads that `nft -f` sent, of one command (`NFT_MSG_…`).
    fn sent(command: u8) -> Vec<Vec<u8>> {
        let text = include_str!("../../ipvs-netfilter/tests/vectors/nftables.txt");
        let lines = text.lines().filter(|line| line.contains(" | -f FILTER | "));
        let messages = lines.filter(|line| line.starts_with('q')).map(|line| {
            let hex = line.rsplit(' ').next().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>()
        });
        let of_command = messages.filter(|message| message[4..6] == [command, 10]);
        of_command.map(|message| message[16..].to_vec()).collect()
    }

    fn steps<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeMap<String, Vec<Vec<Expression>>> {
        let mut chains: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for rule in rules {
            let chain = chains.entry(rule.chain.to_string()).or_default();
            chain.push(rule.expressions().to_vec());
        }
        chains
    }

    #[test]
    fn the_skeleton_has_the_steps_that_nft_makes() {
        let rules: Vec<Rule> = sent(6)
            .iter()
            .map(|payload| Rule::parse(payload).unwrap().object)
            .collect();
        let written = steps(rules.iter());
        for (family, pods) in [
            (Family::IPV4, "10.244.0.0/16"),
            (Family::IPV6, "fd00:244::/56"),
        ] {
            let skeleton = Skeleton::of(&shape(family, pods)).unwrap();
            let mut ours = steps(skeleton.rules.iter());
            let chain = |name: &str| format!("{family} kube-proxy-ipvs {name}");
            // A node port of a VIP is none: two steps more behind the first two.
            for rule in &mut ours.get_mut(&chain("services")).unwrap()[5..] {
                let not_a_vip: Vec<_> = rule.splice(2..4, []).collect();
                assert!(matches!(
                    &not_a_vip[1],
                    Expression::Lookup { inverted: true, .. }
                ));
            }
            // The protocol by `meta` where text can only say `ip protocol`.
            let ranges = &mut ours.get_mut(&chain("source-ranges")).unwrap()[0];
            assert!(matches!(ranges[1], Expression::Meta { .. }));
            ranges[1] = written[&chain("source-ranges")][0][1].clone();
            for name in [
                "services",
                "prerouting",
                "output",
                "postrouting",
                "input",
                "source-ranges",
            ] {
                assert_eq!(ours[&chain(name)], written[&chain(name)], "{name}");
            }
            assert_eq!(ours[&chain("forward")][..], ours[&chain("input")][..1]);
            assert_eq!(ours.len(), 7);
        }
    }

    #[test]
    fn the_skeleton_has_the_chains_and_sets_that_nft_makes() {
        let chains: Vec<Chain> = sent(3)
            .iter()
            .map(|payload| Chain::parse(payload).unwrap().object)
            .collect();
        let sets: Vec<Set> = sent(9)
            .iter()
            .map(|payload| Set::parse(payload).unwrap().object)
            .collect();
        for (family, pods) in [
            (Family::IPV4, "10.244.0.0/16"),
            (Family::IPV6, "fd00:244::/56"),
        ] {
            let skeleton = Skeleton::of(&shape(family, pods)).unwrap();
            for chain in &skeleton.chains {
                let is_new = chain.id.name.as_bytes() == b"forward";
                assert!(is_new || chains.contains(chain), "{chain:?}");
            }
            assert_eq!(skeleton.sets.len(), 12);
            for (_, set) in &skeleton.sets {
                // nft adds a hint of its own.
                let same = |other: &Set| {
                    let userdata = set.userdata.clone();
                    Set {
                        userdata,
                        ..other.clone()
                    } == *set
                };
                assert!(sets.iter().any(same), "{set:?}");
            }
        }
    }
}

#[test]
fn everything_is_made_before_it_is_named() {
    let skeleton = Skeleton::of(&shape(Family::IPV4, "10.244.0.0/16")).unwrap();
    let order = |change: &Change<'_>| match change {
        Change::CreateTable(_) => 0,
        Change::AddSet(_) => 1,
        Change::AddChain(_) => 2,
        Change::AddRule(..) => 3,
        other => panic!("{other}"),
    };
    let changes = skeleton.changes();
    assert!(changes.is_sorted_by_key(order));
    let counts = [0, 1, 2, 3].map(|kind| {
        changes
            .iter()
            .filter(|change| order(change) == kind)
            .count()
    });
    assert_eq!(counts, [1, 12, 7, 7 + 2 + 2 + 7 + 1 + 4]);
    for kind in SetKind::ALL {
        let set: &Set = skeleton.set(kind).unwrap();
        assert_eq!(
            set.id.to_string(),
            format!("ip kube-proxy-ipvs {}", kind.name())
        );
        assert!(set.key.fields().is_some());
    }
}

/// The steps before the lookup in the set of cluster IPs.
fn before_cluster_ips(masquerade: MasqueradeClusterIps) -> Vec<Expression> {
    let shape = Shape {
        masquerade,
        ..shape(Family::IPV4, "10.244.0.0/16")
    };
    let skeleton = Skeleton::of(&shape).unwrap();
    let rule = skeleton.rules.iter().find(|rule| {
        rule.expressions().iter().any(
            |step| matches!(step, Expression::Lookup { set, .. } if set.as_bytes() == b"cluster-ips"),
        )
    });
    let mut steps = rule.unwrap().expressions().to_vec();
    // Address, protocol, port, lookup; mark loaded, set, stored; return.
    steps.truncate(steps.len() - 8);
    steps
}

#[test]
fn who_is_masqueraded_on_the_way_to_a_cluster_ip() {
    let pods = |pods: LocalPods| before_cluster_ips(pods.into());
    assert_eq!(before_cluster_ips(MasqueradeClusterIps::All), []);
    let node = before_cluster_ips(MasqueradeClusterIps::Node);
    assert!(
        matches!(&node[..], [Expression::Payload { offset: 12, .. }, Expression::Lookup { set, inverted: false, .. }]
        if set.as_bytes() == b"vips")
    );
    let compared = |steps: &[Expression]| match steps.last() {
        Some(Expression::Compare { value, .. }) => *value,
        other => panic!("{other:?}"),
    };
    let bridge = pods(LocalPods::Bridge("cbr0".parse().unwrap()));
    assert_eq!(
        compared(&bridge).as_bytes(),
        b"cbr0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    let prefix = pods(LocalPods::InterfacePrefix("veth".parse().unwrap()));
    assert_eq!(compared(&prefix).as_bytes(), b"veth");
    // No whole bytes: under a mask, and the host's part counts for nothing.
    let odd = pods(LocalPods::Network("10.244.77.1/20".parse().unwrap()));
    assert_eq!(odd.len(), 3);
    assert_eq!(compared(&odd), Value::ip([10, 244, 64, 0].into()));
    let everything = pods(LocalPods::Network("0.0.0.0/0".parse().unwrap()));
    assert!(
        matches!(&everything[1], Expression::Bitwise { mask, .. } if *mask == Value::ip([0; 4].into()))
    );
    assert_eq!(compared(&everything), Value::ip([0; 4].into()));
}

#[test]
fn a_shape_that_no_filter_has_is_refused() {
    let inet = Skeleton::of(&shape(Family::INET, "10.0.0.0/8")).unwrap_err();
    assert_eq!(
        inet.to_string(),
        "a filter is of family ip or ip6, not inet"
    );
    let other = Skeleton::of(&shape(Family::IPV6, "10.0.0.0/8")).unwrap_err();
    assert_eq!(other.to_string(), "10.0.0.0/8 is no network of family ip6");
    let unmarked = Shape {
        mark: 0,
        ..shape(Family::IPV4, "10.0.0.0/8")
    };
    assert_eq!(Skeleton::of(&unmarked), Err(InvalidShape::NoMark));
}
