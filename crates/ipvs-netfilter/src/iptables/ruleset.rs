use std::fmt::Write as _;

use super::{Rule, SavedRules, Table};
use crate::ipset::SetName;

/// Chains that are ours alone, each with all its rules, and rules of other chains that lead into them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TableRules {
    /// Our chains.
    pub chains: Vec<(String, Vec<Rule>)>,
    /// Chain and rule; each is inserted at the head of its chain, in this order, where it is missing.
    pub jumps: Vec<(String, Rule)>,
}

/// The rules of both tables for one address family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Ruleset {
    /// Table `nat`.
    pub nat: TableRules,
    /// Table `filter`.
    pub filter: TableRules,
}

impl Ruleset {
    /// In the order in which they are restored.
    const fn tables(&self) -> [(Table, &TableRules); 2] {
        [(Table::Nat, &self.nat), (Table::Filter, &self.filter)]
    }

    /// Whether `saved` holds every chain with exactly its rules, and every jump.
    #[must_use]
    pub fn is_in(&self, saved: &SavedRules) -> bool {
        self.tables().iter().all(|(table, rules)| {
            rules
                .chains
                .iter()
                .all(|(chain, rules)| saved.rules(*table, chain) == Some(rules))
                && rules
                    .jumps
                    .iter()
                    .all(|(chain, rule)| saved.has(*table, chain, rule))
        })
    }

    /// Keeps what a chain of ours has, and puts its missing rules behind.
    pub fn keep(&mut self, saved: &SavedRules, table: Table, chain: &str) {
        let rules = match table {
            Table::Nat => &mut self.nat,
            Table::Filter => &mut self.filter,
            // None of our chains is there.
            Table::Raw | Table::Mangle | Table::Security => return,
        };
        let kept = saved.rules(table, chain).unwrap_or_default();
        for (_, ours) in rules.chains.iter_mut().filter(|(name, _)| name == chain) {
            ours.retain(|rule| !kept.contains(rule));
            ours.splice(..0, kept.iter().cloned());
        }
    }

    /// The input of `iptables-restore --noflush` that makes it so: our chains rewritten, missing jumps inserted,
    /// everything else untouched.
    #[must_use]
    pub fn restore_text(&self, saved: &SavedRules) -> String {
        let mut text = String::new();
        for (table, rules) in self.tables() {
            let _ = writeln!(text, "*{table}");
            for (chain, _) in &rules.chains {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for (chain, rule) in &rules.jumps {
                if !saved.has(table, chain, rule) {
                    let _ = writeln!(text, "-I {chain} 1 {rule}");
                }
            }
            for (chain, rules) in &rules.chains {
                for rule in rules {
                    let _ = writeln!(text, "-A {chain} {rule}");
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    /// Whether a rule matches a set: it must be there before the rules are written. O(rules).
    #[must_use]
    pub fn names_set(&self, set: &str) -> bool {
        let tables = self.tables().into_iter();
        let mut chains = tables.flat_map(|(_, rules)| &rules.chains);
        chains.any(|(_, rules)| rules.iter().any(|rule| rule.names_set(set)))
    }

    /// The same without the rules that match one of some sets.
    #[must_use]
    pub fn without_sets(mut self, sets: &[SetName]) -> Self {
        for rules in [&mut self.nat, &mut self.filter] {
            for (_, rules) in &mut rules.chains {
                rules.retain(|rule| !sets.iter().any(|set| rule.names_set(set.as_str())));
            }
        }
        self
    }
}
