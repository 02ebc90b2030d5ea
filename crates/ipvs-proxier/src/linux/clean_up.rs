//! Clean-up on Linux: each part has a connection or program of its own, and none needs another.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ipvs_codec::{Family, Request, ServiceKey};
use ipvs_filter::iptables::{filter_entry, set_spec};
use ipvs_filter::{CleanUp, CleanUpOperation, CleanUpPart, RemainingLink, Remains, Unreadable};
use ipvs_model::{FilterSet, Vip};
use ipvs_netfilter::iptables::SavedRules;
use ipvs_netlink::{Binding, Cause, IpSets, Ipvs, Links};

use super::busy::{BETWEEN_ATTEMPTS, until_free};
use super::iptables::IptablesBackend;
use super::nftables;
use super::program::{failed, is_installed, run};
use super::{LINK, binding_of, take};
use crate::clean_up::CleanUpPlane;
use crate::control::Control;
use crate::dataplane::Outcome;
use crate::error::PlaneError;

const EINVAL: i32 = 22;
/// So long others may hold the lock of iptables for each change of the rules.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel in the network namespace of this thread, as far as there is something of a proxier to be removed. Nothing has
/// to be there: neither IPVS nor ipset nor iptables.
///
/// ```no_run
/// use ipvs_model::Config;
/// use ipvs_proxier::{Control, IptablesBackend, LinuxCleanUp, clean_up};
///
/// let mut plane = LinuxCleanUp::new(IptablesBackend::Auto, &Control::new());
/// for left in clean_up(&mut plane, &Config::default(), std::thread::sleep).left {
///     println!("{left}");
/// }
/// ```
#[derive(Debug)]
pub struct LinuxCleanUp {
    backend: IptablesBackend,
    /// Whether this process is to end: then no program is waited for.
    control: Control,
    /// What follows `iptables` in the names of the programs that the rules were read with last.
    suffixes: BTreeMap<Family, &'static str>,
}

impl LinuxCleanUp {
    /// One that reads rules with the programs of this back end. [`Auto`](IptablesBackend::Auto) looks at all, and removes from
    /// each that has some.
    #[must_use]
    pub fn new(backend: IptablesBackend, control: &Control) -> Self {
        Self {
            backend,
            control: control.clone(),
            suffixes: BTreeMap::new(),
        }
    }

