//! Chains and rules of the nftables filter, for each shape.

use std::collections::BTreeSet;

use ipvs_codec::{Family, Protocol};
use ipvs_filter::nftables::{Skeleton, recognise, set_name};
use ipvs_model::{AddressAndPort, FilterSet, FilterSets, FilterShape, LocalPods, Masquerade};
use ipvs_netfilter::nftables::{Expression, Name, Rule, Verdict};
use proptest::prelude::*;

fn bare(family: Family) -> FilterShape {
    FilterShape {
        family,
        mark: 0x4000,
        random_fully: true,
        cluster_ips: None,
        filled: FilterSets::default(),
        without: FilterSets::default(),
        refused: BTreeSet::new(),
    }
}

fn pods(family: Family, at: usize) -> Masquerade {
    let network = match (family, at) {
        (Family::Ipv4, 0) => "10.244.0.0/16",
        (Family::Ipv4, 1) => "10.244.16.0/20",
        (Family::Ipv4, 2) => "10.244.0.7/32",
        (Family::Ipv4, 3) => "0.0.0.0/0",
        (Family::Ipv6, 0) => "fd00:244::/56",
        (Family::Ipv6, 1) => "fd00:244::/57",
        (Family::Ipv6, 2) => "fd00:244::7/128",
        (Family::Ipv6, 3) => "::/0",
        (_, 4) => return Masquerade::NotFrom(LocalPods::Bridge("cbr0".parse().unwrap())),
        (_, 5) => {
            return Masquerade::NotFrom(LocalPods::Bridge("fifteen-letters".parse().unwrap()));
        }
        (_, 6) => return Masquerade::NotFrom(LocalPods::InterfacePrefix("veth".parse().unwrap())),
        (_, 7) => return Masquerade::All,
        _ => return Masquerade::Node,
    };
    Masquerade::NotFrom(LocalPods::Network(network.parse().unwrap()))
}

fn sets() -> impl Strategy<Value = FilterSets> {
    proptest::sample::subsequence(FilterSet::ALL.to_vec(), 0..=FilterSet::ALL.len())
        .prop_map(|sets| sets.into_iter().collect())
}

fn shapes() -> impl Strategy<Value = FilterShape> {
    let mark = (0_u32..32).prop_map(|bit| 1 << bit);
    let family = proptest::sample::select(Family::ALL.to_vec());
    let rest = (any::<bool>(), 0_usize..9, 0_u16..3);
    (family, mark, sets(), sets(), rest).prop_map(|(family, mark, filled, unusable, rest)| {
        let (random_fully, at, refused) = rest;
        let address = match family {
            Family::Ipv4 => "203.0.113.7".parse().unwrap(),
            Family::Ipv6 => "fd00::7".parse().unwrap(),
        };
        let served = |port| AddressAndPort {
            address,
            protocol: Protocol::UDP,
            port,
        };
        let filled: FilterSets = filled.iter().filter(|set| set.shapes_filter()).collect();
        let has_cluster_ips = filled.contains(FilterSet::ClusterIp);
        let shape = FilterShape {
            mark,
            random_fully,
            cluster_ips: has_cluster_ips.then(|| pods(family, at)),
            filled,
            refused: (0..refused).map(served).collect(),
            ..bare(family)
        };
        shape.without_sets(unusable)
    })
}

/// A shape with the Vip set unusable asks for no guard, and one without the set that others need has no ranges.
fn is_whole(shape: &FilterShape) -> bool {
    let needs_firewalled = [FilterSet::SourceRange, FilterSet::SourceAddress];
    let has_ranges = needs_firewalled
        .iter()
        .any(|set| shape.filled.contains(*set));
    shape.asks_for(FilterSet::Vip) && (!has_ranges || shape.filled.contains(FilterSet::Firewalled))
}

