//! Rules about modules.

use std::collections::BTreeSet;

use super::by_hand;
use crate::filter::Backend;
use crate::modules_of_1_8::modules_of_1_8;
use crate::{
    Attempt, Evidence, Facts, Family, Finding, KernelRelease, Module, ModuleState, Need, Needs,
    Remedy, RuleTrial, SCHEDULERS, TrialBy, TrialOutcome,
};

/// The best of several names; `None` when it is as needed.
pub(super) fn module(facts: &Facts, names: &[&str], now: bool) -> Option<(Evidence, Remedy)> {
    let known: Vec<&Module> = names
        .iter()
        .filter_map(|name| facts.modules.get(*name))
        .collect();
    let suffices = |state: ModuleState| state.is_present() || (!now && state.may_be_loaded());
    if known.iter().any(|module| suffices(module.state)) {
        return None;
    }
    let loadable = known.iter().find(|module| module.state.may_be_loaded());
    if let Some(module) = loadable {
        // The kernel was asked, which says more than a list that is not there.
        if module.state == ModuleState::Unknown && facts.ipvs != Attempt::NotTried {
            return None;
        }
        return Some((
            module.evidence.clone(),
            Remedy::LoadModule(module.name.clone()),
        ));
    }
    let barred = known
        .iter()
        .find(|module| module.state == ModuleState::Blacklisted);
    if let Some(module) = barred {
        let Evidence { place, content } = &module.evidence;
        let remedy = format!("take `{content}` out of {place}, then load {}", module.name);
        return Some((module.evidence.clone(), by_hand(remedy)));
    }
    let absent = known.first()?;
    Some((absent.evidence.clone(), install(facts, [&*absent.name])))
}

/// How modules come that this kernel has no file of.
fn install<'a>(facts: &Facts, modules: impl IntoIterator<Item = &'a str>) -> Remedy {
    let is = |id: &str| facts.distribution_ids.iter().any(|own| own == id);
    let release = &facts.kernel;
    let how = if is("rhel") || is("fedora") {
        format!("dnf install kernel-modules-{release} kernel-modules-extra-{release}")
    } else if is("ubuntu") {
        format!("apt install linux-modules-extra-{release}")
    } else {
        format!("install the package with more modules of Linux {release}")
    };
    Remedy::InstallModules {
        how,
        modules: modules.into_iter().map(str::to_owned).collect(),
    }
}

/// A scheduler is known by name, or because this kernel has its module.
pub(super) fn scheduler(facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    let name = format!("ip_vs_{}", needs.scheduler);
    if facts.modules.contains_key(&name) {
        return module(facts, &[&name], false);
    }
    let has = |scheduler: &&str| {
        let module = facts.modules.get(&format!("ip_vs_{scheduler}"));
        module.is_some_and(|module| module.state != ModuleState::Absent)
    };
    let there: Vec<&str> = SCHEDULERS.into_iter().filter(has).collect();
    let remedy = format!("choose one that this kernel has: {}", there.join(" "));
    let evidence = Evidence::new(name, "no scheduler of Linux, and no module of this kernel");
    Some((evidence, by_hand(remedy)))
}

/// With the error of kube-proxy, which people search for.
pub(super) fn kube_1_8(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let mut missing: Vec<&str> = modules_of_1_8(facts)
        .into_iter()
        .filter(|name| !facts.has_module(name))
        .collect();
    missing.sort_unstable();
    let evidence = Evidence::new(
        "/proc/modules",
        format!("failed to load kernel modules: [{}]", missing.join(" ")),
    );
    let state = |name: &&str| facts.modules.get(*name).map(|module| module.state);
    let (absent, others): (Vec<&str>, Vec<&str>) = missing
        .iter()
        .copied()
        .partition(|name| state(name) == Some(ModuleState::Absent));
    let remedy = if !absent.is_empty() {
        install(facts, absent)
    } else if let Some(barred) = others
        .iter()
        .find(|name| state(name) == Some(ModuleState::Blacklisted))
    {
        return module(facts, &[barred], true).map(|(_, remedy)| (evidence, remedy));
    } else {
        Remedy::LoadModule(missing.join(" "))
    };
    (!missing.is_empty()).then_some((evidence, remedy))
}

/// The trials of the filter that is used.
fn trials<'a>(
    facts: &'a Facts,
    needs: &Needs,
    family: Family,
) -> impl Iterator<Item = &'a RuleTrial> {
    let filter = needs.filter;
    let trials = facts.rules.iter();
    trials.filter(move |trial| trial.family == family && trial.is_of(filter))
}

/// Whether rules of a family were written.
fn are_written(facts: &Facts, needs: &Needs, family: Family) -> bool {
    trials(facts, needs, family).any(|trial| trial.outcome == TrialOutcome::Works)
}

