//! Tables of nftables: which of them may go, and what holds the others.

use ipvs_codec::Family;
use ipvs_model::Foreign;

use super::CleanUp;
use super::left::Holder;
use super::operation::CleanUpOperation;
use super::remains::{CleanUpPart, NftablesTable};
use super::report::refused;

impl CleanUp {
    pub(super) fn table_removals(&self) -> Vec<CleanUpOperation> {
        let mut tables: Vec<_> = self.remains.nftables.iter().copied().collect();
        tables.retain(|(table, family)| self.holder_of_table(*table, *family).is_none());
        let remove = |(table, family)| CleanUpOperation::RemoveNftablesTable { table, family };
        tables.into_iter().map(remove).collect()
    }

    /// What keeps a table. Ours guards the ports of the host, and is the ledger of what is ours.
    fn holder_of_table(&self, table: NftablesTable, family: Family) -> Option<Holder> {
        if table == NftablesTable::KubeProxy {
            return None;
        }
        if let Some(address) = self.guarded(family) {
            return Some(Holder::Guards(address));
        }
        if self.config.foreign == Foreign::Remove || self.kept.is_some() {
            return None;
        }
        let parts = [CleanUpPart::VirtualServers, CleanUpPart::Link].into_iter();
        let mut unread = parts.filter(|part| self.has_failed(*part));
        let unread = unread.next().map(Holder::Unread);
        unread.or_else(|| {
            let mut servers = self.virtual_servers();
            let left = servers.find(|key| key.family() == family);
            left.map(Holder::Lists)
        })
    }

    pub(super) fn what_holds_table(&self, table: NftablesTable, family: Family) -> Holder {
        if let Some(holder) = self.holder_of_table(table, family) {
            return holder;
        }
        let removes = |operation: &CleanUpOperation| {
            *operation == CleanUpOperation::RemoveNftablesTable { table, family }
        };
        refused(self.refusal(removes))
    }
}