proptest! {
    #[test]
    fn a_shape_is_known_by_its_rules(shape in shapes().prop_filter("whole", is_whole)) {
        let skeleton = Skeleton::of(&shape).unwrap();
        let known = recognise(shape.family, &skeleton.chains, &skeleton.rules);
        prop_assert_eq!(known.shape.as_ref(), Some(&shape));
        prop_assert_eq!(&known.refused, &shape.refused);
        prop_assert!(known.is_guarded);
    }

    #[test]
    fn one_rule_less_is_no_shape_or_another_one(shape in shapes(), at in any::<prop::sample::Index>()) {
        let mut skeleton = Skeleton::of(&shape).unwrap();
        skeleton.rules.remove(at.index(skeleton.rules.len()));
        let known = recognise(shape.family, &skeleton.chains, &skeleton.rules);
        prop_assert_ne!(known.shape, Some(shape));
    }

    #[test]
    fn whatever_others_jump_to_comes_first_and_is_there(shape in shapes()) {
        let skeleton = Skeleton::of(&shape).unwrap();
        let names: Vec<&Name> = skeleton.chains.iter().map(|chain| &chain.id.name).collect();
        for rule in &skeleton.rules {
            let place = |name: &Name| names.iter().position(|found| *found == name).unwrap();
            let here = place(&rule.chain.name);
            if let Some(Expression::Verdict(Verdict::Jump(to))) = rule.expressions().last() {
                prop_assert!(place(to) < here);
            }
        }
    }

    #[test]
    fn no_set_is_looked_into_that_is_not_asked_for(shape in shapes()) {
        let skeleton = Skeleton::of(&shape).unwrap();
        let looked = skeleton.rules.iter().flat_map(Rule::expressions).filter_map(|step| match step {
            Expression::Lookup { set, .. } => Some(set.clone()),
            _ => None,
        });
        let looked: BTreeSet<Name> = looked.collect();
        for set in FilterSet::ALL {
            // Masquerading of the node alone, and node ports, ask for VIPs.
            if set != FilterSet::Vip && looked.contains(&set_name(set).into()) {
                prop_assert!(shape.asks_for(set), "{}", set);
            }
        }
    }
}

#[test]
fn what_others_put_in_is_no_shape() {
    let shape = bare(Family::Ipv4);
    let mut skeleton = Skeleton::of(&shape).unwrap();
    let accepts = vec![Expression::Verdict(Verdict::Accept)];
    let guard = skeleton
        .rules
        .iter()
        .find(|rule| rule.chain.name.as_bytes() == b"guard");
    let foreign = Rule::new(guard.unwrap().chain.clone(), accepts).unwrap();
    skeleton.rules.insert(0, foreign);
    let known = recognise(Family::Ipv4, &skeleton.chains, &skeleton.rules);
    assert!(known.shape.is_none() && known.is_guarded);
    let known = recognise(Family::Ipv4, &skeleton.chains, &[]);
    assert!(known.shape.is_none() && !known.is_guarded);
}

#[test]
fn a_table_without_services_costs_one_lookup_for_a_connection_to_the_node() {
    let skeleton = Skeleton::of(&bare(Family::Ipv4)).unwrap();
    let names: Vec<String> = skeleton
        .chains
        .iter()
        .map(|chain| chain.id.name.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "services",
            "guard",
            "prerouting",
            "output",
            "input",
            "postrouting"
        ]
    );
    let guard = skeleton
        .rules
        .iter()
        .find(|rule| rule.chain.name.as_bytes() == b"guard");
    let returns = Expression::Verdict(Verdict::Return);
    assert_eq!(
        guard.unwrap().expressions().last(),
        Some(&returns),
        "what goes to no VIP"
    );
}

#[test]
fn what_is_marked_is_what_postrouting_sees() {
    let skeleton = Skeleton::of(&bare(Family::Ipv4)).unwrap();
    // The mark is taken off where the first packet of a connection is masqueraded: no later one may have it.
    for chain in &skeleton.chains {
        let name = chain.id.name.to_string();
        if ["prerouting", "output", "postrouting"].contains(&name.as_str()) {
            let base = chain.base.as_ref().unwrap();
            assert_eq!(base.kind.to_string(), "nat", "{name}");
        }
    }
}

#[test]
fn a_chain_of_others_in_our_table_is_theirs() {
    let shape = bare(Family::Ipv4);
    let Skeleton { mut chains, rules } = Skeleton::of(&shape).unwrap();
    let mut foreign = chains[0].clone();
    foreign.id.name = "mine".parse().unwrap();
    chains.push(foreign);
    assert_eq!(recognise(Family::Ipv4, &chains, &rules).shape, Some(shape));
}
