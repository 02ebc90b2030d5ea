//! Random histories of a cluster: they end where a fresh start does, and nobody sees a half-made service on the way.

use std::net::IpAddr;

use ipvs_codec::{Family, Protocol, Service as VirtualService, ServiceKey};
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Known, KubeSet, Member, Model, Operation, Plan, VirtualServer};
use ipvs_netfilter::ipset::{Entry, EntryProtocol};
use ipvs_netfilter::iptables::Table;
use ipvs_proxier::{DataPlane as _, Simulated};
use proptest::prelude::*;

fn parse(json: &str) -> Change {
    serde_json::from_str::<Manifest>(json)
        .unwrap()
        .into_changes()
        .unwrap()
        .remove(0)
}

/// Few names and addresses, so that services meet: two may claim one address, and slices change owners.
fn service() -> impl Strategy<Value = Change> {
    let affinity = prop::sample::select(&["ClientIP", "None"][..]);
    let protocol = prop::sample::select(&["TCP", "UDP"][..]);
    let service_type = prop::sample::select(&["ClusterIP", "NodePort", "LoadBalancer"][..]);
    let policy = || prop::sample::select(&["Cluster", "Cluster", "Local"][..]);
    let external =
        prop::sample::select(&["", r#""203.0.113.1""#, r#""203.0.113.2", "192.168.1.1""#][..]);
    let ranges = prop::sample::select(&["", r#""10.0.0.0/8""#, r#""192.168.0.0/16""#][..]);
    let annotations = prop::sample::select(
        &[
            "",
            r#""ipvs-proxier/scheduler": "lc""#,
            r#""ipvs-proxier/weigh-by-node": "true""#,
        ][..],
    );
    let scalars = (0..4_u8, 1..4_u8, 80..82_u16, 1..3_u8);
    let kind = (protocol, affinity, service_type, annotations);
    (scalars, kind, policy(), policy(), external, ranges).prop_map(
        |((name, ip, port, ingress), (protocol, affinity, service_type, annotations), inside, outside, external, ranges)| {
            let node_port = if service_type == "ClusterIP" { 0 } else { 30_000 + u32::from(port) };
            let ingress = if service_type == "LoadBalancer" {
                format!(r#"{{"ip": "198.18.0.{ingress}"}}"#)
            } else {
                String::new()
            };
            parse(&format!(
                r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{name}", "annotations": {{{annotations}}}}},
                     "spec": {{"type": "{service_type}", "clusterIPs": ["10.96.0.{ip}", "fd00:96::{ip}"],
                     "sessionAffinity": "{affinity}", "internalTrafficPolicy": "{inside}",
                     "externalTrafficPolicy": "{outside}", "externalIPs": [{external}], "healthCheckNodePort": 32000,
                     "loadBalancerSourceRanges": [{ranges}],
                     "ports": [{{"port": {port}, "nodePort": {node_port}, "protocol": "{protocol}"}}]}},
                     "status": {{"loadBalancer": {{"ingress": [{ingress}]}}}}}}"#
            ))
        },
    )
}

fn slice() -> impl Strategy<Value = Change> {
    let protocol = prop::sample::select(&["TCP", "UDP"][..]);
    let hints = prop::sample::select(&["", r#"{"name": "a"}"#, r#"{"name": "b"}"#][..]);
    let endpoint = (1..5_u8, any::<[bool; 3]>(), any::<bool>(), hints).prop_map(
        |(ip, [ready, serving, going], local, hints)| {
            let node = if local { "n1" } else { "n2" };
            format!(
                r#"{{"addresses": ["10.244.0.{ip}"], "nodeName": "{node}", "hints": {{"forZones": [{hints}]}},
                     "conditions": {{"ready": {ready}, "serving": {serving}, "terminating": {going}}}}}"#
            )
        },
    );
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    (0..4_u8, 0..4_u8, protocol, endpoints).prop_map(|(name, owner, protocol, endpoints)| {
        parse(&format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "e{name}", "labels": {{"kubernetes.io/service-name": "s{owner}"}}}},
                 "ports": [{{"port": 8080, "protocol": "{protocol}"}}], "endpoints": [{}]}}"#,
            endpoints.join(",")
        ))
    })
}

