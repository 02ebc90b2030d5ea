//! Operations as they are printed.

use std::fmt;

use ipvs_codec::{Destination, Service};

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
            Self::CreateSet { set, family } => write!(f, "create set {set} ({family})"),
            Self::WriteRules { family, .. } => write!(f, "write {family} rules"),
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
            Self::DestroySet {
                set,
                family,
                because,
            } => write!(f, "destroy set {set} ({family}): {because}"),
        }
    }
}
