//! The filter in nf_tables, by netlink alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use ipvs_codec::Family;
use ipvs_filter::FilterKind;
use ipvs_filter::nftables::{
    Skeleton, SourceRanges, filter_entry, is_our_chain, is_ours, recognise, set, set_entry, set_in,
    set_name, table,
};
use ipvs_model::{FilterEntry, FilterSet, FilterSets, FilterShape, Known, Operation};
use ipvs_netfilter::nftables::{Chain, Change, Entries, Entry, Name, Set, Table};
use ipvs_netlink::{Cause, EntryRun, NfTables, TableHeads, Transaction, TransactionError};
use tracing::warn;

use super::filter::Filter;
use crate::control::Control;
use crate::dataplane::{Outcome, Progress};
use crate::error::PlaneError;

/// Others may change rules all the time: then it is tried again later.
const ATTEMPTS: usize = 8;
/// Source ranges that change in one transaction. The kernel copies all that is in the set for each.
const RANGES: usize = 500;

#[derive(Debug)]
pub(super) struct NftFilter {
    tables: NfTables,
    families: Vec<Family>,
    /// The tables as they were seen last: as long as nobody changes rules they are the same.
    seen: BTreeMap<Family, Seen>,
    /// None where the kernel has no set of them.
    ranges: BTreeMap<Family, SourceRanges>,
}

#[derive(Debug)]
struct Seen {
    generation: u32,
    heads: Option<Arc<TableHeads>>,
}

