//! What is there → what is known: a shape is guessed from the words of our rules, and believed if its rules are those that
//! are there.

use std::collections::{BTreeMap, BTreeSet};

use ipvs_codec::{Family, Protocol};
use ipvs_model::{
    AddressAndPort, FilterSet, FilterSets, FilterShape, KnownFilter, LocalPods, Masquerade,
};
use ipvs_netfilter::iptables::{Rule, SavedRules, Table};

use super::names::set_name;
use super::rule_place::RulePlace;
use super::rules::{GUARD, MARK_MASQ, OUT_FILTER, POSTROUTING, SERVICES, chains, ruleset};

/// What is known of a family's filter from its rules. O(rules).
///
/// ```
/// use ipvs_codec::Family;
/// use ipvs_filter::iptables::recognise;
/// use ipvs_netfilter::iptables::SavedRules;
/// let others = "*filter\n:MINE - [0:0]\n-A MINE -m set --match-set KUBE-IPVS-IPS dst -j LOG\n";
/// let known = recognise(Family::Ipv4, &SavedRules::parse(others));
/// assert!(known.shape.is_none() && !known.is_guarded);
/// assert_eq!(known.held_by.len(), 1);
/// ```
#[must_use]
pub fn recognise(family: Family, saved: &SavedRules) -> KnownFilter {
    let refused: BTreeSet<AddressAndPort> = rules(saved, Table::Filter, OUT_FILTER)
        .iter()
        .filter_map(refused)
        .collect();
    let shape = guess(family, saved, refused.clone());
    KnownFilter {
        shape: shape.filter(|shape| ruleset(shape).is_in(saved)),
        refused,
        is_guarded: is_guarded(family, saved),
        held_by: held_by(family, saved),
    }
}

fn rules<'a>(saved: &'a SavedRules, table: Table, chain: &str) -> &'a [Rule] {
    saved.rules(table, chain).unwrap_or_default()
}

/// Whether the guard refuses what it should, and is asked: `iptables -F` leaves its chain, empty.
fn is_guarded(family: Family, saved: &SavedRules) -> bool {
    let vips = set_name(FilterSet::Vip, family).to_string();
    let refuses = |rule: &Rule| {
        word_after(rule, "-j").as_deref() == Some("REJECT") && rule.words().any(|word| word == vips)
    };
    let leads = |rule: &Rule| word_after(rule, "-j").as_deref() == Some(GUARD);
    let mut input = rules(saved, Table::Filter, "INPUT").iter();
    let mut guard = rules(saved, Table::Filter, GUARD).iter();
    input.any(leads) && guard.any(refuses)
}

fn guess(
    family: Family,
    saved: &SavedRules,
    refused: BTreeSet<AddressAndPort>,
) -> Option<FilterShape> {
    let mark = rules(saved, Table::Nat, MARK_MASQ).first()?;
    let mark = word_after(mark, "--set-xmark")?;
    let (mark, _) = mark.strip_prefix("0x")?.split_once('/')?;
    let mark = u32::from_str_radix(mark, 16).ok()?;
    let mut postrouting = rules(saved, Table::Nat, POSTROUTING).iter();
    let random_fully = postrouting.any(|rule| rule.words().any(|word| word == "--random-fully"));
    let in_nat = named(family, saved, Table::Nat);
    let in_filter = named(family, saved, Table::Filter);
    let filled: FilterSets = FilterSet::ALL
        .into_iter()
        .filter(|set| set.shapes_filter())
        .filter(|set| in_nat.contains(*set) || (!set.is_guard() && in_filter.contains(*set)))
        .collect();
    let without: FilterSets = FilterSet::ALL
        .into_iter()
        .filter(|set| set.is_guard() && !in_filter.contains(*set))
        .collect();
    let cluster_ips = if filled.contains(FilterSet::ClusterIp) {
        Some(masquerade(family, saved)?)
    } else {
        None
    };
    Some(FilterShape {
        family,
        mark,
        random_fully,
        cluster_ips,
        filled,
        without,
        refused,
    })
}

/// The sets that our rules of a table name.
fn named(family: Family, saved: &SavedRules, table: Table) -> FilterSets {
    let ours: Vec<&Rule> = saved
        .all_rules()
        .filter(|(of, chain, _)| *of == table && is_rewritten(table, chain))
        .map(|(_, _, rule)| rule)
        .collect();
    let is_named = |set: &FilterSet| {
        let name = set_name(*set, family);
        ours.iter().any(|rule| rule.names_set(name.as_str()))
    };
    FilterSet::ALL.into_iter().filter(is_named).collect()
}

/// Who is masqueraded on the way to cluster IPs.
fn masquerade(family: Family, saved: &SavedRules) -> Option<Masquerade> {
    let name = set_name(FilterSet::ClusterIp, family);
    let mut services = rules(saved, Table::Nat, SERVICES).iter();
    let marks = |rule: &&Rule| {
        rule.names_set(name.as_str()) && rule.target().is_some_and(|target| target == MARK_MASQ)
    };
    let rule = services.find(marks)?;
    if let Some(source) = word_after(rule, "-s") {
        let pods = LocalPods::Network(source.parse().ok()?);
        return Some(Masquerade::NotFrom(pods));
    }
    if let Some(interface) = word_after(rule, "-i") {
        let pods = match interface.strip_suffix('+') {
            Some(prefix) => LocalPods::InterfacePrefix(prefix.parse().ok()?),
            None => LocalPods::Bridge(interface.parse().ok()?),
        };
        return Some(Masquerade::NotFrom(pods));
    }
    let is_nodes = rule.words().any(|word| word == "src,dst");
    Some(if is_nodes {
        Masquerade::Node
    } else {
        Masquerade::All
    })
}

fn refused(rule: &Rule) -> Option<AddressAndPort> {
    let number = word_after(rule, "--vproto")?.parse().ok()?;
    Some(AddressAndPort {
        address: word_after(rule, "--vaddr")?.parse().ok()?,
        protocol: Protocol::from_number(number),
        port: word_after(rule, "--vport")?.parse().ok()?,
    })
}

fn word_after(rule: &Rule, option: &str) -> Option<String> {
    let mut words = rule.words();
    words.find(|word| word == option)?;
    words.next().map(Into::into)
}

/// The first rule of others that names each of our sets.
fn held_by(family: Family, saved: &SavedRules) -> BTreeMap<FilterSet, String> {
    let mut held_by = BTreeMap::new();
    let others = saved.all_rules().filter(|(table, chain, rule)| {
        !is_rewritten(*table, chain) && rule.as_str().contains("KUBE-")
    });
    for (table, chain, rule) in others {
        for set in FilterSet::ALL {
            if rule.names_set(set_name(set, family).as_str()) {
                let place = || RulePlace {
                    family,
                    table,
                    chain: chain.to_owned(),
                    rule: rule.clone(),
                };
                held_by.entry(set).or_insert_with(|| place().to_string());
            }
        }
    }
    held_by
}

/// Whether a chain has our rules alone.
fn is_rewritten(table: Table, chain: &str) -> bool {
    chains(table).contains(&chain)
}
