//! Sets, and what they are known by.

use super::*;

#[test]
fn a_rule_of_others_keeps_the_one_set_that_it_names() {
    let log =
        "*mangle\n:LOGGED - [0:0]\n-A LOGGED -m set --match-set KUBE-CLUSTER-IP dst,dst -j LOG\n";
    let mut beside_ours = node();
    let saved = beside_ours.rules.get_mut(&Family::Ipv4).unwrap();
    let mut all = String::from(log);
    for (table, chain, rule) in saved.all_rules() {
        all.push_str(&format!("*{table}\n-A {chain} {rule}\n"));
    }
    *saved = SavedRules::parse(&all);
    let mut in_another_back_end = node();
    let others = vec![SavedRules::parse(log)];
    in_another_back_end.other_rules.insert(Family::Ipv4, others);
    for remains in [beside_ours, in_another_back_end] {
        let mut kernel = Kernel::with(remains);
        let left = texts(&kernel.clean_up(&Config::default()));
        assert_eq!(left.len(), 1, "{left:#?}");
        assert!(left[0].starts_with("set KUBE-CLUSTER-IP: the rule `-A LOGGED -m set --match-set"));
        assert!(
            left[0].ends_with("of table mangle (IPv4) refers to it"),
            "{left:?}"
        );
        assert_eq!(kernel.remains.sets.len(), 1);
        assert_eq!(kernel.waited, Duration::ZERO);
    }
}

#[test]
fn the_ledger_stays_where_it_is_not_known_what_it_is_for() {
    for (part, sets) in [
        (
            CleanUpPart::VirtualServers,
            vec!["KUBE-6-CLUSTER-IP", "KUBE-CLUSTER-IP"],
        ),
        (CleanUpPart::Link, vec!["KUBE-6-IPVS-IPS", "KUBE-IPVS-IPS"]),
    ] {
        let mut kernel = Kernel::with(node());
        kernel
            .unread
            .insert(part, Unreadable::Failed("no".to_owned()));
        let report = kernel.clean_up(&keep());
        let mut left: Vec<_> = kernel
            .remains
            .sets
            .keys()
            .map(|(set, family)| set_name(*set, *family))
            .collect();
        left.sort_unstable();
        let left: Vec<_> = left.iter().map(|name| name.as_str()).collect();
        assert_eq!(left, sets);
        assert_eq!(report.left.len(), 3, "{:?}", report.left);
        kernel.unread.clear();
        assert_eq!(texts(&kernel.clean_up(&keep())), [""; 0]);
        assert_all_is_gone(&kernel);
    }
}

#[test]
fn a_set_that_is_in_use_for_a_moment_is_asked_for_again() {
    let mut times = 0;
    let judge = move |operation: &CleanUpOperation| {
        let CleanUpOperation::DestroySet { set, .. } = operation else {
            return None;
        };
        times += usize::from(*set == FilterSet::Vip);
        (*set == FilterSet::Vip && times < 7).then(busy)
    };
    let mut kernel = Kernel::refusing(node(), judge);
    assert_eq!(texts(&kernel.clean_up(&Config::default())), [""; 0]);
    assert!(kernel.waited > Duration::ZERO && kernel.waited < Duration::from_secs(2));
    assert_all_is_gone(&kernel);
}

#[test]
fn a_set_that_stays_in_use_is_named_after_two_seconds() {
    let judge = |operation: &CleanUpOperation| {
        matches!(
            operation,
            CleanUpOperation::DestroySet {
                set: FilterSet::Vip,
                ..
            }
        )
        .then(busy)
    };
    let mut unread = node();
    let denied = "iptables-nft-save: Permission denied".to_owned();
    unread.unread_rules.insert(Family::Ipv4, denied);
    for (remains, why) in [
        (node(), "a rule or another set refers to the set: no rule"),
        (
            unread,
            "a rule or another set refers to the set: perhaps one of the IPv4 rules, which could not",
        ),
    ] {
        let mut kernel = Kernel::refusing(remains, judge);
        let left = texts(&kernel.clean_up(&Config::default()));
        let words = format!("set KUBE-IPVS-IPS: {why}");
        let named = left.iter().find(|text| text.starts_with(&words));
        assert!(named.is_some(), "{left:?}");
        assert_eq!(kernel.waited, Duration::from_secs(2));
        assert_eq!(kernel.remains.sets.len(), 2);
    }
}

#[test]
fn what_could_not_be_removed_is_known_to_be_ours_the_next_time() {
    let refused = |operation: &CleanUpOperation| match operation {
        CleanUpOperation::RemoveVirtualServer { virtual_server } => {
            *virtual_server == server("10.96.0.1")
        }
        CleanUpOperation::UnbindVip { vip } => vip.address() == ip("10.96.0.2"),
        CleanUpOperation::DeleteLink => true,
        _ => false,
    };
    let judge = move |operation: &CleanUpOperation| {
        refused(operation).then(|| refusal("Device or resource busy", false))
    };
    let mut kernel = Kernel::refusing(node(), judge);
    let report = kernel.clean_up(&keep());
    let left = texts(&report);
    for words in [
        "virtual server 10.96.0.1:80/TCP: Device or resource busy",
        "VIP 10.96.0.2 (address): Device or resource busy",
        "dummy interface: Device or resource busy",
        "set KUBE-CLUSTER-IP: ",
        "set KUBE-IPVS-IPS: ",
        "chain KUBE-IPVS-FILTER of table filter (IPv4): without it the ports of this host",
    ] {
        assert!(
            left.iter().any(|text| text.starts_with(words)),
            "{words} in {left:#?}"
        );
    }
    let remains = &kernel.remains;
    assert_eq!(remains.virtual_servers.len(), 1);
    assert_eq!(remains.link.as_ref().unwrap().vips.len(), 1);
    assert!(
        !left
            .iter()
            .any(|text| text.contains("IPv6") || text.contains("KUBE-6-")),
        "{left:#?}"
    );
    assert!(kernel.waited <= Duration::from_secs(2));
    // Without the fault.
    kernel.judge = Box::new(|_| None);
    assert_eq!(texts(&kernel.clean_up(&keep())), [""; 0]);
    assert_all_is_gone(&kernel);
}

/// It is not even tried, so that a rehearsal promises nothing else.
#[test]
fn a_set_that_a_list_of_others_has_is_named_with_it() {
    let mut remains = node();
    let sets = vec!["theirs".to_owned(), "KUBE-IPVS-IPS".to_owned()];
    remains.set_lists.insert("all".parse().unwrap(), sets);
    let mut kernel = Kernel::with(remains);
    let left = texts(&kernel.clean_up(&Config::default()));
    let held = "set KUBE-IPVS-IPS: the set all of type list:set lists it";
    assert_eq!(left, [held]);
    assert_eq!(kernel.waited, Duration::ZERO);
    // A list that has a name of ours goes first.
    let mut remains = node();
    let sets = vec!["KUBE-IPVS-IPS".to_owned()];
    let list = set_name(FilterSet::ClusterIp, Family::Ipv4);
    remains.set_lists.insert(list, sets);
    let mut kernel = Kernel::with(remains);
    assert_eq!(texts(&kernel.clean_up(&Config::default())), [""; 0]);
}
