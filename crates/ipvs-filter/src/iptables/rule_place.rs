//! A rule and where it is, as it is named to users.

use std::fmt;

use ipvs_codec::Family;
use ipvs_netfilter::iptables::{Rule, SavedRules, Table};
use serde::{Serialize, Serializer};

/// Where a rule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePlace {
    /// Its family.
    pub family: Family,
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            table,
            chain,
            rule,
        } = self;
        write!(f, "rule `-A {chain} {rule}` of table {table} ({family})")
    }
}

impl Serialize for RulePlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl RulePlace {
    /// The first rule that names a set. O(rules).
    #[must_use]
    pub(crate) fn that_names(set: &str, family: Family, saved: &SavedRules) -> Option<Self> {
        let mut rules = saved.all_rules();
        let (table, chain, rule) = rules.find(|(_, _, rule)| rule.names_set(set))?;
        Some(Self {
            family,
            table,
            chain: chain.to_owned(),
            rule: rule.clone(),
        })
    }
}
