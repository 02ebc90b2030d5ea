//! Operations in the order in which they are applied.

use std::fmt;
use std::net::SocketAddr;

use ipvs_codec::{Destination, Family, Service, ServiceKey};
use ipvs_netfilter::ipset::SetSpec;
use ipvs_netfilter::iptables::Ruleset;
use serde::Serialize;

use crate::desired::Key;
use crate::sets::{KubeSet, Member};
use crate::state::Vip;

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// Make the dummy link, and set it up if `up`.
    EnsureLink {
        /// Routes need it up; addresses do not, and kube-proxy leaves it down.
        up: bool,
    },
    /// Create a set.
    CreateSet {
        /// Which set.
        #[serde(skip)]
        set: KubeSet,
        /// Of which family.
        #[serde(skip)]
        family: Family,
        /// Name and type.
        #[serde(flatten)]
        spec: SetSpec,
    },
    /// Write the rule skeleton of a family.
    WriteRules {
        /// Of which family.
        family: Family,
        /// What will be there.
        #[serde(skip)]
        rules: Box<Ruleset>,
        /// Input of `iptables-restore --noflush`.
        restore: String,
        /// Whether it takes rules away that what leaves still needs.
        last: bool,
    },
    /// Add an entry to a set.
    AddMember {
        /// Set and entry.
        #[serde(flatten)]
        member: Member,
    },
    /// Make a virtual server.
    AddVirtualServer {
        /// With its settings.
        #[serde(flatten)]
        service: Service,
    },
    /// Change the settings of a virtual server; connections stay.
    SetVirtualServer {
        /// With its settings.
        #[serde(flatten)]
        service: Service,
    },
    /// Make a real server.
    AddRealServer {
        /// Where.
        virtual_server: ServiceKey,
        /// With its settings.
        real_server: Destination,
    },
    /// Change the settings of a real server; connections stay.
    SetRealServer {
        /// Where.
        virtual_server: ServiceKey,
        /// With its settings.
        real_server: Destination,
    },
    /// Bind a virtual address.
    BindVip {
        /// Which, and how.
        #[serde(flatten)]
        vip: Vip,
    },
    /// Quiesce a real server that leaves; it is removed when its connections are gone.
    DrainRealServer {
        /// Where.
        virtual_server: ServiceKey,
        /// With weight 0.
        real_server: Destination,
    },
    /// Remove a real server.
    RemoveRealServer {
        /// Where.
        virtual_server: ServiceKey,
        /// Which.
        address: SocketAddr,
    },
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
    /// Remove an entry from a set.
    RemoveMember {
        /// Set and entry.
        #[serde(flatten)]
        member: Member,
    },
    /// Remove every virtual server of the network namespace, foreign ones too (clean-up only).
    FlushVirtualServers,
    /// Remove our chains and the jumps to them (clean-up only).
    RemoveRules {
        /// Of which family.
        family: Family,
        /// Input of `iptables-restore --noflush`.
        restore: String,
    },
    /// Destroy a set (clean-up only).
    DestroySet {
        /// Which set.
        #[serde(skip)]
        set: KubeSet,
        /// Of which family.
        #[serde(skip)]
        family: Family,
        /// Name and type.
        #[serde(flatten)]
        spec: SetSpec,
    },
    /// Delete the dummy link with its addresses and routes (clean-up only).
    DeleteLink,
}

/// Where an operation stands in a plan, so that no client ever sees a half-made service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Link, sets, rule skeleton.
    Skeleton,
    /// Members in.
    MembersIn,
    /// Virtual servers and real servers in.
    ServersIn,
    /// VIPs bound.
    VipsIn,
    /// Real servers drained or removed.
    RealServersOut,
    /// Virtual servers removed.
    VirtualServersOut,
    /// VIPs unbound.
    VipsOut,
    /// Members out.
    MembersOut,
    /// Rules out.
    RulesOut,
    /// Everything out (clean-up only).
    CleanUp,
}

impl Operation {
    /// Where the operation stands in a plan.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::WriteRules { last: true, .. } => Phase::RulesOut,
            Self::EnsureLink { .. } | Self::CreateSet { .. } | Self::WriteRules { .. } => {
                Phase::Skeleton
            }
            Self::AddMember { .. } => Phase::MembersIn,
            Self::AddVirtualServer { .. }
            | Self::SetVirtualServer { .. }
            | Self::AddRealServer { .. }
            | Self::SetRealServer { .. } => Phase::ServersIn,
            Self::BindVip { .. } => Phase::VipsIn,
            Self::DrainRealServer { .. } | Self::RemoveRealServer { .. } => Phase::RealServersOut,
            Self::RemoveVirtualServer { .. } => Phase::VirtualServersOut,
            Self::UnbindVip { .. } => Phase::VipsOut,
            Self::RemoveMember { .. } => Phase::MembersOut,
            Self::FlushVirtualServers
            | Self::RemoveRules { .. }
            | Self::DestroySet { .. }
            | Self::DeleteLink => Phase::CleanUp,
        }
    }
}

