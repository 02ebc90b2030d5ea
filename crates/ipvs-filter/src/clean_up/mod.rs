//! Clean-up: everything of ours goes, step by step, and what cannot go is named with what holds it.

mod chains;
mod left;
mod link;
mod nftables;
mod operation;
mod remains;
mod report;
mod rules;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Config, FilterEntry, FilterSet, Foreign, Known, Ownership};
use ipvs_netfilter::iptables::{Removal, SavedRules, Table};

pub use self::left::{Holder, Left, Leftover};
pub use self::operation::CleanUpOperation;
pub use self::remains::{CleanUpPart, NftablesTable, RemainingLink, Remains, Unreadable};
pub use self::report::{CleanUpPlan, CleanUpReport};

/// Before rounds in which something is tried again, 2 s in all. With the nft back end of iptables, Linux 5.10 frees rules
/// some time after it has answered, and until then says of their sets that they are in use.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(600),
    Duration::from_millis(650),
];
/// Somebody who makes everything anew as fast as it is removed does not keep this from ending.
const ROUNDS: u32 = 16;

/// What stands in sets.
type Entries = HashMap<(FilterSet, Family), HashSet<FilterEntry>>;

/// What a filter is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// kube-proxy's chains of iptables and sets of ipset.
    Iptables,
    /// Our own tables of nftables.
    Nftables,
}

/// What clean-up has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum CleanUpStep<'a> {
    /// Read a part, and [tell](CleanUp::found) what was found.
    Read(CleanUpPart),
    /// Do these in order, whatever becomes of each, and [tell](CleanUp::done) it.
    Remove(&'a [CleanUpOperation]),
    /// Wait so long.
    Wait(Duration),
}

/// Why an operation of clean-up was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error's text.
    pub text: String,
    /// The object is not there, which is what was wanted.
    pub is_gone: bool,
    /// Something refers to the set.
    pub is_set_busy: bool,
    /// It may be otherwise in a moment.
    pub may_pass: bool,
}

/// Removes what a proxier makes, and what kube-proxy's ipvs, iptables and nftables modes leave; with
/// [`Foreign::Remove`] and nothing excluded also every virtual server, as kube-proxy does. Pure: the steps go out, and
/// what became of them comes in.
///
/// Each part is read by itself and removed by itself: what cannot be read or removed of one keeps nothing of another.
/// The order is that of a plan. Virtual servers go first, then VIPs, then the rules: as long as a VIP is bound, the filter
/// keeps the ports of the host from answering on it. The sets are the last, since with [`Foreign::Keep`] virtual servers
/// and VIPs are known to be ours by their entries: what could not be removed must be known the next time.
///
/// ```
/// use ipvs_filter::{CleanUp, CleanUpPart, CleanUpStep, RemainingLink, Remains};
/// use ipvs_model::Config;
///
/// let mut clean_up = CleanUp::new(&Config::default());
/// let link = RemainingLink { is_dummy: true, ..RemainingLink::default() };
/// let mut kernel = Remains { link: Some(link), ..Remains::default() };
/// while let Some(step) = clean_up.next_step() {
///     match step {
///         CleanUpStep::Read(_) => clean_up.found(Ok(kernel.clone())),
///         CleanUpStep::Remove(operations) => {
///             assert_eq!(operations[0].to_string(), "delete dummy interface");
///             kernel.link = None;
///             clean_up.done(vec![Ok(())]);
///         }
///         CleanUpStep::Wait(_) => {}
///     }
/// }
/// assert!(clean_up.report().left.is_empty());
/// ```
#[derive(Debug)]
pub struct CleanUp {
    config: Config,
    is_rehearsal: bool,
    parts: &'static [CleanUpPart],
    /// The filter that has taken over, if one has.
    kept: Option<FilterKind>,
    remains: Remains,
    /// The sets of ipset that are there.
    sets: Entries,
    /// Those of our own tables of nftables.
    tables: Entries,
    /// What stands in either: by it is known what is ours.
    ledger: Known,
    unread: BTreeMap<CleanUpPart, Unreadable>,
    stage: Stage,
    /// Given out, and their outcomes are not known yet.
    due: Vec<CleanUpOperation>,
    /// Whether anything was there to be removed in this round.
    has_met: bool,
    /// In this round.
    refused: Vec<(CleanUpOperation, Refusal)>,
    /// Deleting the dummy interface was refused: what is bound to it goes one by one.
    link_stays: bool,
    rounds: u32,
    pauses: usize,
    done: Vec<CleanUpOperation>,
}

