//! Random histories of a cluster: they end where a fresh start does, and nobody sees a half-made service on the way.

use ipvs_codec::{Family, Service as VirtualService, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{AddressAndPort, FilterEntry, Known, Model, Plan, VirtualServer};
use ipvs_proxier::{DataPlane as _, Simulated};
use proptest::prelude::*;

mod histories;

use histories::{change, foreign, last_words, model, nothing_wanted_goes};

/// What a client could see if the node stopped here.
fn nothing_is_half_made(known: &Known) -> Result<(), TestCaseError> {
    for ip in known.vips.keys() {
        prop_assert!(
            known.has_member(&FilterEntry::Vip(*ip)),
            "host ports answer on {}",
            ip
        );
        let filter = known.filters.get(&Family::of(*ip));
        prop_assert!(
            filter.is_some_and(|filter| filter.is_guarded),
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
        let served = AddressAndPort {
            address: addr,
            protocol,
            port,
        };
        let entries = [
            FilterEntry::ClusterIp(served),
            FilterEntry::ExternalIp(served),
            FilterEntry::ExternalIpLocal(served),
            FilterEntry::LoadBalancer(served),
        ];
        let entries = entries.iter().filter(|entry| known.has_member(entry));
        let mut sets = entries.map(FilterEntry::set);
        prop_assert!(
            sets.clone().next().is_some(),
            "{} answers, and is filtered",
            key
        );
        let shape = known.filters[&Family::of(addr)].shape.as_ref();
        let filled = shape.map(|shape| shape.filled).unwrap_or_default();
        prop_assert!(
            sets.all(|set| filled.contains(set)),
            "{} is served without the rules of its set",
            key
        );
    }
    Ok(())
}

/// Applies a plan step by step, to the simulated kernel too.
fn apply(plan: &Plan, known: &mut Known, kernel: &mut Simulated) -> Result<(), TestCaseError> {
    for (operation, outcome) in plan.iter().zip(kernel.apply(plan.operations())) {
        prop_assert!(outcome.is_ok(), "{}: {:?} in\n{}", operation, outcome, plan);
        known.applied(operation);
        nothing_is_half_made(known).map_err(|failure| {
            TestCaseError::fail(format!("{failure}\nafter {operation} of\n{plan}"))
        })?;
    }
    Ok(())
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
            let names = plan.iter().any(|operation| operation.to_string().contains("10.0.0.1:6443"));
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
