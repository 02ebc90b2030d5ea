//! Clean-up against a kernel that is a [`Remains`] and refuses what it is told to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs_codec::Protocol;

use super::*;
use crate::rules::ruleset;
use crate::sets::Member;

/// Whether an operation is refused, and how.
type Judge = Box<dyn FnMut(&Operation) -> Option<Refusal>>;

struct Kernel {
    remains: Remains,
    unread: BTreeMap<CleanUpPart, Unreadable>,
    judge: Judge,
    waited: Duration,
    asked: Vec<String>,
}

impl Kernel {
    fn with(remains: Remains) -> Self {
        Self {
            remains,
            unread: BTreeMap::new(),
            judge: Box::new(|_| None),
            waited: Duration::ZERO,
            asked: Vec::new(),
        }
    }

    fn refusing(
        remains: Remains,
        judge: impl FnMut(&Operation) -> Option<Refusal> + 'static,
    ) -> Self {
        Self {
            judge: Box::new(judge),
            ..Self::with(remains)
        }
    }

    fn clean_up(&mut self, config: &Config) -> CleanUpReport {
        let mut clean_up = CleanUp::new(config);
        while let Some(step) = clean_up.next_step() {
            match step {
                CleanUpStep::Read(part) => clean_up.found(match self.unread.get(&part) {
                    Some(unread) => Err(unread.clone()),
                    None => Ok(self.remains.clone()),
                }),
                CleanUpStep::Remove(operations) => {
                    let outcomes = operations.iter().map(|operation| self.remove(operation));
                    let outcomes = outcomes.collect();
                    clean_up.done(outcomes);
                }
                CleanUpStep::Wait(time) => self.waited += time,
            }
        }
        clean_up.report()
    }

    fn remove(&mut self, operation: &Operation) -> Result<(), Refusal> {
        self.asked.push(operation.to_string());
        if let Some(refusal) = (self.judge)(operation) {
            return Err(refusal);
        }
        let remains = &mut self.remains;
        match operation {
            Operation::FlushVirtualServers => remains.virtual_servers.clear(),
            Operation::RemoveVirtualServer { virtual_server } => {
                assert!(remains.virtual_servers.remove(virtual_server));
            }
            Operation::UnbindVip { vip } => {
                assert!(remains.link.as_mut().unwrap().vips.remove(vip));
            }
            Operation::DeleteLink => remains.link = None,
            Operation::RemoveRules {
                family, removal, ..
            } => {
                let saved = remains.rules.get_mut(family).unwrap();
                saved.removed(removal);
                for (_, _, rule) in saved.all_rules() {
                    let target = rule.target();
                    let dangles = |chain: &String| target.as_deref() == Some(chain);
                    assert!(!removal.deleted.iter().any(dangles), "{rule} dangles");
                }
            }
            Operation::RemoveNftablesTable { family } => assert!(remains.nftables.remove(family)),
            Operation::DestroySet { set, family, .. } => {
                if remains.sets.remove(&(*set, *family)).is_none() {
                    return Err(refusal("no such set", true));
                }
            }
            other => panic!("{other}"),
        }
        Ok(())
    }
}

fn refusal(text: &str, is_gone: bool) -> Refusal {
    Refusal {
        text: text.to_owned(),
        is_gone,
        is_set_busy: false,
        may_pass: true,
    }
}

fn busy() -> Refusal {
    Refusal {
        is_set_busy: true,
        ..refusal("a rule or another set refers to the set", false)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn server(address: &str) -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, ip(address), 80)
}

/// A node with three services of ours, all chains, jumps and sets of both families.
fn node() -> Remains {
    let mut known = Known::default();
    let mut remains = Remains::default();
    for family in Family::ALL {
        let mut saved = SavedRules::parse(
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j MINE\n:MINE - [0:0]\nCOMMIT\n",
        );
        let nothing = std::iter::empty();
        saved.restored(&ruleset(family, &Config::default(), &[], |_| true, nothing));
        remains.rules.insert(family, saved);
        for set in KubeSet::ALL {
            known.sets.insert((set, family), Default::default());
        }
    }
    let mut link = RemainingLink {
        is_dummy: true,
        ..RemainingLink::default()
    };
    for address in ["10.96.0.1", "10.96.0.2", "fd00::1"] {
        let key = server(address);
        remains.virtual_servers.insert(key);
        link.vips.insert(Vip::Address {
            address: ip(address),
        });
        let listed = Member {
            set: KubeSet::ClusterIp,
            family: key.family(),
            entry: entries_that_list(&key).next().unwrap().entry,
        };
        for member in [listed, entry_that_names(ip(address))] {
            known.applied(&Operation::AddMember { member });
        }
    }
    remains.sets = known.sets;
    remains.link = Some(link);
    remains.nftables = Family::ALL.into_iter().collect();
    remains
}

fn keep() -> Config {
    Config {
        foreign: Foreign::Keep,
        ..Config::default()
    }
}

fn texts(report: &CleanUpReport) -> Vec<String> {
    report.left.iter().map(ToString::to_string).collect()
}