impl NftFilter {
    /// Tries which families can be programmed: a table with everything that there can be is made and removed in the same
    /// transaction, and an empty one is there for a moment.
    pub(super) fn open(families: &[Family]) -> Result<Self, PlaneError> {
        let mut tables = NfTables::open()?;
        let mut usable = Vec::new();
        let mut first_error = None;
        for family in families {
            match try_family(&mut tables, *family) {
                Ok(()) => usable.push(*family),
                // Others change rules all the time, which says nothing of the kernel.
                Err(error) if error.is_passing() => return Err(error),
                Err(PlaneError::Netlink(error)) if matches!(error.cause(), Cause::Unstable(_)) => {
                    return Err(busy(error.to_string()));
                }
                Err(error) => {
                    warn!(%family, %error, "nftables cannot be programmed: Services of this family are left out");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if usable.is_empty() => Err(error),
            _ => Ok(Self {
                tables,
                families: usable,
                seen: BTreeMap::new(),
                ranges: BTreeMap::new(),
            }),
        }
    }

    /// The table that is ours, with all but the entries of its sets; none if there is none. One question where nobody changed
    /// rules since.
    fn heads(&mut self, family: Family) -> Result<Option<Arc<TableHeads>>, PlaneError> {
        let generation = self.tables.generation()?;
        if let Some(seen) = self.seen.get(&family)
            && seen.generation == generation
        {
            return Ok(seen.heads.clone());
        }
        let id = table(family).id;
        let heads = self.tables.heads(&id)?.map(Arc::new);
        let table = heads.as_ref().map(|heads| &heads.table.object);
        if table.is_some_and(|table| !is_ours(table)) {
            return Err(PlaneError::ForeignTable { table: id });
        }
        if !has_set(heads.as_deref(), FilterSet::SourceRange) {
            self.ranges.remove(&family);
        }
        let generation = heads.as_ref().map_or(generation, |heads| heads.generation);
        let seen = Seen {
            generation,
            heads: heads.clone(),
        };
        self.seen.insert(family, seen);
        Ok(heads)
    }

    /// Makes changes that depend on what is there, where nobody changes rules in between; the table too, if there is none.
    fn transact(
        &mut self,
        family: Family,
        changes: impl Fn(Option<&TableHeads>) -> Changes,
    ) -> Result<(), PlaneError> {
        let table = table(family);
        for _ in 0..ATTEMPTS {
            let heads = self.heads(family)?;
            let changes = changes(heads.as_deref());
            let transaction = match &heads {
                Some(heads) => Transaction::new(changes.list()).at(heads.generation),
                // That the table is made says that nobody has made it meanwhile.
                None => {
                    Transaction::new([vec![Change::CreateTable(&table)], changes.list()].concat())
                }
            };
            match self.tables.transact(&transaction) {
                Err(TransactionError::Stale) => {}
                done => return done.map_err(plane_error),
            }
        }
        Err(plane_error(TransactionError::Stale))
    }

    fn apply_ranges(&mut self, operations: &[Operation], outcomes: &mut [Outcome]) {
        for family in Family::ALL {
            let changes = operations.iter().enumerate().filter_map(|(at, operation)| {
                let (entry, adds) = change_of(operation)?;
                let is_range = entry.set() == FilterSet::SourceRange && entry.family() == family;
                is_range.then_some((at, *entry, adds))
            });
            let changes: Vec<(usize, FilterEntry, bool)> = changes.collect();
            for some in changes.chunks(RANGES) {
                if self.change_ranges(family, some).is_ok() {
                    continue;
                }
                // One by one, so that each has its own outcome.
                for change in some {
                    if let Some(outcome) = outcomes.get_mut(change.0) {
                        let one = std::slice::from_ref(change);
                        *outcome = self.change_ranges(family, one).map_err(Box::new);
                    }
                }
            }
        }
    }

    /// All of them or none.
    fn change_ranges(
        &mut self,
        family: Family,
        changes: &[(usize, FilterEntry, bool)],
    ) -> Result<(), PlaneError> {
        let of = |wanted: bool| -> Vec<FilterEntry> {
            let of = changes.iter().filter(|(_, _, adds)| *adds == wanted);
            of.map(|(_, entry, _)| *entry).collect()
        };
        let ranges = self.ranges.entry(family).or_default();
        let change = ranges.change(&of(true), &of(false));
        let [added, removed] = [&change.added, &change.removed]
            .map(|entries| entries.iter().map(set_entry).collect::<Vec<Entry>>());
        let set = set(FilterSet::SourceRange, family);
        let mut all = Vec::new();
        push_entries(&removed, |entries| {
            all.push(Change::DeleteEntries(&set, entries))
        });
        push_entries(&added, |entries| {
            all.push(Change::AddEntries(&set, entries))
        });
        if all.is_empty() {
            return Ok(());
        }
        self.tables
            .transact(&Transaction::new(all))
            .map_err(|error| {
                ranges.undo(change);
                plane_error(error)
            })
    }
}

impl Filter for NftFilter {
    fn kind(&self) -> FilterKind {
        FilterKind::Nftables
    }

    fn random_fully(&self) -> bool {
        true
    }

    fn families(&self) -> &[Family] {
        &self.families
    }

    fn port(&self) -> Option<u32> {
        Some(self.tables.port())
    }

    fn create_set(&mut self, kind: FilterSet, family: Family) -> Result<(), PlaneError> {
        self.transact(family, |_| Changes {
            sets: vec![set(kind, family)],
            ..Changes::default()
        })
    }

    fn destroy_set(&mut self, kind: FilterSet, family: Family) -> Result<(), PlaneError> {
        let id = set(kind, family).id;
        let transaction = Transaction::new(vec![Change::DeleteSet(&id)]);
        self.heads(family)?;
        self.tables.transact(&transaction).map_err(plane_error)
    }

    /// All rules at once: no packet meets half of them. Sets that are not there are made, so that rules can ask them.
    fn write(&mut self, shape: &FilterShape, _: &Control) -> Result<(), PlaneError> {
        let (family, skeleton) = (shape.family, Skeleton::of(shape)?);
        let heads = self.heads(family)?;
        if heads.is_some_and(|heads| heads.table.object.flags != 0) {
            // Others put it to sleep. The kernel takes no new base chain in the transaction that wakes it.
            let awake = table(family);
            let transaction = Transaction::new(vec![Change::AddTable(&awake)]);
            self.tables.transact(&transaction).map_err(plane_error)?;
        }
        self.transact(family, |heads| {
            let found = heads.map(|heads| heads.chains.iter().map(|chain| &chain.object));
            let found = found.into_iter().flatten();
            let ours = found.filter(|chain| is_our_chain(&chain.id.name));
            let ours: Vec<Chain> = ours.cloned().collect();
            let is_other = |chain: &&Chain| !skeleton.chains.contains(chain);
            let all = FilterSet::ALL.into_iter();
            let missing = all.filter(|kind| !has_set(heads, *kind));
            Changes {
                sets: missing.map(|kind| set(kind, family)).collect(),
                others: ours.iter().filter(is_other).cloned().collect(),
                flushed: ours,
                skeleton: Some(skeleton.clone()),
            }
        })
    }

    fn apply(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>) {
        let begin = outcomes.len();
        outcomes.extend(operations.iter().map(|_| Ok(())));
        let Some(outcomes) = outcomes.get_mut(begin..) else {
            return;
        };
        self.apply_ranges(operations, outcomes);
        let mut runs: BTreeMap<(FilterSet, Family, bool), Run> = BTreeMap::new();
        for (at, operation) in operations.iter().enumerate() {
            let Some((entry, adds)) = change_of(operation) else {
                continue;
            };
            if entry.set() != FilterSet::SourceRange {
                let run = runs.entry((entry.set(), entry.family(), adds)).or_default();
                run.entries.push(set_entry(entry));
                run.places.push(at);
            }
        }
        let sets: Vec<Set> = runs
            .keys()
            .map(|(kind, family, _)| set(*kind, *family))
            .collect();
        let entries = runs.iter().zip(&sets);
        let entries = entries.map(|((key, run), set)| match key.2 {
            true => EntryRun::Add(set, &run.entries),
            false => EntryRun::Delete(set, &run.entries),
        });
        let entries: Vec<EntryRun<'_>> = entries.collect();
        let done = self.tables.change_entries(&entries).into_iter();
        for (done, run) in done.zip(runs.values()) {
            for (done, at) in done.into_iter().zip(&run.places) {
                if let Some(outcome) = outcomes.get_mut(*at) {
                    *outcome = done.map_err(|error| Box::new(error.into()));
                }
            }
        }
    }

    fn read_set(
        &mut self,
        kind: FilterSet,
        family: Family,
        known: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let wanted = set(kind, family);
        let heads = self.heads(family)?;
        let found = heads.as_ref().and_then(|heads| {
            let mut sets = heads.sets.iter().map(|set| &set.object);
            sets.find(|set| set.id == wanted.id)
        });
        let Some(found) = found else {
            return Ok(Progress::Done(()));
        };
        if (found.key, found.flags, found.size) != (wanted.key, wanted.flags, wanted.size) {
            let difference = format!("{found} instead of {wanted}");
            known.unusable.insert((kind, family), difference);
            return Ok(Progress::Done(()));
        }
        if let Some(entries) = self.tables.entries(&wanted.id)? {
            let entries = entries.iter();
            let mut found: Vec<FilterEntry> = entries
                .filter_map(|entry| filter_entry(kind, family, entry))
                .collect();
            if kind == FilterSet::SourceRange {
                found = self.ranges.entry(family).or_default().read(found);
            }
            known
                .sets
                .insert((kind, family), found.into_iter().collect());
        }
        Ok(Progress::Done(()))
    }

    fn read_rules(
        &mut self,
        family: Family,
        known: &mut Known,
        _: &Control,
    ) -> Result<Progress, PlaneError> {
        let (mut chains, mut rules) = (Vec::new(), Vec::new());
        if let Some(heads) = self.heads(family)? {
            // Chains of a dormant table see no packets.
            if heads.table.object.flags == 0 {
                let (all_chains, all_rules) = (heads.chains.iter(), heads.rules.iter());
                chains = all_chains.map(|chain| chain.object.clone()).collect();
                rules = all_rules.map(|rule| rule.object.clone()).collect();
            }
        }
        known
            .filters
            .insert(family, recognise(family, &chains, &rules));
        Ok(Progress::Done(()))
    }
}

/// Entries that are added to a set, or removed from it.
#[derive(Debug, Default)]
struct Run {
    entries: Vec<Entry>,
    /// Of their operations.
    places: Vec<usize>,
}

/// What is made in one transaction, in this order.
#[derive(Debug, Default)]
struct Changes {
    sets: Vec<Set>,
    /// The rules of these chains go.
    flushed: Vec<Chain>,
    /// These chains go.
    others: Vec<Chain>,
    skeleton: Option<Skeleton>,
}

impl Changes {
    fn list(&self) -> Vec<Change<'_>> {
        let mut changes: Vec<Change<'_>> = self.sets.iter().map(Change::AddSet).collect();
        let flushed = self.flushed.iter();
        changes.extend(flushed.map(|chain| Change::FlushChain(&chain.id)));
        let others = self.others.iter();
        changes.extend(others.map(|chain| Change::DeleteChain(&chain.id)));
        changes.extend(self.skeleton.iter().flat_map(Skeleton::changes));
        changes
    }
}

fn has_set(heads: Option<&TableHeads>, kind: FilterSet) -> bool {
    let sets = heads.map(|heads| heads.sets.iter());
    let name = Name::from(set_name(kind));
    let mut sets = sets.into_iter().flatten();
    sets.any(|set| set.object.id.name == name)
}

/// The entry, and whether it is added.
const fn change_of(operation: &Operation) -> Option<(&FilterEntry, bool)> {
    match operation {
        Operation::AddMember { member } => Some((member, true)),
        Operation::RemoveMember { member } => Some((member, false)),
        _ => None,
    }
}

/// As many at a time as fit a message.
fn push_entries<'a>(mut entries: &'a [Entry], mut push: impl FnMut(Entries<'a>)) {
    while !entries.is_empty() {
        let (some, rest) = Entries::split(entries, usize::MAX);
        push(some);
        entries = rest;
    }
}

/// A table for a moment, by which it comes out whether the kernel has what the filter needs. No two processes have the same,
/// also where each is the first one of its container.
fn trial_name() -> Option<Name> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    format!("kube-proxy-ipvs-trial-{}-{now}", std::process::id())
        .parse()
        .ok()
}

