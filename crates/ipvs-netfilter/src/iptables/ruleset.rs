use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::Rule;

/// A table of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Table {
    /// `nat`.
    Nat,
    /// `filter`.
    Filter,
}

impl Table {
    /// The tables in the order in which they are restored.
    pub const ALL: [Self; 2] = [Self::Nat, Self::Filter];

    /// The name of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// The rules of one table.
    #[must_use]
    pub const fn table(&self, table: Table) -> &TableRules {
        match table {
            Table::Nat => &self.nat,
            Table::Filter => &self.filter,
        }
    }

    /// Whether `saved` holds every chain with exactly its rules, and every jump.
    #[must_use]
    pub fn is_in(&self, saved: &SavedRules) -> bool {
        Table::ALL.iter().all(|table| {
            let rules = self.table(*table);
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
        for table in Table::ALL {
            let rules = self.table(table);
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

    /// The input of `iptables-restore --noflush` that removes our jumps and chains as far as `saved` holds them;
    /// `None` when there are none. Foreign rules stay as they are.
    #[must_use]
    pub fn removal_text(&self, saved: &SavedRules) -> Option<String> {
        let mut text = String::new();
        for table in Table::ALL {
            let rules = self.table(table);
            let chains: Vec<_> = rules
                .chains
                .iter()
                .map(|(chain, _)| chain)
                .filter(|chain| saved.rules(table, chain).is_some())
                .collect();
            if chains.is_empty() {
                continue;
            }
            let _ = writeln!(text, "*{table}");
            for chain in &chains {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for (chain, rule) in &rules.jumps {
                if saved.has(table, chain, rule) {
                    let _ = writeln!(text, "-D {chain} {rule}");
                }
            }
            for chain in chains {
                let _ = writeln!(text, "-X {chain}");
            }
            text.push_str("COMMIT\n");
        }
        (!text.is_empty()).then_some(text)
    }
}

/// What `iptables-save` printed for some tables.
///
/// ```
/// use ipvs_netfilter::iptables::{Rule, SavedRules, Table};
/// let saved = SavedRules::parse("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n");
/// assert!(saved.has(Table::Nat, "OUTPUT", &Rule::new().jump("KUBE-SERVICES")));
/// assert_eq!(saved.rules(Table::Filter, "OUTPUT"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedRules {
    chains: BTreeMap<Table, BTreeMap<String, Vec<Rule>>>,
}

impl SavedRules {
    /// Reads the output of `iptables-save`; tables other than `nat` and `filter`, comments and counters are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            let line = line.trim_start();
            if let Some(name) = line.strip_prefix('*') {
                table = Table::ALL
                    .into_iter()
                    .find(|table| table.name() == name.trim());
            }
            let Some(table) = table else { continue };
            let chains = saved.chains.entry(table).or_default();
            if let Some(chain) = line
                .strip_prefix(':')
                .and_then(|line| line.split(' ').next())
            {
                chains.entry(chain.to_owned()).or_default();
            }
            // with counters: `[1:60] -A CHAIN …`
            let rule = line
                .find("-A ")
                .filter(|at| *at == 0 || line.starts_with('['))
                .and_then(|at| line.get(at..));
            if let Some((chain, rule)) =
                rule.and_then(|rule| rule.strip_prefix("-A ")?.split_once(' '))
            {
                let rules = chains.entry(chain.to_owned()).or_default();
                rules.push(Rule::from_saved(rule));
            }
        }
        saved
    }

    /// What is there after [`Ruleset::restore_text`] was restored.
    pub fn restored(&mut self, rules: &Ruleset) {
        for table in Table::ALL {
            let ours = rules.table(table);
            let chains = self.chains.entry(table).or_default();
            for (chain, rule) in &ours.jumps {
                let present = chains.entry(chain.clone()).or_default();
                if !present.contains(rule) {
                    present.insert(0, rule.clone());
                }
            }
            for (chain, rules) in &ours.chains {
                chains.insert(chain.clone(), rules.clone());
            }
        }
    }

    /// The rules of a chain, `None` if there is no such chain.
    #[must_use]
    pub fn rules(&self, table: Table, chain: &str) -> Option<&[Rule]> {
        self.chains.get(&table)?.get(chain).map(Vec::as_slice)
    }

    /// Whether a chain holds a rule.
    #[must_use]
    pub fn has(&self, table: Table, chain: &str, rule: &Rule) -> bool {
        self.rules(table, chain)
            .is_some_and(|rules| rules.contains(rule))
    }

    /// Whether any chain's name starts with `prefix`.
    #[must_use]
    pub fn has_chains(&self, prefix: &str) -> bool {
        let mut names = self.chains.values().flat_map(BTreeMap::keys);
        names.any(|chain| chain.starts_with(prefix))
    }
}
