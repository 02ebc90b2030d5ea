//! Our own tables of nftables, and those of kube-proxy's nftables mode.

use super::*;

/// A node whose filter is made with nftables, and has neither rules of iptables nor sets of ipset.
fn nftables_node() -> Remains {
    let mut remains = node();
    remains.entries = std::mem::take(&mut remains.sets);
    remains.rules.clear();
    let ours = Family::ALL.map(|family| (NftablesTable::Ours, family));
    remains.nftables.extend(ours);
    remains
}

#[test]
fn all_of_it_goes_and_what_is_not_ours_stays() {
    for config in [Config::default(), keep()] {
        let mut remains = nftables_node();
        let foreign = server("192.0.2.1");
        remains.virtual_servers.insert(foreign);
        let mut kernel = Kernel::with(remains);
        let report = kernel.clean_up(&config);
        assert_eq!(texts(&report), [""; 0]);
        let is_left = kernel.remains.virtual_servers.contains(&foreign);
        assert_eq!(is_left, config.foreign == Foreign::Keep);
        assert!(kernel.remains.nftables.is_empty() && kernel.remains.link.is_none());
        let last = report.plan.last().unwrap().to_string();
        assert_eq!(last, "remove nftables table ip6 kube-proxy-ipvs");
    }
}

#[test]
fn the_table_stays_where_it_guards_or_says_what_is_ours() {
    let judge = |operation: &CleanUpOperation| {
        let is_link = matches!(operation, CleanUpOperation::DeleteLink);
        let is_vip = matches!(operation, CleanUpOperation::UnbindVip { .. });
        (is_link || is_vip).then(|| Refusal {
            may_pass: false,
            ..refusal("no", false)
        })
    };
    let mut kernel = Kernel::refusing(nftables_node(), judge);
    let left = texts(&kernel.clean_up(&Config::default()));
    let guards = "nftables table ip kube-proxy-ipvs: without it the ports of this host would answer on VIP 10.96.0.1, which \
                  is still bound";
    assert!(left.iter().any(|left| left == guards), "{left:#?}");

    let judge = |operation: &CleanUpOperation| {
        let is_first = operation.to_string() == "remove virtual server 10.96.0.1:80/TCP";
        is_first.then(|| Refusal {
            may_pass: false,
            ..refusal("no", false)
        })
    };
    let mut kernel = Kernel::refusing(nftables_node(), judge);
    let left = texts(&kernel.clean_up(&keep()));
    let lists = "nftables table ip kube-proxy-ipvs: virtual server 10.96.0.1:80/TCP is still there, and is known to be ours by \
                 it";
    assert_eq!(left, ["virtual server 10.96.0.1:80/TCP: no", lists]);
    assert_eq!(
        kernel.remains.nftables,
        [(NftablesTable::Ours, Family::Ipv4)].into()
    );
}

#[test]
fn what_another_filter_left_goes_and_the_rest_stays() {
    for kept in [FilterKind::Iptables, FilterKind::Nftables] {
        let mut all = nftables_node();
        let iptables = node();
        (all.sets, all.rules) = (iptables.sets, iptables.rules);
        let mut kernel = Kernel::with(all.clone());
        let mut clean_up = CleanUp::of_other_filters(&keep(), kept);
        while let Some(step) = clean_up.next_step() {
            match step {
                CleanUpStep::Read(_) => clean_up.found(Ok(kernel.remains.clone())),
                CleanUpStep::Remove(operations) => {
                    let outcomes = operations.iter().map(|operation| kernel.remove(operation));
                    let outcomes = outcomes.collect();
                    clean_up.done(outcomes);
                }
                CleanUpStep::Wait(_) => panic!("nothing is refused"),
            }
        }
        assert_eq!(texts(&clean_up.report()), [""; 0]);
        let remains = &kernel.remains;
        assert_eq!(remains.virtual_servers, all.virtual_servers);
        assert_eq!(remains.link, all.link);
        let is_iptables = kept == FilterKind::Iptables;
        assert_eq!(remains.sets.is_empty(), !is_iptables);
        assert_eq!(remains.rules == all.rules, is_iptables);
        let ours = (NftablesTable::Ours, Family::Ipv4);
        assert_eq!(remains.nftables.contains(&ours), !is_iptables);
        let of_mode = (NftablesTable::KubeProxy, Family::Ipv4);
        assert!(!remains.nftables.contains(&of_mode));
    }
}