/// Nothing but what `Kernel` cannot be asked about any more: the rules of others.
fn assert_all_is_gone(kernel: &Kernel) {
    let mut foreign = Remains::default();
    for family in Family::ALL {
        let text = "*filter\n:INPUT ACCEPT [0:0]\n:MINE - [0:0]\n-A INPUT -j MINE\n";
        let chains =
            "*filter\n:FORWARD -\n:OUTPUT -\n*nat\n:OUTPUT -\n:PREROUTING -\n:POSTROUTING -\n";
        let saved = SavedRules::parse(&format!("{text}{chains}"));
        foreign.rules.insert(family, saved);
    }
    assert_eq!(kernel.remains, foreign);
}

#[test]
fn vips_go_before_the_rules_that_guard_them_and_the_ledger_goes_last() {
    for config in [Config::default(), keep()] {
        let mut kernel = Kernel::with(node());
        let report = kernel.clean_up(&config);
        assert_eq!(texts(&report), [""; 0]);
        assert_all_is_gone(&kernel);
        assert_eq!(kernel.waited, Duration::ZERO);
        let rank = |operation: &Operation| match operation {
            Operation::FlushVirtualServers | Operation::RemoveVirtualServer { .. } => 0,
            Operation::DeleteLink => 1,
            Operation::RemoveRules { removal, .. } if removal.deleted.is_empty() => 2,
            Operation::RemoveRules { .. } => 3,
            Operation::RemoveNftablesTable { .. } => 4,
            Operation::DestroySet { .. } => 5,
            other => panic!("{other}"),
        };
        assert!(report.plan.iter().map(rank).is_sorted(), "{}", report.plan);
        assert_eq!(kernel.asked.len(), report.plan.len(), "each once");
    }
    let mut kernel = Kernel::with(Remains::default());
    assert!(kernel.clean_up(&keep()).plan.is_empty(), "a second time");
}

