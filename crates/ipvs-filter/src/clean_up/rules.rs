//! Rules and chains: what of them may go, and what is left.

use std::net::IpAddr;

use ipvs_codec::Family;
use ipvs_netfilter::iptables::{Removal, SavedRules, Table};

use super::CleanUp;
use super::chains;
use super::left::{Holder, Left, Leftover};
use super::operation::CleanUpOperation;
use super::report::refused;
use crate::iptables::{GUARD, RulePlace};

/// What was refused together is tried again in so many pieces.
const PIECES: usize = 8;

impl CleanUp {
    /// An address of a family that is still bound: the filter stays as long as it is.
    pub(super) fn guarded(&self, family: Family) -> Option<IpAddr> {
        let mut addresses = self.vips().map(|vip| vip.address());
        addresses.find(|address| Family::of(*address) == family)
    }

    pub(super) fn removals(
        &self,
        of_table: impl Fn(&SavedRules, Table, bool) -> Removal,
    ) -> Vec<CleanUpOperation> {
        let mut operations = Vec::new();
        for (family, saved) in &self.remains.rules {
            let guarded = self.guarded(*family).is_some();
            for table in Table::ALL {
                let removal = of_table(saved, table, guarded);
                let pieces = self.pieces(removal).into_iter();
                operations.extend(pieces.map(|removal| CleanUpOperation::RemoveRules {
                    family: *family,
                    restore: removal.restore_text(),
                    removal: Box::new(removal),
                }));
            }
        }
        operations
    }

    /// All at once the first time: a process each would take long where the iptables mode left thousands of chains. What is
    /// refused is refused whole, so it is tried again in smaller and smaller pieces.
    fn pieces(&self, removal: Removal) -> Vec<Removal> {
        if removal.is_empty() {
            return Vec::new();
        }
        if self.pauses == 0 {
            return vec![removal];
        }
        let Removal {
            table,
            rules,
            flushed,
            deleted,
        } = removal;
        let exponent = u32::try_from(self.pauses).unwrap_or(u32::MAX);
        let count = PIECES.saturating_pow(exponent).max(1);
        let most = |length: usize| length.div_ceil(count).max(1);
        let with = |change: &dyn Fn(&mut Removal)| {
            let mut removal = Removal::of(table);
            change(&mut removal);
            removal
        };
        let rules = rules
            .chunks(most(rules.len()))
            .map(|some| with(&|removal| removal.rules = some.to_vec()));
        let flushed = flushed
            .chunks(most(flushed.len()))
            .map(|some| with(&|removal| removal.flushed = some.to_vec()));
        let deleted = deleted
            .chunks(most(deleted.len()))
            .map(|some| with(&|removal| removal.deleted = some.to_vec()));
        rules.chain(flushed).chain(deleted).collect()
    }

    pub(super) fn left_of_table(
        &self,
        family: Family,
        saved: &SavedRules,
        table: Table,
        left: &mut Vec<Left>,
    ) {
        let guarded = self.guarded(family);
        let refusal = self.refusal(|operation| match operation {
            CleanUpOperation::RemoveRules {
                family: of,
                removal,
                ..
            } => (*of, removal.table) == (family, table),
            _ => false,
        });
        for (chain, rule) in chains::unlinking(saved, table, false).rules {
            let to_guard = rule.target().is_some_and(|target| target == GUARD);
            let holder = guarded.filter(|_| to_guard).map(Holder::Guards);
            left.push(Left {
                what: Leftover::Rule(RulePlace {
                    family,
                    table,
                    chain,
                    rule,
                }),
                holder: holder.unwrap_or_else(|| refused(refusal)),
            });
        }
        let chains = saved.chains().filter(|(of, _, _)| *of == table);
        for (_, chain, _) in chains.filter(|(_, chain, _)| chains::is_ours(table, chain)) {
            let guards = guarded.filter(|_| table == Table::Filter && chain == GUARD);
            let mut rules = saved.all_rules().filter(|(of, _, _)| *of == table);
            let refers =
                rules.find(|(_, _, rule)| rule.target().is_some_and(|target| target == chain));
            let refers = refers.map(|(_, from, rule)| {
                Holder::Rule(RulePlace {
                    family,
                    table,
                    chain: from.to_owned(),
                    rule: rule.clone(),
                })
            });
            let holder = guards.map(Holder::Guards).or(refers);
            left.push(Left {
                what: Leftover::Chain(family, table, chain.to_owned()),
                holder: holder.unwrap_or_else(|| refused(refusal)),
            });
        }
    }
}
