//! What is left of each part after a clean-up, and what holds it.

use ipvs_codec::Family;
use ipvs_netfilter::iptables::{SavedRules, Table};

use super::chains::{self, GUARD};
use super::left::{Holder, Left, Leftover};
use super::remains::{CleanUpPart, Unreadable};
use super::{CleanUp, Refusal};
use crate::plan::builder::Plan;
use crate::plan::operation::Operation;
use crate::plan::rule_place::RulePlace;
use crate::sets::KubeSet;

/// What clean-up did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CleanUpReport {
    /// The operations that were done, in order.
    pub plan: Plan,
    /// What is still there, each with what holds it.
    pub left: Vec<Left>,
    /// Parts that this machine does not have, and why that is believed.
    pub absent: Vec<(CleanUpPart, String)>,
}

impl CleanUp {
    /// What was done so far, and what is left.
    pub fn report(&self) -> CleanUpReport {
        let absent = self
            .unread
            .iter()
            .filter_map(|(part, unread)| match unread {
                Unreadable::Absent(reason) => Some((*part, reason.clone())),
                Unreadable::Failed(_) => None,
            });
        CleanUpReport {
            plan: Plan::of(self.done.clone()),
            left: self.left(),
            absent: absent.collect(),
        }
    }

    fn left(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for (part, unread) in &self.unread {
            if let Unreadable::Failed(reason) = unread {
                left.push(Left {
                    what: Leftover::Part(*part),
                    holder: Holder::NotRead(reason.clone()),
                });
            }
        }
        for (family, reason) in &self.remains.unread_rules {
            left.push(Left {
                what: Leftover::Part(CleanUpPart::Rules(*family)),
                holder: Holder::NotRead(reason.clone()),
            });
        }
        for key in self.virtual_servers() {
            let refusal = self.refusal(|operation| match operation {
                Operation::FlushVirtualServers => true,
                Operation::RemoveVirtualServer { virtual_server } => *virtual_server == key,
                _ => false,
            });
            left.push(Left {
                what: Leftover::VirtualServer(key),
                holder: refused(refusal),
            });
        }
        self.left_of_link(&mut left);
        for (family, saved) in &self.remains.rules {
            for table in Table::ALL {
                self.left_of_table(*family, saved, table, &mut left);
            }
        }
        for family in &self.remains.nftables {
            let table = |operation: &Operation| matches!(operation, Operation::RemoveNftablesTable { family: of } if of == family);
            left.push(Left {
                what: Leftover::NftablesTable(*family),
                holder: refused(self.refusal(table)),
            });
        }
        let mut sets: Vec<_> = self.ledger.sets.keys().copied().collect();
        sets.sort_unstable();
        for (set, family) in sets {
            left.push(Left {
                what: Leftover::Set(set.name(family)),
                holder: self.what_holds_set(set, family),
            });
        }
        left
    }

    fn left_of_link(&self, left: &mut Vec<Left>) {
        let Some(link) = &self.remains.link else {
            return;
        };
        if !link.is_dummy {
            left.push(Left {
                what: Leftover::Link,
                holder: Holder::NotDummy,
            });
            return;
        }
        for vip in self.vips() {
            let unbind = |operation: &Operation| match operation {
                Operation::UnbindVip { vip: of } => *of == vip,
                Operation::DeleteLink => true,
                _ => false,
            };
            left.push(Left {
                what: Leftover::Vip(vip),
                holder: refused(self.refusal(unbind)),
            });
        }
        let delete = |operation: &Operation| matches!(operation, Operation::DeleteLink);
        let holder = self.foreign_address().map(Holder::Address);
        left.push(Left {
            what: Leftover::Link,
            holder: holder.unwrap_or_else(|| refused(self.refusal(delete))),
        });
    }

    fn left_of_table(
        &self,
        family: Family,
        saved: &SavedRules,
        table: Table,
        left: &mut Vec<Left>,
    ) {
        let guarded = self.guarded(family);
        let refusal = self.refusal(|operation| match operation {
            Operation::RemoveRules {
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

    fn what_holds_set(&self, set: KubeSet, family: Family) -> Holder {
        if let Some(holder) = self.holder_of_set(set, family) {
            return holder;
        }
        let refusal = self.refusal(|operation| match operation {
            Operation::DestroySet {
                set: other,
                family: of,
                ..
            } => (*other, *of) == (set, family),
            _ => false,
        });
        match refusal {
            Some(refusal) if refusal.is_set_busy => Holder::Unseen(refusal.text.clone()),
            refusal => refused(refusal),
        }
    }

    /// Why the last operation of some was refused.
    fn refusal(&self, of: impl Fn(&Operation) -> bool) -> Option<&Refusal> {
        let mut refused = self.refused.iter().rev();
        let found = refused.find(|(operation, _)| of(operation));
        found.map(|(_, refusal)| refusal)
    }
}

fn refused(refusal: Option<&Refusal>) -> Holder {
    let text = refusal.map(|refusal| refusal.text.clone());
    // Nobody refused it: others make it anew.
    Holder::Refused(text.unwrap_or_else(|| "it was made again meanwhile".to_owned()))
}