fn node() -> impl Strategy<Value = Change> {
    let zone = prop::sample::select(&["a", "b"][..]);
    (1..3_u8, zone, 1..3_u8).prop_map(|(name, zone, last)| {
        parse(&format!(
            r#"{{"apiVersion": "v1", "kind": "Node", "metadata": {{"name": "n{name}", "labels": {{
                 "topology.kubernetes.io/zone": "{zone}", "ipvs-proxier/weight": "{last}"}}}},
                 "spec": {{"podCIDR": "10.244.{last}.0/24"}},
                 "status": {{"addresses": [{{"type": "InternalIP", "address": "192.168.1.{last}"}}]}}}}"#
        ))
    })
}

fn change() -> impl Strategy<Value = Change> {
    let name = || 0..4_u8;
    let addresses =
        prop::sample::subsequence(vec!["192.168.1.1", "192.168.1.2", "fd00:1::1"], 0..3);
    prop_oneof![
        8 => service(),
        10 => slice(),
        2 => name().prop_map(|n| Change::ServiceGone(ObjectName::new("default", &format!("s{n}")))),
        2 => name().prop_map(|n| Change::EndpointSliceGone(ObjectName::new("default", &format!("e{n}")))),
        1 => node(),
        1 => addresses.prop_map(|all| Change::NodeAddresses(all.iter().map(|ip| ip.parse().unwrap()).collect())),
    ]
}

fn model() -> Model {
    Model::new(Config {
        node_name: "n1".into(),
        ..Config::default()
    })
}

/// The last word on each object.
fn last_words(history: &[Change]) -> Vec<Change> {
    let name = |change: &Change| match change {
        Change::Service(service) => ("s", service.name.to_string()),
        Change::ServiceGone(name) => ("s", name.to_string()),
        Change::EndpointSlice(slice) => ("e", slice.name.to_string()),
        Change::EndpointSliceGone(name) => ("e", name.to_string()),
        Change::Node(node) => ("n", node.name.clone()),
        Change::NodeAddresses(_) => ("a", String::new()),
        _ => unreachable!("no other change is made here"),
    };
    let is_last = |(at, change): &(usize, &Change)| {
        !history[at + 1..]
            .iter()
            .any(|later| name(later) == name(change))
    };
    history
        .iter()
        .enumerate()
        .filter(is_last)
        .map(|(_, change)| change.clone())
        .collect()
}

/// What a client could see if the node stopped here.
fn nothing_is_half_made(known: &Known) -> Result<(), TestCaseError> {
    let has = |set, ip: IpAddr, entry| {
        let family = Family::of(ip);
        known.members.contains(&Member { set, family, entry })
    };
    for ip in known.vips.keys() {
        prop_assert!(
            has(KubeSet::IpvsIps, *ip, Entry::Ip(*ip)),
            "host ports answer on {}",
            ip
        );
        let rules = known.rules.get(&Family::of(*ip));
        let filter = rules.and_then(|rules| rules.rules(Table::Filter, "KUBE-IPVS-FILTER"));
        prop_assert!(
            filter.is_some_and(|rules| !rules.is_empty()),
            "{} has no filter",
            ip
        );
    }
    for key in known.virtual_servers.keys() {
        let ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } = *key
        else {
            continue;
        };
        // Node ports are let through by address type, not by set; an address that leaves the node may become a VIP.
        if !known.vips.contains_key(&addr) || port >= 30_000 {
            continue;
        }
        let protocol = EntryProtocol(u8::try_from(protocol.number()).unwrap());
        let entry = Entry::IpPort(addr, protocol, port);
        let served = [
            KubeSet::ClusterIp,
            KubeSet::ExternalIp,
            KubeSet::ExternalIpLocal,
            KubeSet::LoadBalancer,
        ];
        let mut sets = served.into_iter().filter(|set| has(*set, addr, entry));
        prop_assert!(
            sets.clone().next().is_some(),
            "{} answers, and is filtered",
            key
        );
        let rules = known.rules[&Family::of(addr)]
            .rules(Table::Nat, "KUBE-SERVICES")
            .unwrap();
        let name = |set: KubeSet| format!(" {} ", set.name(Family::of(addr)));
        prop_assert!(
            sets.all(|set| rules.iter().any(|rule| rule.as_str().contains(&name(set)))),
            "{} is served without the rules of its set",
            key
        );
    }
    Ok(())
}

