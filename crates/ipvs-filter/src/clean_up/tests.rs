//! Clean-up against a kernel that is a [`Remains`] and refuses what it is told to.

mod link;
mod nftables;
mod rules;
mod sets;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs_codec::Protocol;
use ipvs_model::{FilterSet, Vip, entries_that_list, entry_that_names};

use super::*;
use crate::iptables::{ruleset, sample, set_name};

/// Whether an operation is refused, and how.
type Judge = Box<dyn FnMut(&CleanUpOperation) -> Option<Refusal>>;

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
        judge: impl FnMut(&CleanUpOperation) -> Option<Refusal> + 'static,
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

    fn remove(&mut self, operation: &CleanUpOperation) -> Result<(), Refusal> {
        self.asked.push(operation.to_string());
        if let Some(refusal) = (self.judge)(operation) {
            return Err(refusal);
        }
        let remains = &mut self.remains;
        match operation {
            CleanUpOperation::FlushVirtualServers => remains.virtual_servers.clear(),
            CleanUpOperation::RemoveVirtualServer { virtual_server } => {
                assert!(remains.virtual_servers.remove(virtual_server));
            }
            CleanUpOperation::UnbindVip { vip } => {
                assert!(remains.link.as_mut().unwrap().vips.remove(vip));
            }
            CleanUpOperation::DeleteLink => remains.link = None,
            CleanUpOperation::RemoveRules {
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
            CleanUpOperation::RemoveNftablesTable { table, family } => {
                assert!(remains.nftables.remove(&(*table, *family)))
            }
            CleanUpOperation::DestroySet { set, family, .. } => {
                if remains.sets.remove(&(*set, *family)).is_none() {
                    return Err(refusal("no such set", true));
                }
            }
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
        saved.restored(&ruleset(&sample(family)));
        remains.rules.insert(family, saved);
        for set in FilterSet::ALL {
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
        let listed = entries_that_list(&key).next().unwrap();
        for member in [listed, entry_that_names(ip(address))] {
            known.applied(&ipvs_model::Operation::AddMember { member });
        }
    }
    remains.sets = known.sets;
    remains.link = Some(link);
    let of_mode = |family| (NftablesTable::KubeProxy, family);
    remains.nftables = Family::ALL.map(of_mode).into();
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
        let rank = |operation: &CleanUpOperation| match operation {
            CleanUpOperation::FlushVirtualServers
            | CleanUpOperation::RemoveVirtualServer { .. } => 0,
            CleanUpOperation::DeleteLink => 1,
            CleanUpOperation::RemoveRules { removal, .. } if removal.deleted.is_empty() => 2,
            CleanUpOperation::RemoveRules { .. } => 3,
            CleanUpOperation::RemoveNftablesTable { .. } => 4,
            CleanUpOperation::DestroySet { .. } => 5,
            other => panic!("{other}"),
        };
        assert!(report.plan.iter().map(rank).is_sorted(), "{}", report.plan);
        assert_eq!(kernel.asked.len(), report.plan.len(), "each once");
    }
    let mut kernel = Kernel::with(Remains::default());
    assert!(kernel.clean_up(&keep()).plan.is_empty(), "a second time");
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
fn who_may_not_is_not_kept_waiting() {
    let judge = |_: &CleanUpOperation| {
        let denied = refusal("CleanUpOperation not permitted", false);
        Some(Refusal {
            may_pass: false,
            ..denied
        })
    };
    let mut kernel = Kernel::refusing(node(), judge);
    let report = kernel.clean_up(&Config::default());
    assert_eq!(kernel.waited, Duration::ZERO);
    assert_eq!((kernel.remains, report.plan.len()), (node(), 0));
    let denied = |left: &Left| left.to_string().contains("CleanUpOperation not permitted");
    assert!(report.left.iter().filter(|left| denied(left)).count() > 10);
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

#[test]
fn q5_fixed_clean_up_destroys_the_sets_of_both_families() {
    let report = Kernel::with(node()).clean_up(&Config::default());
    let destroys = |one: &&CleanUpOperation| matches!(one, CleanUpOperation::DestroySet { .. });
    let destroyed = report.plan.iter().filter(destroys).count();
    assert_eq!(destroyed, 2 * FilterSet::ALL.len());
}

#[test]
fn q6_kept_clean_up_removes_every_virtual_server() {
    let report = Kernel::with(node()).clean_up(&Config::default());
    assert_eq!(report.plan[0], CleanUpOperation::FlushVirtualServers);
}
