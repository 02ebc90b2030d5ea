mod bridges;
mod choice;
mod load;
mod modules;

use self::choice::choose;
use self::modules::{backend, kube_1_8, module, rule_module, rules, scheduler, since};
use crate::{
    Attempt, Evidence, Facts, Finding, ModuleState, Need, Needs, Remedy, Report, Rule, Selinux,
    rules::RULES,
};

/// Compares what a node has with what is needed. Costs nothing that grows with the number of services.
///
/// ```
/// use ipvs_probe::{Facts, HostPrograms, Needs, Root, check};
/// let tree = tempfile::tempdir()?; // a machine with nothing
/// let report = check(&Facts::gather(&Root::below(tree.path()), &mut HostPrograms), &Needs::default());
/// assert!(report.findings.iter().any(|finding| finding.rule.id == "iptables-restore"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn check(facts: &Facts, needs: &Needs) -> Report {
    let (needs, not_iptables) = choose(facts, needs);
    let mut findings = findings(facts, &needs);
    drop_what_is_said(facts, &mut findings);
    bridges::leave_for_later(&mut findings);
    modules::merge(&mut findings);
    findings.sort_by_key(|finding| finding.rule.severity);
    Report {
        kernel: facts.kernel.clone(),
        distribution: facts.distribution.clone(),
        filter: needs.filter,
        not_iptables,
        findings,
    }
}

/// With a filter that is not to be found out any more.
fn findings(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let applying = RULES.iter().filter(|rule| rule.when.applies(facts, needs));
    let findings = applying.filter_map(|rule| {
        let (evidence, remedy) = missing(rule, facts, needs)?;
        Some(Finding {
            rule,
            evidence,
            remedy,
        })
    });
    findings.collect()
}

/// What the kernel refused is explained already where the module is known to be missing.
fn drop_what_is_said(facts: &Facts, findings: &mut Vec<Finding>) {
    let reason = match facts.ipvs {
        Attempt::NoFamily(_) => "ip_vs",
        Attempt::NoScheduler(_) => "scheduler",
        _ => return,
    };
    if findings.iter().any(|finding| finding.rule.id == reason) {
        findings.retain(|finding| finding.rule.id != "ipvs");
    }
}

/// What is not as the rule needs it, and what to do.
fn missing(rule: &Rule, facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    match rule.need {
        Need::Module { names, now } => module(facts, names, now),
        Need::RuleModule { family, names } => rule_module(facts, needs, family, names),
        Need::Since(release) => since(facts, needs, release),
        Need::Backend(family) => backend(facts, needs, family),
        Need::Rules(family) => rules(facts, needs, family),
        Need::Scheduler => scheduler(facts, needs),
        Need::Kube18Modules => kube_1_8(facts),
        Need::Sysctl { name, value } => sysctl(facts, name, value, |found| found == value),
        Need::SysctlNot { name, bad, value } => sysctl(facts, name, value, |found| found != bad),
        Need::Program(name) => {
            let program = facts.program(name)?;
            let remedy = by_hand(format!("install the package that has {name}"));
            program.path.is_none().then(|| (program.evidence(), remedy))
        }
        Need::Capability(number, name) => {
            let effective = facts.capabilities?;
            let evidence = Evidence::new("/proc/self/status", format!("CapEff: {effective:016x}"));
            let remedy = by_hand(format!("run as root, or give the process {name}"));
            (effective >> number & 1 == 0).then_some((evidence, remedy))
        }
        Need::InitialUserNamespace => {
            let evidence = Evidence::new("/proc/self/uid_map", "not that of the initial namespace");
            let remedy = "run it outside of user namespaces: as root of the machine, or in a container without one";
            (facts.initial_user_namespace == Some(false)).then(|| (evidence, by_hand(remedy)))
        }
        Need::Ipvs => ipvs(facts, needs),
        Need::NoSelinux => {
            let evidence = Evidence::new("/sys/fs/selinux/enforce", "1");
            let remedy = "to see whether it refuses: `ausearch -m avc -ts recent`; to let it only log: `setenforce 0`";
            (facts.selinux == Selinux::Enforcing).then(|| (evidence, by_hand(remedy)))
        }
        Need::OpenChain(chain) => {
            let policy = facts.policies.get(chain)?;
            let evidence = Evidence::new("iptables -S", format!("-P {chain} {policy}"));
            let remedy = by_hand(format!("iptables -P {chain} ACCEPT"));
            (policy != "ACCEPT").then_some((evidence, remedy))
        }
        Need::NoProcess(name) => {
            let mut processes = facts.neighbours.iter();
            let process = processes.find(|process| process.content == name)?;
            let remedy = match name {
                "firewalld" => "systemctl disable --now firewalld",
                _ => "stop one of the two, or start the proxy with --foreign=keep",
            };
            Some((process.clone(), by_hand(remedy)))
        }
        Need::NoUfw => {
            let evidence = Evidence::new("/etc/ufw/ufw.conf", "ENABLED=yes");
            facts.ufw.then(|| (evidence, by_hand("ufw disable")))
        }
        Need::BridgeFrames => bridges::frames(facts, needs),
        Need::Hairpin => bridges::hairpin(facts),
        Need::FewEstimators => load::estimators(facts),
        Need::ShortConnectionChains => load::connection_chains(facts),
        Need::ShortServiceChains => load::service_chains(facts),
        Need::LongTimeouts => load::timeouts(facts),
        Need::RoomInSets => load::set_size(facts),
        Need::Reminder => {
            let evidence = Evidence::new("--masquerade-all", "chosen");
            let remedy =
                "use --cluster-cidr instead, which masquerades only what comes from outside";
            Some((evidence, by_hand(remedy)))
        }
    }
}