#[test]
fn what_could_not_be_removed_is_known_to_be_ours_the_next_time() {
    let refused = |operation: &Operation| match operation {
        Operation::RemoveVirtualServer { virtual_server } => *virtual_server == server("10.96.0.1"),
        Operation::UnbindVip { vip } => vip.address() == ip("10.96.0.2"),
        Operation::DeleteLink => true,
        _ => false,
    };
    let judge = move |operation: &Operation| {
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

#[test]
fn the_dummy_interface_stays_with_what_is_not_ours() {
    let foreign = Vip::Address {
        address: ip("10.9.9.9"),
    };
    let mut remains = node();
    remains.link.as_mut().unwrap().vips.insert(foreign);
    let mut kernel = Kernel::with(remains.clone());
    let report = kernel.clean_up(&keep());
    assert_eq!(
        texts(&report),
        ["dummy interface: the address 10.9.9.9 on it is not ours"]
    );
    assert_eq!(kernel.remains.link.unwrap().vips, BTreeSet::from([foreign]));
    assert!(kernel.remains.sets.is_empty());
    // Asked to remove what is foreign, it goes with all that is on it.
    let mut kernel = Kernel::with(remains);
    assert_eq!(texts(&kernel.clean_up(&Config::default())), [""; 0]);
    assert_all_is_gone(&kernel);
}

#[test]
fn the_dummy_interface_stays_with_an_address_that_has_a_network() {
    for config in [Config::default(), keep()] {
        let mut remains = node();
        let link = remains.link.as_mut().unwrap();
        link.networks.insert(ip("10.9.9.9"));
        let mut kernel = Kernel::with(remains);
        assert_eq!(
            texts(&kernel.clean_up(&config)),
            ["dummy interface: the address 10.9.9.9 on it is not ours"]
        );
        assert_eq!(kernel.remains.link.unwrap().vips, BTreeSet::new());
        assert!(kernel.remains.sets.is_empty());
    }
}

#[test]
fn a_bridge_of_that_name_is_not_touched() {
    for config in [Config::default(), keep()] {
        let mut remains = node();
        remains.link.as_mut().unwrap().is_dummy = false;
        let before = remains.link.clone();
        let mut kernel = Kernel::with(remains);
        let left = texts(&kernel.clean_up(&config));
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].starts_with("dummy interface: a link of another kind has its name"));
        assert_eq!(kernel.remains.link, before);
        assert!(kernel.remains.sets.is_empty() && kernel.remains.virtual_servers.is_empty());
    }
}

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
fn no_part_needs_another() {
    for part in CleanUpPart::ALL {
        let mut kernel = Kernel::with(node());
        let absent = Unreadable::Absent("not here".to_owned());
        kernel.unread.insert(part, absent);
        let report = kernel.clean_up(&Config::default());
        assert!(!report.plan.is_empty());
        assert_eq!(report.absent, [(part, "not here".to_owned())]);
        assert_eq!(texts(&report), [""; 0], "{part}");

        let mut kernel = Kernel::with(node());
        let failed = Unreadable::Failed("it is broken".to_owned());
        kernel.unread.insert(part, failed);
        let left = texts(&kernel.clean_up(&Config::default()));
        // Virtual servers are flushed without a list.
        let unread = format!("{part}: cannot be read: it is broken");
        let is_named = part != CleanUpPart::VirtualServers;
        assert_eq!(left, vec![unread; usize::from(is_named)]);
        assert!(kernel.asked.len() < 100, "{}", kernel.asked.len());
        let gone = [
            (CleanUpPart::Sets, kernel.remains.sets.is_empty()),
            (
                CleanUpPart::VirtualServers,
                kernel.remains.virtual_servers.is_empty(),
            ),
            (CleanUpPart::Link, kernel.remains.link.is_none()),
            (CleanUpPart::Nftables, kernel.remains.nftables.is_empty()),
        ];
        for (other, is_gone) in gone {
            let by_name = matches!(other, CleanUpPart::Sets | CleanUpPart::VirtualServers);
            assert_eq!(is_gone, other != part || by_name, "{other} without {part}");
        }
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
            .map(|(set, family)| set.name(*family))
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
    let judge = move |operation: &Operation| {
        let Operation::DestroySet { set, .. } = operation else {
            return None;
        };
        times += usize::from(*set == KubeSet::IpvsIps);
        (*set == KubeSet::IpvsIps && times < 7).then(busy)
    };
    let mut kernel = Kernel::refusing(node(), judge);
    assert_eq!(texts(&kernel.clean_up(&Config::default())), [""; 0]);
    assert!(kernel.waited > Duration::ZERO && kernel.waited < Duration::from_secs(2));
    assert_all_is_gone(&kernel);
}

#[test]
fn a_set_that_stays_in_use_is_named_after_two_seconds() {
    let judge = |operation: &Operation| {
        matches!(
            operation,
            Operation::DestroySet {
                set: KubeSet::IpvsIps,
                ..
            }
        )
        .then(busy)
    };
    let mut kernel = Kernel::refusing(node(), judge);
    let left = texts(&kernel.clean_up(&Config::default()));
    assert_eq!(left.len(), 2);
    assert!(
        left[0].starts_with("set KUBE-IPVS-IPS: a rule or another set refers to the set: no rule")
    );
    assert_eq!(kernel.waited, Duration::from_secs(2));
    assert_eq!(kernel.remains.sets.len(), 2);
}

#[test]
fn who_may_not_is_not_kept_waiting() {
    let judge = |_: &Operation| {
        let denied = refusal("Operation not permitted", false);
        Some(Refusal {
            may_pass: false,
            ..denied
        })
    };
    let mut kernel = Kernel::refusing(node(), judge);
    let report = kernel.clean_up(&Config::default());
    assert_eq!(kernel.waited, Duration::ZERO);
    assert_eq!((kernel.remains, report.plan.len()), (node(), 0));
    let denied = |left: &Left| left.to_string().contains("Operation not permitted");
    assert!(report.left.iter().filter(|left| denied(left)).count() > 10);
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
    let judge = move |operation: &Operation| match operation {
        Operation::RemoveRules { removal, .. } => removal
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

#[test]
fn a_rehearsal_says_what_would_be_done_and_what_would_be_left() {
    let mut remains = node();
    let foreign = Vip::Address {
        address: ip("10.9.9.9"),
    };
    remains.link.as_mut().unwrap().vips.insert(foreign);
    let mut clean_up = CleanUp::rehearsal(&keep());
    while let Some(step) = clean_up.next_step() {
        match step {
            CleanUpStep::Read(CleanUpPart::Nftables) => {
                clean_up.found(Err(Unreadable::Failed("no".to_owned())));
            }
            CleanUpStep::Read(_) => clean_up.found(Ok(remains.clone())),
            CleanUpStep::Remove(operations) => {
                let done = operations.iter().map(|_| Ok(())).collect();
                clean_up.done(done);
            }
            CleanUpStep::Wait(_) => panic!("there is nothing to wait for"),
        }
    }
    let report = clean_up.report();
    let plan = report.plan.to_string();
    for words in [
        "remove virtual server 10.96.0.1",
        "unbind VIP fd00::1",
        "destroy set KUBE-6-IPVS-IPS",
    ] {
        assert!(plan.contains(words), "{words} in {plan}");
    }
    assert!(!plan.contains("10.9.9.9") && !plan.contains("delete dummy interface"));
    assert_eq!(
        texts(&report).len(),
        2,
        "the interface, and what was not read"
    );
}

#[test]
fn an_outcome_too_few_is_a_refusal() {
    let mut clean_up = CleanUp::rehearsal(&Config::default());
    while let Some(step) = clean_up.next_step() {
        match step {
            CleanUpStep::Read(_) => clean_up.found(Ok(node())),
            _ => clean_up.done(Vec::new()),
        }
    }
    let left = texts(&clean_up.report());
    assert!(left.contains(&"set KUBE-IPVS-IPS: the rule `-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set \
        --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable` of table filter (IPv4) refers to it".to_owned()), "{left:#?}");
    assert!(left.contains(&"dummy interface: the data plane gave no outcome".to_owned()));
}
