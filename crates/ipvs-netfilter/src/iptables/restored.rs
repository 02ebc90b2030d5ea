//! What `iptables-save` would print after `iptables-restore`, without a look at the kernel.

use super::{Removal, Ruleset, SavedRules, Table};

impl SavedRules {
    /// What is there after [`Ruleset::restore_text`] was restored.
    pub fn restored(&mut self, rules: &Ruleset) {
        for (table, ours) in [(Table::Nat, &rules.nat), (Table::Filter, &rules.filter)] {
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

    /// What is there after a [`Removal`] was restored.
    pub fn removed(&mut self, removal: &Removal) {
        let Some(chains) = self.chains.get_mut(&removal.table) else {
            return;
        };
        for (chain, rule) in &removal.rules {
            if let Some(rules) = chains.get_mut(chain)
                && let Some(at) = rules.iter().position(|known| known == rule)
            {
                rules.remove(at);
            }
        }
        for chain in &removal.flushed {
            chains.insert(chain.clone(), Vec::new());
        }
        for chain in &removal.deleted {
            chains.remove(chain);
        }
    }
}
