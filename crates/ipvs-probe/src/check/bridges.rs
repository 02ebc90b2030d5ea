//! Rules about pods on bridges.

use super::by_hand;
use super::modules::module;
use crate::bridges::BR_NETFILTER;
use crate::{Evidence, Facts, Finding, Needs, Profile, Remedy, When};

const LATER: &str = "if pods will be on a bridge: ";

/// Where no pod is on a bridge, nothing is to be loaded: it would change what becomes of the frames of other bridges.
pub(super) fn frames(facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    let (evidence, remedy) = module(facts, &[BR_NETFILTER], true)?;
    let Some(bridge) = facts.bridges.first() else {
        return Some(match remedy {
            Remedy::LoadModule(name) if needs.profile != Profile::Kube18 => {
                (evidence, by_hand(format!("{LATER}modprobe {name}")))
            }
            remedy => (evidence, remedy),
        });
    };
    let place = format!("/sys/class/net/{}/brif", bridge.name);
    let ports: Vec<&str> = bridge.ports.iter().map(|port| &*port.name).collect();
    let content = format!("{}; {evidence}", ports.join(" "));
    Some((Evidence::new(place, content), remedy))
}

/// Nothing is installed for pods that may never be on a bridge, unless other modules are to be installed anyway.
pub(super) fn leave_for_later(findings: &mut [Finding]) {
    let installs = |finding: &&mut Finding| matches!(finding.remedy, Remedy::InstallModules { .. });
    let mut installing: Vec<&mut Finding> = findings.iter_mut().filter(installs).collect();
    match &mut *installing {
        [finding] if finding.rule.when == When::PodsOnBridgeLater => {
            finding.remedy = by_hand(format!("{LATER}{}", finding.remedy));
        }
        _ => {}
    }
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
