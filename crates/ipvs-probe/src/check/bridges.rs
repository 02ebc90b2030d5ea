//! Rules about pods on bridges.

use super::by_hand;
use super::modules::module;
use crate::bridges::BR_NETFILTER;
use crate::{Evidence, Facts, Needs, Profile, Remedy};

/// Where no pod is on a bridge, nothing is to be loaded: it would change what becomes of the frames of other bridges.
pub(super) fn frames(facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    let (evidence, remedy) = module(facts, &[BR_NETFILTER], true)?;
    let Some(bridge) = facts.bridges.first() else {
        return Some(match remedy {
            Remedy::LoadModule(name) if needs.profile != Profile::Kube18 => {
                let remedy = format!("if pods will be on a bridge: modprobe {name}");
                (evidence, by_hand(remedy))
            }
            remedy => (evidence, remedy),
        });
    };
    let place = format!("/sys/class/net/{}/brif", bridge.name);
    let ports: Vec<&str> = bridge.ports.iter().map(|port| &*port.name).collect();
    let content = format!("{}; {evidence}", ports.join(" "));
    Some((Evidence::new(place, content), remedy))
}

/// A packet that leaves by the bridge port by which it came. IPVS alone routes it; where the bridge's frames pass the rules, it
/// stays a frame of the bridge.
pub(super) fn hairpin(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let all_call = facts.sysctl("net.bridge.bridge-nf-call-iptables") == Some("1");
    let concerned = facts
        .bridges
        .iter()
        .filter(|bridge| (all_call || bridge.calls_iptables) && !bridge.promiscuous);
    let mut without = concerned.flat_map(|bridge| {
        let ports = bridge.ports.iter().filter(|port| !port.hairpin);
        ports.map(|port| (bridge.name.as_str(), port.name.as_str()))
    });
    let (bridge, port) = without.next()?;
    let content = match without.count() {
        0 => "0".to_owned(),
        others => format!("0, and so on {others} more ports"),
    };
    let place = format!("/sys/class/net/{bridge}/brif/{port}/hairpin_mode");
    let remedy = format!(
        "`hairpinMode: true` in the configuration of the CNI plugin, and for each pod that runs: bridge link set dev {port} hairpin on"
    );
    Some((Evidence::new(place, content), by_hand(remedy)))
}