impl Operation {
    /// Its name, as in its JSON.
    ///
    /// ```
    /// assert_eq!(ipvs_model::Operation::DeleteLink.kind(), "delete-link");
    /// ```
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::EnsureLink { .. } => "ensure-link",
            Self::CreateSet { .. } => "create-set",
            Self::WriteRules { .. } => "write-rules",
            Self::AddMember { .. } => "add-member",
            Self::AddVirtualServer { .. } => "add-virtual-server",
            Self::SetVirtualServer { .. } => "set-virtual-server",
            Self::AddRealServer { .. } => "add-real-server",
            Self::SetRealServer { .. } => "set-real-server",
            Self::BindVip { .. } => "bind-vip",
            Self::DrainRealServer { .. } => "drain-real-server",
            Self::RemoveRealServer { .. } => "remove-real-server",
            Self::RemoveVirtualServer { .. } => "remove-virtual-server",
            Self::UnbindVip { .. } => "unbind-vip",
            Self::RemoveMember { .. } => "remove-member",
            Self::FlushVirtualServers => "flush-virtual-servers",
            Self::RemoveRules { .. } => "remove-rules",
            Self::DestroySet { .. } => "destroy-set",
            Self::DeleteLink => "delete-link",
        }
    }

    /// What it concerns, as it is planned; none for link and sets, which every plan looks at.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        Some(match self {
            Self::EnsureLink { .. }
            | Self::DeleteLink
            | Self::FlushVirtualServers
            | Self::CreateSet { .. }
            | Self::DestroySet { .. } => return None,
            Self::WriteRules { family, .. } | Self::RemoveRules { family, .. } => {
                Key::Rules(*family)
            }
            Self::AddMember { member } | Self::RemoveMember { member } => Key::Member(*member),
            Self::AddVirtualServer { service } | Self::SetVirtualServer { service } => {
                Key::VirtualServer(service.key)
            }
            Self::AddRealServer { virtual_server, .. }
            | Self::SetRealServer { virtual_server, .. }
            | Self::DrainRealServer { virtual_server, .. }
            | Self::RemoveRealServer { virtual_server, .. }
            | Self::RemoveVirtualServer { virtual_server } => Key::VirtualServer(*virtual_server),
            Self::BindVip { vip } | Self::UnbindVip { vip } => Key::Vip(vip.address()),
        })
    }

    /// The family of what an operation concerns; none for the link, which serves both.
    #[must_use]
    pub const fn family(&self) -> Option<Family> {
        Some(match self {
            Self::EnsureLink { .. } | Self::DeleteLink | Self::FlushVirtualServers => return None,
            Self::CreateSet { family, .. }
            | Self::DestroySet { family, .. }
            | Self::WriteRules { family, .. }
            | Self::RemoveRules { family, .. } => *family,
            Self::AddMember { member } | Self::RemoveMember { member } => member.family,
            Self::AddVirtualServer { service } | Self::SetVirtualServer { service } => {
                service.key.family()
            }
            Self::AddRealServer { virtual_server, .. }
            | Self::SetRealServer { virtual_server, .. }
            | Self::DrainRealServer { virtual_server, .. }
            | Self::RemoveRealServer { virtual_server, .. }
            | Self::RemoveVirtualServer { virtual_server } => virtual_server.family(),
            Self::BindVip { vip } | Self::UnbindVip { vip } => Family::of(vip.address()),
        })
    }
}

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
            Self::EnsureLink { up: false } => f.write_str("ensure dummy link"),
            Self::EnsureLink { up: true } => f.write_str("ensure dummy link, up"),
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
            Self::RemoveRules { family, .. } => write!(f, "remove {family} rules"),
            Self::DestroySet { spec, .. } => write!(f, "destroy set {}", spec.name),
            Self::DeleteLink => f.write_str("delete dummy link"),
        }
    }
}

/// Ordered operations that bring the kernel from what is known to what is desired. Plain data.
///
/// Its text has one line for each operation; its JSON is a list of objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Plan {
    /// In the order in which they are applied.
    pub operations: Vec<Operation>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.operations.len()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations
            .iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))
    }
}
