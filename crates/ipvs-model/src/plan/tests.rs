use std::net::{IpAddr, SocketAddr};

use ipvs_codec::{Destination, Family, Protocol, Scheduler, Service, ServiceKey};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::{Config, VipBinding};
use crate::desired::Desired;
use crate::filter::{AddressAndPort, FilterEntry, FilterSet, FilterShape};
use crate::key::Key;
use crate::known::Known;
use crate::ownership::{entries_that_list, entry_that_names};
use crate::state::Vip;

fn address() -> impl Strategy<Value = IpAddr> {
    let addresses = ["10.96.0.1", "10.96.0.2", "fd00:96::1"];
    select(addresses.map(|address| address.parse().unwrap()).to_vec())
}

fn key() -> impl Strategy<Value = ServiceKey> {
    let protocol = select(vec![Protocol::TCP, Protocol::UDP]);
    (protocol, address(), 80_u16..82)
        .prop_map(|(protocol, address, port)| ServiceKey::endpoint(protocol, address, port))
}

fn member() -> impl Strategy<Value = FilterEntry> {
    let listing =
        (key(), 0_usize..5).prop_map(|(key, at)| entries_that_list(&key).nth(at).unwrap());
    prop_oneof![listing, address().prop_map(entry_that_names)]
}

fn vip() -> impl Strategy<Value = Vip> {
    (address(), any::<bool>()).prop_map(|(address, by_route)| {
        if by_route {
            Vip::Route {
                address,
                source: None,
                mtu: None,
            }
        } else {
            Vip::Address { address }
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let service = |key| Service::new(key, Scheduler::RR);
    let real_server = || Destination::new(SocketAddr::from(([10, 244, 0, 1], 8080)));
    let family = || select(Family::ALL.to_vec());
    prop_oneof![
        any::<bool>().prop_map(|up| Operation::EnsureLink { up }),
        family().prop_map(|family| Operation::CreateSet {
            set: FilterSet::ClusterIp,
            family,
        }),
        (family(), any::<bool>()).prop_map(|(family, last)| Operation::WriteRules {
            family,
            shape: Box::new(FilterShape::of(
                family,
                &Config::default(),
                &[],
                |_| false,
                std::iter::empty(),
            )),
            last,
        }),
        member().prop_map(|member| Operation::AddMember { member }),
        member().prop_map(|member| Operation::RemoveMember { member }),
        key().prop_map(move |key| Operation::AddVirtualServer {
            service: service(key)
        }),
        key().prop_map(move |virtual_server| Operation::AddRealServer {
            virtual_server,
            real_server: real_server(),
        }),
        key().prop_map(move |virtual_server| Operation::RemoveRealServer {
            virtual_server,
            address: real_server().addr,
        }),
        key().prop_map(|virtual_server| Operation::RemoveVirtualServer { virtual_server }),
        vip().prop_map(|vip| Operation::BindVip { vip }),
        vip().prop_map(|vip| Operation::UnbindVip { vip }),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    proptest::collection::vec(operation(), 0..24)
}

fn plan(binding: VipBinding, operations: &[Operation]) -> Plan {
    let nothing = Desired::default();
    let mut plan = PlanBuilder::new(binding, &nothing);
    plan.extend(operations.iter().cloned());
    plan.build()
}

fn count(operations: &[Operation], one: &Operation) -> usize {
    operations.iter().filter(|other| *other == one).count()
}

/// What became of operations that fail where `fails` says so, and all of their operations in the order of their trial.
fn carry_out(plan: Plan, fails: &[bool]) -> Executed<()> {
    let mut fails = fails.iter().copied().cycle();
    let mut execution = plan.execute(HeldBack::default());
    while let Some(stage) = execution.next_stage() {
        assert!(!stage.is_empty(), "nothing to do is no stage");
        let mut outcome = || {
            if fails.next() == Some(true) {
                Err(())
            } else {
                Ok(())
            }
        };
        let outcomes = stage.iter().map(|_| outcome()).collect();
        execution.done(outcomes, &Known::default()).unwrap();
    }
    execution.finish()
}

proptest! {
    #[test]
    fn whatever_comes_in_goes_out_in_the_order_of_its_phases(operations in operations(), by_route in any::<bool>()) {
        let binding = if by_route { VipBinding::Route } else { VipBinding::Address };
        let plan = plan(binding, &operations);
        for one in &operations {
            prop_assert_eq!(count(plan.operations(), one), count(&operations, one), "{}", one);
        }
        let turn = |operation: &Operation| match operation {
            // A link that loses its last address loses its routes, so addresses leave before routes come.
            Operation::UnbindVip { vip } if by_route && !vip.is_route() => Phase::VipsIn,
            _ => operation.phase(),
        };
        prop_assert!(plan.iter().map(turn).is_sorted(), "not in order:\n{}", plan);
    }

    #[test]
    fn nothing_is_done_without_what_failed_and_nothing_is_lost(
        operations in operations(), fails in proptest::collection::vec(any::<bool>(), 1..24)
    ) {
        let plan = plan(VipBinding::Address, &operations);
        let executed = carry_out(plan.clone(), &fails);
        for one in &plan {
            let tried = count(executed.tried.operations(), one);
            let is_undone = one.key().is_some_and(|key| executed.undone.contains(&key));
            prop_assert!(tried == count(plan.operations(), one) || is_undone, "{} is lost", one);
        }
        let failed: Vec<&Operation> = executed.iter().filter(|(_, outcome)| outcome.is_err()).map(|(one, _)| one).collect();
        for one in &failed {
            prop_assert!(one.key().is_none_or(|key| executed.undone.contains(&key)), "{} is not tried again", one);
        }
        let is_missing = |member: &FilterEntry| failed.iter().any(|one| matches!(one, Operation::AddMember { member: missing } if missing == member));
        let stays = |family: Family| failed.iter().any(|one| match one {
            Operation::RemoveVirtualServer { virtual_server } => virtual_server.family() == family,
            Operation::UnbindVip { vip } => Family::of(vip.address()) == family,
            _ => false,
        });
        let is_stale = |family: Family| failed.iter().any(|one| match one {
            Operation::WriteRules { family: stale, last: false, .. } => *stale == family,
            _ => false,
        });
        for one in &executed.tried {
            match one {
                Operation::BindVip { vip } => {
                    let entry = entry_that_names(vip.address());
                    prop_assert!(!is_missing(&entry), "{} without its entry", one);
                    prop_assert!(!is_stale(entry.family()), "{} without a filter", one);
                }
                Operation::AddVirtualServer { service } => {
                    prop_assert!(!entries_that_list(&service.key).any(|entry| is_missing(&entry)), "{} is unlisted", one);
                }
                Operation::RemoveMember { member } => {
                    prop_assert!(!stays(member.family()), "{} while what it lists may be there", one);
                    prop_assert!(!is_stale(member.family()), "{} under stale rules", one);
                }
                Operation::RemoveVirtualServer { .. } | Operation::UnbindVip { .. } => {
                    prop_assert!(!is_stale(one.family().unwrap()), "{} under stale rules", one);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn without_as_many_outcomes_as_operations_nothing_counts_as_done(
        operations in operations(), stage_at_fault in 0_usize..3, returned in 0_usize..30
    ) {
        let plan = plan(VipBinding::Address, &operations);
        let mut execution = plan.clone().execute::<()>(HeldBack::default());
        let mut given = Vec::new();
        let mut at = 0;
        while let Some(stage) = execution.next_stage() {
            let count = if at == stage_at_fault { returned } else { stage.len() };
            let is_wrong = count != stage.len();
            if is_wrong {
                given = stage.to_vec();
            }
            let told = execution.done(vec![Ok(()); count], &Known::default());
            prop_assert_eq!(told.is_err(), is_wrong);
            at += 1;
        }
        let executed = execution.finish();
        prop_assert_eq!(&executed.unaccounted, &given);
        prop_assert_eq!(executed.tried.len(), executed.outcomes.len());
        let keys: Vec<Key> = given.iter().filter_map(Operation::key).collect();
        prop_assert!(keys.iter().all(|key| executed.undone.contains(key)), "all are planned again");
        prop_assert!(given.iter().all(|one| count(executed.tried.operations(), one) < count(plan.operations(), one)));
    }
}

/// By a port alone a virtual server is listed, too: while its new entry is missing, the old one stays.
#[test]
fn an_entry_of_a_port_stays_where_a_virtual_server_of_that_port_is_unlisted() {
    let address = IpAddr::from([192, 0, 2, 1]);
    let missing = FilterEntry::ExternalIp(AddressAndPort {
        address,
        protocol: Protocol::TCP,
        port: 30080,
    });
    let old = FilterEntry::NodePortTcp(Family::Ipv4, 30080);
    let of_udp = FilterEntry::NodePortUdp(Family::Ipv4, 30080);
    let plan = plan(
        VipBinding::Address,
        &[
            Operation::AddMember { member: missing },
            Operation::RemoveMember { member: old },
            Operation::RemoveMember { member: of_udp },
        ],
    );
    let executed = carry_out(plan, &[true, false]);
    let tried: Vec<Option<Key>> = executed.tried.iter().map(Operation::key).collect();
    assert_eq!(
        tried,
        [missing, of_udp].map(|member| Some(Key::Member(member)))
    );
    assert_eq!(executed.undone, [missing, old].map(Key::Member));
}

#[test]
fn a_stage_whose_outcomes_are_not_told_is_unaccounted_for_and_what_follows_undone() {
    let member = entry_that_names([10, 96, 0, 1].into());
    let address = IpAddr::from([10, 96, 0, 1]);
    let vip = Vip::Address { address };
    let operations = [Operation::AddMember { member }, Operation::BindVip { vip }];
    let plan = plan(VipBinding::Address, &operations);
    let mut execution = plan.execute::<()>(HeldBack::default());
    assert_eq!(execution.next_stage(), Some(&operations[..1]));
    assert_eq!(execution.next_stage(), Some(&operations[..1]), "until told");
    let executed = execution.finish();
    assert!(executed.tried.is_empty());
    assert_eq!(executed.unaccounted, &operations[..1]);
    assert_eq!(executed.undone, [Key::Member(member), Key::Vip(address)]);
}
