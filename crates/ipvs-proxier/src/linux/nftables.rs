//! Tables of nftables that clean-up removes: our own, and those of kube-proxy's nftables mode, which would go on sending
//! traffic their own way.

use ipvs_codec::Family;
use ipvs_filter::nftables::{filter_entry, is_ours, nft_family, set, table};
use ipvs_filter::{NftablesTable, Remains, Unreadable};
use ipvs_model::FilterSet;
use ipvs_netfilter::nftables::{self, Change, FixedName, TableId};
use ipvs_netlink::{NfTables, Transaction};

use super::nft_filter::plane_error;
use crate::error::PlaneError;

const KUBE_PROXY: FixedName = FixedName::new(NftablesTable::KubeProxy.name());

/// A kernel without nf_tables: `EINVAL`, `EPROTONOSUPPORT`, `EOPNOTSUPP`, `EAFNOSUPPORT`.
const MISSING: [i32; 4] = [22, 93, 95, 97];

/// Those that are there, and what stands in the sets of ours.
pub(super) fn find(found: &mut Remains) -> Result<(), Unreadable> {
    look(found).map_err(|error| match error.cause().errno() {
        Some(errno) if MISSING.contains(&errno) => Unreadable::Absent(error.to_string()),
        _ => Unreadable::Failed(error.to_string()),
    })
}

fn look(found: &mut Remains) -> Result<(), ipvs_netlink::Error> {
    let mut tables = NfTables::open()?;
    let listed = tables.tables(nftables::Family::ANY)?;
    for family in Family::ALL {
        for listed in &listed {
            let id = &listed.object.id;
            if *id == table_id(NftablesTable::KubeProxy, family) {
                found.nftables.insert((NftablesTable::KubeProxy, family));
            } else if *id == table(family).id && is_ours(&listed.object) {
                found.nftables.insert((NftablesTable::Ours, family));
                read_entries(&mut tables, family, found)?;
            }
        }
    }
    Ok(())
}

fn read_entries(
    tables: &mut NfTables,
    family: Family,
    found: &mut Remains,
) -> Result<(), ipvs_netlink::Error> {
    for kind in FilterSet::ALL {
        if let Some(entries) = tables.entries(&set(kind, family).id)? {
            let entries = entries.iter();
            let entries = entries.filter_map(|entry| filter_entry(kind, family, entry));
            found.entries.insert((kind, family), entries.collect());
        }
    }
    Ok(())
}

/// With all that is in it.
pub(super) fn remove(table: NftablesTable, family: Family) -> Result<(), PlaneError> {
    let id = table_id(table, family);
    let transaction = Transaction::new(vec![Change::DeleteTable(&id)]);
    NfTables::open()?
        .transact(&transaction)
        .map_err(plane_error)
}

fn table_id(which: NftablesTable, family: Family) -> TableId {
    match which {
        NftablesTable::Ours => table(family).id,
        NftablesTable::KubeProxy => TableId {
            family: nft_family(family),
            name: KUBE_PROXY.into(),
        },
    }
}