/// The steps of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Read(usize),
    VirtualServers,
    Vips,
    Link,
    Rules,
    Chains,
    Nftables,
    Sets,
    End,
}

impl Stage {
    const fn next(self) -> Self {
        match self {
            Self::Read(at) => Self::Read(at.saturating_add(1)),
            Self::VirtualServers => Self::Vips,
            Self::Vips => Self::Link,
            Self::Link => Self::Rules,
            Self::Rules => Self::Chains,
            Self::Chains => Self::Nftables,
            Self::Nftables => Self::Sets,
            Self::Sets | Self::End => Self::End,
        }
    }
}

impl CleanUp {
    /// Begins a clean-up. What is of a family that is not served goes too.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: Config {
                families: Family::ALL.to_vec(),
                ..config.clone()
            },
            is_rehearsal: false,
            parts: &CleanUpPart::ALL,
            kept: None,
            remains: Remains::default(),
            sets: Entries::default(),
            tables: Entries::default(),
            ledger: Known::default(),
            unread: BTreeMap::new(),
            stage: Stage::Read(0),
            due: Vec::new(),
            has_met: false,
            refused: Vec::new(),
            link_stays: false,
            rounds: 0,
            pauses: 0,
            done: Vec::new(),
        }
    }

    /// Begins one of what other filters left, where one has taken over: it guards the ports of the host, and by its entries it
    /// is known what is ours. Virtual servers and VIPs stay.
    ///
    /// ```
    /// use ipvs_codec::Family;
    /// use ipvs_filter::{CleanUp, CleanUpStep, FilterKind, NftablesTable, Remains};
    /// use ipvs_model::Config;
    ///
    /// let mut clean_up = CleanUp::of_other_filters(&Config::default(), FilterKind::Iptables);
    /// let mut kernel = Remains::default();
    /// kernel.nftables.insert((NftablesTable::Ours, Family::Ipv4));
    /// clean_up.next_step();
    /// clean_up.found(Ok(kernel));
    /// let Some(CleanUpStep::Remove(operations)) = clean_up.next_step() else { panic!() };
    /// assert_eq!(operations[0].to_string(), "remove nftables table ip kube-proxy-ipvs");
    /// ```
    #[must_use]
    pub fn of_other_filters(config: &Config, kept: FilterKind) -> Self {
        Self {
            parts: match kept {
                FilterKind::Iptables => &[CleanUpPart::Nftables],
                FilterKind::Nftables => &[
                    CleanUpPart::Sets,
                    CleanUpPart::Rules(Family::Ipv4),
                    CleanUpPart::Rules(Family::Ipv6),
                    CleanUpPart::Nftables,
                ],
            },
            kept: Some(kept),
            ..Self::new(config)
        }
    }

    /// Begins one that only shows what would be done: whoever drives it reads, and tells of each operation that it was done.
    #[must_use]
    pub fn rehearsal(config: &Config) -> Self {
        Self {
            is_rehearsal: true,
            ..Self::new(config)
        }
    }

    /// Whether rules of a family have any that are kube-proxy's. O(rules).
    #[must_use]
    pub fn concerns(saved: &SavedRules) -> bool {
        let unlinking = |table: &Table| !chains::unlinking(saved, *table, false).is_empty();
        let mut chains = saved.chains();
        chains.any(|(table, chain, _)| chains::is_ours(table, chain))
            || Table::ALL.iter().any(unlinking)
    }

    /// What is to be done next; none at the end. After a round everything is read again, until nothing of ours is there or
    /// all that is left is held.
    #[must_use]
    pub fn next_step(&mut self) -> Option<CleanUpStep<'_>> {
        while self.due.is_empty() {
            match self.stage {
                Stage::Read(at) => match self.parts.get(at) {
                    Some(part) => return Some(CleanUpStep::Read(*part)),
                    None => self.stage = Stage::VirtualServers,
                },
                Stage::End => match self.after_round() {
                    Some(pause) if pause.is_zero() => {}
                    pause => return pause.map(CleanUpStep::Wait),
                },
                stage => {
                    self.due = self.operations(stage);
                    self.stage = stage.next();
                }
            }
        }
        Some(CleanUpStep::Remove(&self.due))
    }

    /// Begins the next round, after this pause; none if this was the last.
    fn after_round(&mut self) -> Option<Duration> {
        self.rounds = self.rounds.saturating_add(1);
        if self.is_rehearsal || !self.has_met || self.rounds >= ROUNDS {
            return None;
        }
        let mut pause = Duration::ZERO;
        if !self.refused.is_empty() {
            let may_pass = self.refused.iter().any(|(_, refusal)| refusal.may_pass);
            pause = *PAUSES.get(self.pauses).filter(|_| may_pass)?;
            self.pauses = self.pauses.saturating_add(1);
        }
        self.refused.clear();
        self.has_met = false;
        self.stage = Stage::Read(0);
        Some(pause)
    }

    /// What reading the part gave that was asked for; the other parts of it are not looked at.
    pub fn found(&mut self, found: Result<Remains, Unreadable>) {
        let Stage::Read(at) = self.stage else { return };
        self.stage = self.stage.next();
        let Some(part) = self.parts.get(at).copied() else {
            return;
        };
        let mut found = match found {
            Ok(found) => {
                self.unread.remove(&part);
                found
            }
            Err(unread) => {
                // All were flushed without a list: there is nothing that it would show.
                let is_flushed = part == CleanUpPart::VirtualServers
                    && self.done.contains(&CleanUpOperation::FlushVirtualServers);
                if !is_flushed {
                    self.unread.insert(part, unread);
                }
                Remains::default()
            }
        };
        match part {
            CleanUpPart::Sets => self.sets = std::mem::take(&mut found.sets),
            CleanUpPart::Nftables => {
                if self.kept == Some(FilterKind::Nftables) {
                    found
                        .nftables
                        .retain(|(table, _)| *table != NftablesTable::Ours);
                }
                self.tables = std::mem::take(&mut found.entries);
            }
            _ => {}
        }
        self.enter();
        self.remains.take(part, found);
    }

    /// Enters into the ledger what stands in sets. O(entries).
    fn enter(&mut self) {
        let ledger = &mut self.ledger.sets;
        ledger.clone_from(&self.sets);
        for (key, entries) in &self.tables {
            ledger.entry(*key).or_default().extend(entries);
        }
    }

    /// What became of the operations that were asked for: one outcome for each, in order. One that is missing counts as
    /// refused.
    pub fn done(&mut self, outcomes: Vec<Result<(), Refusal>>) {
        let mut outcomes = outcomes.into_iter();
        for operation in std::mem::take(&mut self.due) {
            let missing = || {
                Err(Refusal {
                    text: "the data plane gave no outcome".to_owned(),
                    is_gone: false,
                    is_set_busy: false,
                    may_pass: true,
                })
            };
            match outcomes.next().unwrap_or_else(missing) {
                Ok(()) => {
                    self.has_met = true;
                    self.gone(&operation);
                    self.done.push(operation);
                }
                Err(refusal) if refusal.is_gone => self.gone(&operation),
                Err(refusal) => {
                    self.has_met = true;
                    self.link_stays |= matches!(operation, CleanUpOperation::DeleteLink);
                    self.refused.push((operation, refusal));
                }
            }
        }
    }

    fn gone(&mut self, operation: &CleanUpOperation) {
        let remains = &mut self.remains;
        match operation {
            CleanUpOperation::FlushVirtualServers => {
                remains.virtual_servers.clear();
                self.unread.remove(&CleanUpPart::VirtualServers);
            }
            CleanUpOperation::RemoveVirtualServer { virtual_server } => {
                remains.virtual_servers.remove(virtual_server);
            }
            CleanUpOperation::UnbindVip { vip } => {
                if let Some(link) = &mut remains.link {
                    link.vips.remove(vip);
                }
            }
            CleanUpOperation::DeleteLink => remains.link = None,
            CleanUpOperation::RemoveRules {
                family, removal, ..
            } => {
                if let Some(saved) = remains.rules.get_mut(family) {
                    saved.removed(removal);
                }
            }
            CleanUpOperation::RemoveNftablesTable { table, family } => {
                remains.nftables.remove(&(*table, *family));
                if *table == NftablesTable::Ours {
                    self.tables.retain(|(_, of), _| of != family);
                    self.enter();
                }
            }
            CleanUpOperation::DestroySet { set, family, .. } => {
                let key = (*set, *family);
                self.sets.remove(&key);
                match self.tables.get(&key) {
                    Some(entries) => drop(self.ledger.sets.insert(key, entries.clone())),
                    None => drop(self.ledger.sets.remove(&key)),
                }
            }
        }
    }

    /// What can go in a stage, as far as it is known what is there.
    fn operations(&self, stage: Stage) -> Vec<CleanUpOperation> {
        match stage {
            Stage::VirtualServers if self.keeps_servers() => {
                let ours = self.virtual_servers();
                ours.map(|virtual_server| CleanUpOperation::RemoveVirtualServer { virtual_server })
                    .collect()
            }
            // It takes no list of them.
            Stage::VirtualServers
                if !self.remains.virtual_servers.is_empty()
                    || self.has_failed(CleanUpPart::VirtualServers) =>
            {
                vec![CleanUpOperation::FlushVirtualServers]
            }
            Stage::Vips if self.is_link_ours() && !self.link_stays => Vec::new(),
            Stage::Vips => {
                let ours = self.vips();
                ours.map(|vip| CleanUpOperation::UnbindVip { vip })
                    .collect()
            }
            // With all that is bound to it, at once.
            Stage::Link if self.is_link_ours() => vec![CleanUpOperation::DeleteLink],
            Stage::Rules => self.removals(chains::unlinking),
            Stage::Chains => self.removals(|saved, table, _| Removal {
                deleted: chains::deletable(saved, table),
                ..Removal::of(table)
            }),
            Stage::Nftables => self.table_removals(),
            Stage::Sets => self.destructions(),
            Stage::Read(_) | Stage::VirtualServers | Stage::Link | Stage::End => Vec::new(),
        }
    }

    /// By the entries that are left: none is taken out, and a set goes after all that it lists.
    const fn ownership(&self) -> Ownership<'_> {
        Ownership::of(&self.config, &self.ledger)
    }

    fn has_failed(&self, part: CleanUpPart) -> bool {
        matches!(self.unread.get(&part), Some(Unreadable::Failed(_)))
    }

    /// Whether there are virtual servers that must stay, or may have to.
    fn keeps_servers(&self) -> bool {
        self.config.foreign == Foreign::Keep || !self.config.exclude_cidrs.is_empty()
    }

    /// The virtual servers that are ours and still there.
    fn virtual_servers(&self) -> impl Iterator<Item = ServiceKey> {
        let ownership = self.ownership();
        let ours = move |key: &&ServiceKey| ownership.may_remove(key);
        self.remains.virtual_servers.iter().filter(ours).copied()
    }
}
