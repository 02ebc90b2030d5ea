use std::collections::BTreeMap;

use super::{Rule, Table};

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
    pub(super) chains: BTreeMap<Table, BTreeMap<String, Vec<Rule>>>,
}

impl SavedRules {
    /// Reads the output of `iptables-save`; comments and counters are left out.
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

    /// Every chain with its rules.
    pub fn chains(&self) -> impl Iterator<Item = (Table, &str, &[Rule])> {
        self.chains.iter().flat_map(|(table, chains)| {
            chains
                .iter()
                .map(|(chain, rules)| (*table, chain.as_str(), rules.as_slice()))
        })
    }

    /// Every rule, with its table and chain.
    pub fn all_rules(&self) -> impl Iterator<Item = (Table, &str, &Rule)> {
        self.chains()
            .flat_map(|(table, chain, rules)| rules.iter().map(move |rule| (table, chain, rule)))
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
