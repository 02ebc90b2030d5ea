//! Operations as they are printed.

use std::fmt;

use ipvs_codec::{Destination, Family, Service};
use ipvs_netfilter::iptables::Removal;

use super::clean_up::nft_family;
use super::operation::Operation;

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = |f: &mut fmt::Formatter<'_>, verb, service: &Service| {
            write!(
                f,
                "{verb} virtual server {} scheduler {}",
                service.key, service.scheduler
            )?;
            match service.timeout {
                0 => Ok(()),
                seconds => write!(f, " persistent {seconds} s"),
            }
        };
        let real_server = |f: &mut fmt::Formatter<'_>, verb, virtual_server, rs: &Destination| {
            write!(
                f,
                "{verb} real server {virtual_server} -> {} weight {} {}",
                rs.addr, rs.weight, rs.forward
            )
        };
        match self {
            Self::EnsureLink { up: false } => f.write_str("ensure dummy interface"),
            Self::EnsureLink { up: true } => f.write_str("ensure dummy interface, up"),
            Self::CreateSet { spec, .. } => write!(f, "create set {} {}", spec.name, spec.set_type),
            Self::WriteRules {
                family, restore, ..
            } => {
                write!(
                    f,
                    "write {family} rules ({} lines)",
                    restore.lines().count()
                )
            }
            Self::ReleaseSets { family, .. } => {
                write!(f, "write {family} rules without sets that cannot be used")
            }
            Self::AddMember { member } => write!(f, "add member {member}"),
            Self::AddVirtualServer { service } => settings(f, "add", service),
            Self::SetVirtualServer { service } => settings(f, "set", service),
            Self::AddRealServer {
                virtual_server,
                real_server: rs,
            } => real_server(f, "add", virtual_server, rs),
            Self::SetRealServer {
                virtual_server,
                real_server: rs,
            } => real_server(f, "set", virtual_server, rs),
            Self::DrainRealServer {
                virtual_server,
                real_server: rs,
            } => real_server(f, "drain", virtual_server, rs),
            Self::BindVip { vip } => write!(f, "bind VIP {vip}"),
            Self::RemoveRealServer {
                virtual_server,
                address,
            } => {
                write!(f, "remove real server {virtual_server} -> {address}")
            }
            Self::RemoveVirtualServer { virtual_server } => {
                write!(f, "remove virtual server {virtual_server}")
            }
            Self::UnbindVip { vip } => write!(f, "unbind VIP {vip}"),
            Self::RemoveMember { member } => write!(f, "remove member {member}"),
            Self::FlushVirtualServers => f.write_str("remove all virtual servers"),
            Self::RemoveRules {
                family, removal, ..
            } => write_removal(f, *family, removal),
            Self::RemoveNftablesTable { family } => {
                write!(
                    f,
                    "remove nftables table {} kube-proxy",
                    nft_family(*family)
                )
            }
            Self::DestroySet {
                spec,
                because: None,
                ..
            } => write!(f, "destroy set {}", spec.name),
            Self::DestroySet {
                spec,
                because: Some(unusable),
                ..
            } => write!(f, "destroy set {}: {unusable}", spec.name),
            Self::DeleteLink => f.write_str("delete dummy interface"),
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