/// The kernel of a release, or a later one.
pub(super) fn since(
    facts: &Facts,
    needs: &Needs,
    release: KernelRelease,
) -> Option<(Evidence, Remedy)> {
    if are_written(facts, needs, Family::Ipv4) || facts.release()? >= release {
        return None;
    }
    let evidence = Evidence::new("/proc/sys/kernel/osrelease", &*facts.kernel);
    let remedy = by_hand(format!("boot Linux {release} or later, or take iptables"));
    Some((evidence, remedy))
}

/// A module that rules use.
pub(super) fn rule_module(
    facts: &Facts,
    needs: &Needs,
    family: Family,
    names: &[&str],
) -> Option<(Evidence, Remedy)> {
    if are_written(facts, needs, family) {
        return None;
    }
    module(facts, names, false)
}

/// The groups of modules of a back end of which none is as needed, each with what was found and what to do.
fn lacks(
    facts: &Facts,
    family: Family,
    backend: &Backend,
) -> Vec<(&'static str, Evidence, Remedy)> {
    let groups = backend.modules(family).iter();
    let missing = groups.filter_map(|names| {
        let (evidence, remedy) = module(facts, names, false)?;
        Some((*names.first()?, evidence, remedy))
    });
    missing.collect()
}

/// A back end of iptables that this kernel has whole.
pub(super) fn backend(facts: &Facts, needs: &Needs, family: Family) -> Option<(Evidence, Remedy)> {
    if are_written(facts, needs, family) {
        return None;
    }
    let lacking: Vec<_> = needs
        .filter
        .backends()
        .map(|backend| (backend.name, lacks(facts, family, backend)))
        .collect();
    if lacking.iter().any(|(_, lacks)| lacks.is_empty()) {
        return None;
    }
    let words = lacking.iter().map(|(name, lacks)| {
        let names: Vec<&str> = lacks.iter().map(|(name, ..)| *name).collect();
        format!("{name} lacks {}", names.join(" "))
    });
    let words: Vec<String> = words.collect();
    let (_, nearest) = lacking.iter().min_by_key(|(_, lacks)| lacks.len())?;
    let (_, Evidence { place, .. }, remedy) = nearest.first()?;
    let remedy = match remedy {
        Remedy::InstallModules { .. } => install(facts, nearest.iter().map(|(name, ..)| *name)),
        other => other.clone(),
    };
    Some((Evidence::new(place, words.join("; ")), remedy))
}

/// Rules that were refused by everything that was tried.
pub(super) fn rules(facts: &Facts, needs: &Needs, family: Family) -> Option<(Evidence, Remedy)> {
    if are_written(facts, needs, family) {
        return None;
    }
    let refused: Vec<(&TrialBy, &str)> = trials(facts, needs, family)
        .filter_map(|trial| match &trial.outcome {
            TrialOutcome::Refused(said) => Some((&trial.by, &**said)),
            _ => None,
        })
        .collect();
    let (by, said) = refused.first()?;
    let mut said = (*said).to_owned();
    for (by, other) in refused.iter().skip(1) {
        said.push_str(&format!("; {by}: {other}"));
    }
    let modules = match by {
        TrialBy::Program(_) => "iptables uses, as xt_MASQUERADE and nft_compat",
        TrialBy::Netlink => "nftables uses, as nft_masq and nft_fib_ipv4",
    };
    let remedy = format!(
        "see what the kernel says (`dmesg`), and whether it has the modules that {modules}"
    );
    Some((Evidence::new(by.to_string(), said), by_hand(remedy)))
}

/// What is missing in several findings is installed at once; rules that were refused want the same.
pub(super) fn merge(findings: &mut [Finding]) {
    let modules = |finding: &Finding| match &finding.remedy {
        Remedy::InstallModules { modules, .. } => modules.clone(),
        _ => BTreeSet::new(),
    };
    let all: BTreeSet<String> = findings.iter().flat_map(modules).collect();
    for finding in findings.iter_mut() {
        if let Remedy::InstallModules { modules, .. } = &mut finding.remedy {
            modules.clone_from(&all);
        }
    }
    let of_rules = |finding: &&Finding| {
        matches!(
            finding.rule.need,
            Need::Backend(_) | Need::RuleModule { .. } | Need::Since(_)
        )
    };
    let Some(remedy) = findings
        .iter()
        .find(of_rules)
        .map(|finding| finding.remedy.clone())
    else {
        return;
    };
    let refused = |finding: &&mut Finding| matches!(finding.rule.need, Need::Rules(_));
    for finding in findings.iter_mut().filter(refused) {
        finding.remedy = remedy.clone();
    }
}