fn by_hand(remedy: impl Into<String>) -> Remedy {
    Remedy::ByHand(remedy.into())
}

fn sysctl(
    facts: &Facts,
    name: &'static str,
    value: &'static str,
    suffices: impl Fn(&str) -> bool,
) -> Option<(Evidence, Remedy)> {
    let place = format!("/proc/sys/{}", name.replace('.', "/"));
    match facts.sysctl(name) {
        Some(found) if suffices(found) => None,
        Some(found) => {
            let remedy = if facts.read_only_sysctls {
                by_hand(format!(
                    "on the machine, as /proc/sys is read-only here: sysctl -w {name}={value}"
                ))
            } else {
                Remedy::Sysctl { name, value }
            };
            Some((Evidence::new(place, found), remedy))
        }
        // What is not there because its module is not, or because the kernel hides it: those rules speak.
        None if name.starts_with("net.ipv4.vs.")
            && (!facts.has_module("ip_vs") || facts.initial_user_namespace == Some(false)) =>
        {
            None
        }
        None if name.starts_with("net.bridge.") || name.starts_with("net.ipv6.") => None,
        None if name.ends_with("conn_reuse_mode") || name.ends_with("rp_filter") => None,
        None => Some((
            Evidence::new(place, "no such file"),
            by_hand(format!("boot a kernel that has {name}")),
        )),
    }
}

fn ipvs(facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    let (content, remedy) = match &facts.ipvs {
        Attempt::NotTried | Attempt::Works { .. } => return None,
        Attempt::NoFamily(text) => {
            let remedy = "this kernel has no IPVS and could load none: boot one that has it (CONFIG_IP_VS), install the package with its modules, or, in a container, load ip_vs on the machine";
            let remedy = match facts.modules.get("ip_vs").map(|module| module.state) {
                Some(ModuleState::Loadable) => Remedy::LoadModule("ip_vs".to_owned()),
                _ => by_hand(remedy),
            };
            (text, remedy)
        }
        Attempt::NoScheduler(text) => {
            let name = format!("ip_vs_{}", needs.scheduler);
            let state = facts.modules.get(&name).map(|module| module.state);
            let remedy = match state {
                Some(ModuleState::Absent | ModuleState::Blacklisted) | None => {
                    by_hand("choose a scheduler that this kernel has")
                }
                Some(_) => Remedy::LoadModule(name),
            };
            (text, remedy)
        }
        Attempt::NotPermitted(text) => (
            text,
            by_hand(
                "run as root of the machine, with CAP_NET_ADMIN and outside of user namespaces",
            ),
        ),
        Attempt::Failed(text) => (
            text,
            by_hand("look for IPVS in the kernel's log: `dmesg | grep -i ipvs`"),
        ),
    };
    let place = match facts.ipvs {
        Attempt::NoFamily(_) => "generic netlink",
        _ => "virtual server on 198.51.100.0",
    };
    Some((Evidence::new(place, content), remedy))
}