    /// Of the first back end that has some of ours, and beside it those of the others. When the first has none any more, the
    /// next round has the turn of another.
    fn rules(&mut self, family: Family, found: &mut Remains) -> Result<(), Unreadable> {
        if family == Family::Ipv6 && !Path::new("/proc/net/if_inet6").exists() {
            return Err(Unreadable::Absent("this kernel has no IPv6".to_owned()));
        }
        let suffixes = self.installed(family);
        if suffixes.is_empty() {
            let save = program(family, self.backend.suffix(), "-save");
            return Err(Unreadable::Absent(format!("{save} is not installed")));
        }
        let (mut saved, mut errors) = (Vec::new(), Vec::new());
        for suffix in suffixes {
            match run(&program(family, suffix, "-save"), &[], "", &self.control) {
                Ok(text) => saved.push((suffix, SavedRules::parse(&text))),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let concerned = saved.iter().position(|(_, saved)| CleanUp::concerns(saved));
        if saved.is_empty() {
            return Err(Unreadable::Failed(errors.join("; ")));
        }
        // A kernel has not always what each of them needs.
        errors.retain(|error| !error.contains("not supported"));
        if !errors.is_empty() {
            found.unread_rules.insert(family, errors.join("; "));
        }
        let (suffix, rules) = saved.swap_remove(concerned.unwrap_or(0));
        self.suffixes.insert(family, suffix);
        found.rules.insert(family, rules);
        let others = saved.into_iter().map(|(_, saved)| saved).collect();
        found.other_rules.insert(family, others);
        Ok(())
    }

    /// What follows `iptables` in the names of the programs that read rules, one for each back end that is installed.
    fn installed(&self, family: Family) -> Vec<&'static str> {
        let is_there = |suffix: &&str| is_installed(&program(family, suffix, "-save"));
        let of = |suffixes: &[&'static str]| {
            let there = suffixes.iter().copied();
            there.filter(is_there).collect::<Vec<&'static str>>()
        };
        match self.backend {
            IptablesBackend::Legacy | IptablesBackend::Nft => of(&[self.backend.suffix()]),
            IptablesBackend::Auto => match of(&["-legacy", "-nft"]) {
                // The one without suffix is one of them.
                both if both.len() > 1 => both,
                one => [of(&[""]), one].concat(),
            },
        }
    }

    fn alone(&self, operation: &CleanUpOperation) -> Result<(), PlaneError> {
        match operation {
            CleanUpOperation::DeleteLink => {
                let mut links = Links::open()?;
                if let Some(link) = links.find(LINK)? {
                    links.delete(link.index)?;
                }
            }
            CleanUpOperation::DestroySet { spec, .. } => IpSets::open()?.destroy(spec.name)?,
            CleanUpOperation::RemoveRules {
                family, restore, ..
            } => {
                let suffix = self.suffixes.get(family).copied().unwrap_or_default();
                let restorer = program(*family, suffix, "-restore");
                let words = ["-w", "1", "--noflush"];
                until_free(&self.control, BETWEEN_ATTEMPTS, Some(PATIENCE), || {
                    run(&restorer, &words, restore, &self.control)
                })?;
            }
            CleanUpOperation::RemoveNftablesTable { table, family } => {
                nftables::remove(*table, *family)?;
            }
            other => {
                let reason = "clean-up never asks for it".to_owned();
                return Err(failed(other.kind(), reason));
            }
        }
        Ok(())
    }
}

fn program(family: Family, suffix: &str, action: &str) -> String {
    let name = match family {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    };
    format!("{name}{suffix}{action}")
}

impl CleanUpPlane for LinuxCleanUp {
    fn look(&mut self, part: CleanUpPart) -> Result<Remains, Unreadable> {
        let mut found = Remains::default();
        match part {
            CleanUpPart::Sets => sets(&mut found)?,
            CleanUpPart::VirtualServers => virtual_servers(&mut found)?,
            CleanUpPart::Link => link(&mut found)?,
            CleanUpPart::Rules(family) => self.rules(family, &mut found)?,
            CleanUpPart::Nftables => nftables::find(&mut found)?,
        }
        Ok(found)
    }

    fn remove(&mut self, operations: &[CleanUpOperation]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for group in operations.chunk_by(|a, b| kind(a) == kind(b)) {
            match group.first().map_or(Kind::Alone, kind) {
                Kind::Ipvs => match Ipvs::open() {
                    Ok(mut ipvs) => {
                        let requests: Vec<Request<'_>> = group.iter().filter_map(request).collect();
                        take(ipvs.batch(&requests), &mut outcomes);
                    }
                    Err(error) => fail_all(group, &PlaneError::from(error), &mut outcomes),
                },
                Kind::Vips => match bound_link() {
                    Ok((mut links, link)) => {
                        let bindings: Vec<Binding> = group.iter().filter_map(binding).collect();
                        take(links.unbind(link, &bindings), &mut outcomes);
                    }
                    Err(error) => fail_all(group, &error, &mut outcomes),
                },
                Kind::Alone => {
                    let done = group.iter().map(|operation| self.alone(operation));
                    outcomes.extend(done.map(|outcome| outcome.map_err(Box::new)));
                }
            }
        }
        outcomes
    }
}

/// What removes an operation's object. Neighbours of one kind go out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ipvs,
    Vips,
    Alone,
}

const fn kind(operation: &CleanUpOperation) -> Kind {
    match operation {
        CleanUpOperation::FlushVirtualServers | CleanUpOperation::RemoveVirtualServer { .. } => {
            Kind::Ipvs
        }
        CleanUpOperation::UnbindVip { .. } => Kind::Vips,
        _ => Kind::Alone,
    }
}

