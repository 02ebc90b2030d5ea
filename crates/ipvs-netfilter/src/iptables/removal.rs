use std::fmt::Write as _;

use super::{Rule, Table};

/// What is taken out of a table; everything else stays as it is. The kernel takes all of it or nothing.
///
/// ```
/// use ipvs_netfilter::iptables::{Removal, Rule, Table};
/// let jump = Rule::new().jump("KUBE-SERVICES");
/// let removal = Removal {
///     rules: vec![("OUTPUT".into(), jump)],
///     flushed: vec!["KUBE-SERVICES".into()],
///     ..Removal::of(Table::Nat)
/// };
/// let text = "*nat\n:KUBE-SERVICES - [0:0]\n-D OUTPUT -j KUBE-SERVICES\nCOMMIT\n";
/// assert_eq!(removal.restore_text(), text);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Out of which table.
    pub table: Table,
    /// Rules, each with its chain. One that is not there makes it fail.
    pub rules: Vec<(String, Rule)>,
    /// Chains that lose all their rules.
    pub flushed: Vec<String>,
    /// Chains that are deleted. One that is not there, has rules, or that a rule refers to makes it fail.
    pub deleted: Vec<String>,
}

impl Removal {
    /// Nothing, out of a table.
    #[must_use]
    pub const fn of(table: Table) -> Self {
        Self {
            table,
            rules: Vec::new(),
            flushed: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Whether nothing is taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.flushed.is_empty() && self.deleted.is_empty()
    }

    /// The input of `iptables-restore --noflush` that does it.
    #[must_use]
    pub fn restore_text(&self) -> String {
        let mut text = format!("*{}\n", self.table);
        for chain in &self.flushed {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for (chain, rule) in &self.rules {
            let _ = writeln!(text, "-D {chain} {rule}");
        }
        for chain in &self.deleted {
            let _ = writeln!(text, "-X {chain}");
        }
        text.push_str("COMMIT\n");
        text
    }
}
