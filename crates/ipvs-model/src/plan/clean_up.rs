//! Everything goes: sets and chains by their names.

use ipvs_codec::ServiceKey;

use super::builder::{Plan, PlanBuilder};
use super::operation::Operation;
use crate::config::{Config, Foreign};
use crate::desired::Desired;
use crate::known::Known;
use crate::ownership::Ownership;
use crate::rules::ruleset;

/// The plan that removes everything that is ours, and every virtual server, as kube-proxy's `--cleanup` does, but for those
/// that the configuration keeps. Sets and chains go by their names. O(everything).
pub(crate) fn clean_up(config: &Config, known: &Known) -> Plan {
    let nothing = Desired::default();
    let mut plan = PlanBuilder::new(config.vip_binding, &nothing);
    for (family, saved) in &known.rules {
        if let Some(restore) =
            ruleset(*family, config, &[], |_| true, std::iter::empty()).removal_text(saved)
        {
            plan.push(Operation::RemoveRules {
                family: *family,
                restore,
            });
        }
    }
    let mut sets: Vec<_> = known.sets.keys().copied().collect();
    sets.sort_unstable();
    for (set, family) in sets {
        plan.push(Operation::DestroySet {
            set,
            family,
            spec: set.spec(family),
        });
    }
    if config.foreign == Foreign::Remove && config.exclude_cidrs.is_empty() {
        if !known.virtual_servers.is_empty() {
            plan.push(Operation::FlushVirtualServers);
        }
    } else {
        let ownership = Ownership::of(config, known);
        let keys = known.virtual_servers.keys();
        let ours = keys.filter(|key| ownership.may_remove(key));
        let mut ours: Vec<ServiceKey> = ours.copied().collect();
        ours.sort_unstable();
        let remove = |virtual_server| Operation::RemoveVirtualServer { virtual_server };
        plan.extend(ours.into_iter().map(remove));
    }
    if known.link.is_some() {
        plan.push(Operation::DeleteLink);
    }
    plan.build()
}
