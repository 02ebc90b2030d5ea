use std::fmt;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{FilterSet, Vip};
use ipvs_netfilter::ipset::SetSpec;
use ipvs_netfilter::iptables::Removal;
use serde::{Serialize, Serializer};

use super::NftablesTable;
use crate::nftables::nft_family;

/// One thing that clean-up removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CleanUpOperation {
    /// Remove every virtual server of the network namespace, foreign ones too.
    FlushVirtualServers,
    /// Remove a virtual server with its real servers.
    RemoveVirtualServer {
        /// Which.
        virtual_server: ServiceKey,
    },
    /// Unbind a virtual address.
    UnbindVip {
        /// Which, and how it was bound.
        #[serde(flatten)]
        vip: Vip,
    },
    /// Delete the dummy interface with its addresses and routes.
    DeleteLink,
    /// Remove rules, and empty or delete chains, of one table.
    RemoveRules {
        /// Of which family.
        family: Family,
        /// Which.
        #[serde(skip)]
        removal: Box<Removal>,
        /// Input of `iptables-restore --noflush`.
        restore: String,
    },
    /// Remove a table of nftables.
    RemoveNftablesTable {
        /// Which.
        #[serde(serialize_with = "name_of")]
        table: NftablesTable,
        /// Of which family.
        family: Family,
    },
    /// Destroy a set, of whatever type it is.
    DestroySet {
        /// Which set.
        #[serde(skip)]
        set: FilterSet,
        /// Of which family.
        #[serde(skip)]
        family: Family,
        /// Name, and the type that it should have.
        #[serde(flatten)]
        spec: SetSpec,
    },
}

fn name_of<S: Serializer>(table: &NftablesTable, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(table.name())
}

impl CleanUpOperation {
    /// Its name, as in its JSON.
    ///
    /// ```
    /// assert_eq!(ipvs_filter::CleanUpOperation::DeleteLink.kind(), "delete-link");
    /// ```
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::FlushVirtualServers => "flush-virtual-servers",
            Self::RemoveVirtualServer { .. } => "remove-virtual-server",
            Self::UnbindVip { .. } => "unbind-vip",
            Self::DeleteLink => "delete-link",
            Self::RemoveRules { .. } => "remove-rules",
            Self::RemoveNftablesTable { .. } => "remove-nftables-table",
            Self::DestroySet { .. } => "destroy-set",
        }
    }
}

impl fmt::Display for CleanUpOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlushVirtualServers => f.write_str("remove all virtual servers"),
            Self::RemoveVirtualServer { virtual_server } => {
                write!(f, "remove virtual server {virtual_server}")
            }
            Self::UnbindVip { vip } => write!(f, "unbind VIP {vip}"),
            Self::DeleteLink => f.write_str("delete dummy interface"),
            Self::RemoveRules {
                family, removal, ..
            } => write_removal(f, *family, removal),
            Self::RemoveNftablesTable { table, family } => {
                let (family, name) = (nft_family(*family), table.name());
                write!(f, "remove nftables table {family} {name}")
            }
            Self::DestroySet { spec, .. } => write!(f, "destroy set {}", spec.name),
        }
    }
}

/// Chains that are named before the rest is only counted: the iptables mode leaves thousands.
const NAMED: usize = 16;

fn write_removal(f: &mut fmt::Formatter<'_>, family: Family, removal: &Removal) -> fmt::Result {
    let table = removal.table;
    if !removal.deleted.is_empty() {
        write!(f, "delete chains of table {table} ({family}): ")?;
        return write_some(f, &removal.deleted);
    }
    write!(
        f,
        "remove {} rules of table {table} ({family}), and empty: ",
        removal.rules.len()
    )?;
    write_some(f, &removal.flushed)
}

fn write_some(f: &mut fmt::Formatter<'_>, chains: &[String]) -> fmt::Result {
    let (named, rest) = chains.split_at_checked(NAMED).unwrap_or((chains, &[]));
    f.write_str(&named.join(", "))?;
    match rest.len() {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