fn try_family(tables: &mut NfTables, family: Family) -> Result<(), PlaneError> {
    let mut trial = table(family);
    trial.id.name = trial_name().unwrap_or(trial.id.name);
    let all = FilterSet::ALL.into_iter();
    let shape = FilterShape {
        family,
        mark: 1,
        random_fully: true,
        cluster_ips: None,
        filled: all.filter(|set| set.shapes_filter()).collect(),
        without: FilterSets::default(),
        refused: BTreeSet::new(),
    };
    let whole = Changes {
        sets: FilterSet::ALL.map(|kind| set_in(&trial.id, kind)).into(),
        skeleton: Some(Skeleton::in_table(&trial.id, &shape)?),
        ..Changes::default()
    };
    let mut changes = vec![Change::CreateTable(&trial)];
    changes.extend(whole.list());
    changes.push(Change::DeleteTable(&trial.id));
    tables
        .transact(&Transaction::new(changes))
        .map_err(plane_error)?;
    keeps_comments(tables, &trial)
}

/// Before Linux 5.10 the kernel drops the comment of a table without a word, and by it ours is known. The table is there for a
/// moment, and empty.
fn keeps_comments(tables: &mut NfTables, trial: &Table) -> Result<(), PlaneError> {
    let id = &trial.id;
    let add = Transaction::new(vec![Change::CreateTable(trial)]);
    tables.transact(&add).map_err(plane_error)?;
    let found = tables.heads(id);
    let delete = Transaction::new(vec![Change::DeleteTable(id)]);
    tables.transact(&delete).map_err(plane_error)?;
    match found? {
        Some(found) if is_ours(&found.table.object) => Ok(()),
        _ => Err(program(
            "this kernel keeps no comments of tables (Linux 5.10), by which ours are known; take --filter=iptables".to_owned(),
        )),
    }
}

/// The first change that was refused says what is wrong.
pub(super) fn plane_error(error: TransactionError) -> PlaneError {
    match error {
        TransactionError::Failed(error) => error.into(),
        TransactionError::Refused(refused) => match refused.into_iter().next() {
            Some(first) => first.error.into(),
            None => program("refused".to_owned()),
        },
        stale @ TransactionError::Stale => busy(stale.to_string()),
        other => program(other.to_string()),
    }
}

fn busy(reason: String) -> PlaneError {
    PlaneError::Busy {
        program: "nf_tables".to_owned(),
        reason,
    }
}

fn program(reason: String) -> PlaneError {
    PlaneError::Program {
        program: "nf_tables".to_owned(),
        reason,
    }
}