/// Applies a plan step by step, to the simulated kernel too.
fn apply(plan: &Plan, known: &mut Known, kernel: &mut Simulated) -> Result<(), TestCaseError> {
    for (operation, outcome) in plan.operations.iter().zip(kernel.apply(&plan.operations)) {
        prop_assert!(outcome.is_ok(), "{}: {:?} in\n{}", operation, outcome, plan);
        known.applied(operation);
        nothing_is_half_made(known).map_err(|failure| {
            TestCaseError::fail(format!("{failure}\nafter {operation} of\n{plan}"))
        })?;
    }
    Ok(())
}

/// What goes is wanted by nobody.
fn nothing_wanted_goes(plan: &Plan, model: &Model) -> Result<(), TestCaseError> {
    let desired = model.desired();
    for operation in &plan.operations {
        let wanted = match operation {
            Operation::RemoveVirtualServer { virtual_server } => {
                desired.virtual_server(virtual_server).is_some()
            }
            Operation::UnbindVip { vip } => desired.vip(vip.address()) == Some(*vip),
            Operation::RemoveMember { member } => desired.has_member(member),
            Operation::RemoveRealServer {
                virtual_server,
                address,
            } => {
                let server = desired.virtual_server(virtual_server);
                server.is_some_and(|server| server.real_server(*address).is_some())
            }
            _ => false,
        };
        prop_assert!(!wanted, "{} is wanted", operation);
    }
    Ok(())
}

/// Somebody else's, on a node where we run.
fn foreign() -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, [10, 0, 0, 1].into(), 6443)
}

proptest! {
    #[test]
    fn a_history_ends_where_a_fresh_start_does(batches in proptest::collection::vec(
        proptest::collection::vec(change(), 1..4), 1..12)
    ) {
        let mut running = model();
        let mut known = Known::default();
        let mut kernel = Simulated::default();
        apply(&running.plan_everything(&known), &mut known, &mut kernel)?;
        let service = VirtualService::new(foreign(), "rr".parse().unwrap());
        let server = VirtualServer::new(service, Vec::new());
        known.virtual_servers.insert(foreign(), server.into());
        for batch in &batches {
            batch.iter().cloned().for_each(|change| running.change(change));
            let plan = running.plan(&known);
            nothing_wanted_goes(&plan, &running)?;
            let names = plan.operations.iter().any(|operation| operation.to_string().contains("10.0.0.1:6443"));
            prop_assert!(!names, "a foreign object in\n{}", plan);
            apply(&plan, &mut known, &mut kernel)?;
            running.share(&plan, &mut known);
            // A resync says everything once more.
            batch.iter().cloned().for_each(|change| running.change(change));
            batch.iter().cloned().for_each(|change| running.change(change));
        }
        known.virtual_servers.remove(&foreign());
        prop_assert_eq!(kernel.state(), &known);
        let plan = running.plan(&known);
        apply(&plan, &mut known, &mut kernel)?;
        let left = running.plan_everything(&known);
        prop_assert!(left.is_empty(), "the changes alone were not enough:\n{}", left);

        let history: Vec<Change> = batches.iter().flat_map(|batch| [batch.clone(), batch.clone()].concat()).collect();
        let mut fresh = model();
        last_words(&history).into_iter().for_each(|change| fresh.change(change));
        let left = fresh.plan_everything(&known);
        prop_assert!(left.is_empty(), "a fresh start would do\n{}", left);
        for family in Family::ALL {
            prop_assert_eq!(fresh.desired().without_local(family), running.desired().without_local(family));
        }
        let problems = |model: &Model| model.desired().problems().map(|(name, problem)| (name.clone(), problem)).collect::<Vec<_>>();
        prop_assert_eq!(problems(&fresh), problems(&running));
    }
}