const fn request(operation: &CleanUpOperation) -> Option<Request<'_>> {
    match operation {
        CleanUpOperation::FlushVirtualServers => Some(Request::Flush),
        CleanUpOperation::RemoveVirtualServer { virtual_server } => {
            Some(Request::DelService(virtual_server))
        }
        _ => None,
    }
}

const fn binding(operation: &CleanUpOperation) -> Option<Binding> {
    match operation {
        CleanUpOperation::UnbindVip { vip } => Some(binding_of(*vip)),
        _ => None,
    }
}

/// None of them was tried.
fn fail_all(group: &[CleanUpOperation], error: &PlaneError, outcomes: &mut Vec<Outcome>) {
    let failure = |operation: &CleanUpOperation| failed(operation.kind(), error.to_string());
    let failures = group
        .iter()
        .map(|operation| Err(Box::new(failure(operation))));
    outcomes.extend(failures);
}

fn bound_link() -> Result<(Links, ipvs_netlink::LinkIndex), PlaneError> {
    let mut links = Links::open()?;
    let link = links.find(LINK)?;
    let link = link.ok_or_else(|| failed(LINK, "the link is gone".to_owned()))?;
    Ok((links, link.index))
}

fn unread(error: &ipvs_netlink::Error) -> Unreadable {
    match error.cause() {
        Cause::NoFamily(_) => Unreadable::Absent(error.to_string()),
        _ => Unreadable::Failed(error.to_string()),
    }
}

/// By name: what type a set is of only matters for whether its entries say what is ours.
fn sets(found: &mut Remains) -> Result<(), Unreadable> {
    let mut sets = IpSets::open().map_err(|error| unread(&error))?;
    for family in Family::ALL {
        for set in FilterSet::ALL {
            let spec = set_spec(set, family);
            match sets.list(spec.name) {
                Ok(None) => {}
                Ok(Some((head, entries))) => {
                    let difference = head.difference(&spec);
                    let means_ours = difference.is_none_or(|found| found.keeps_entries());
                    let of_set = |entry| filter_entry(set, family, entry).filter(|_| means_ours);
                    let entries = entries.into_iter().filter_map(of_set);
                    found.sets.insert((set, family), entries.collect());
                }
                // Without the module nfnetlink has nobody to ask.
                Err(error) if error.cause().errno() == Some(EINVAL) => {
                    let reason = "this kernel has no ipset (ip_set)".to_owned();
                    return Err(Unreadable::Absent(reason));
                }
                Err(error) if matches!(error.cause(), Cause::Malformed(_)) => {
                    found.sets.insert((set, family), Default::default());
                }
                Err(error) => return Err(unread(&error)),
            }
        }
    }
    // They only say what holds a set.
    let lists = sets.set_lists().unwrap_or_default();
    found.set_lists = lists.into_iter().collect();
    Ok(())
}

fn virtual_servers(found: &mut Remains) -> Result<(), Unreadable> {
    let services = Ipvs::open().and_then(|mut ipvs| ipvs.services());
    let services = services.map_err(|error| unread(&error))?.into_iter();
    let keys = services.map(|observed| observed.service.key);
    found.virtual_servers = keys
        .filter(|key| !matches!(key, ServiceKey::Fwmark { .. }))
        .collect();
    Ok(())
}

fn link(found: &mut Remains) -> Result<(), Unreadable> {
    let look = || -> Result<Option<RemainingLink>, ipvs_netlink::Error> {
        let mut links = Links::open()?;
        let Some(link) = links.find(LINK)? else {
            return Ok(None);
        };
        let mut found = RemainingLink {
            is_dummy: link.is_dummy,
            ..RemainingLink::default()
        };
        for binding in links.bindings(link.index)? {
            match binding {
                Binding::Address(address) => drop(found.vips.insert(Vip::Address { address })),
                Binding::Route {
                    address,
                    source,
                    mtu,
                } => {
                    found.vips.insert(Vip::Route {
                        address,
                        source,
                        mtu,
                    });
                }
                Binding::Network(address, _) => drop(found.networks.insert(address)),
            }
        }
        found.routes.extend(links.routes_through(link.index)?);
        Ok(Some(found))
    };
    found.link = look().map_err(|error| unread(&error))?;
    Ok(())
}
