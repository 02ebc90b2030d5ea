//! What can be done to the kernel.

use std::fmt;
use std::net::SocketAddr;

use ipvs_codec::{Destination, Family, Service, ServiceKey};
use serde::Serialize;

use crate::filter::{FilterEntry, FilterSet, FilterShape};
use crate::key::Key;
use crate::state::Vip;

/// Why a set cannot be used, and what keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// How it differs from what it must be.
    pub difference: String,
    /// What of others refers to it, so that it cannot be destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.difference)?;
        match &self.held_by {
            Some(holder) => write!(f, ", and the {holder} refers to it"),
            None => Ok(()),
        }
    }
}

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// Make the dummy interface, and set it up if `up`.
    EnsureLink {
        /// Routes need it up; addresses do not, and kube-proxy leaves it down.
        up: bool,
    },
    /// Create a set.
    CreateSet {
        /// Which set.
        set: FilterSet,
        /// Of which family.
        family: Family,
    },
    /// Write the rules of a family.
    WriteRules {
        /// Of which family.
        family: Family,
        /// What will be there.
        shape: Box<FilterShape>,
        /// Whether it takes rules away that what leaves still needs.
        last: bool,
    },
    /// Write the rules of a family without those that ask for sets which cannot be used, so that these can be destroyed.
    ReleaseSets {
        /// Of which family.
        family: Family,
        /// What will be there.
        shape: Box<FilterShape>,
    },
    /// Add an entry to a set.
    AddMember {
        /// Set and entry.
        #[serde(flatten)]
        member: FilterEntry,
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
        member: FilterEntry,
    },
    /// Destroy a set, of whatever type it is.
    DestroySet {
        /// Which set.
        set: FilterSet,
        /// Of which family.
        family: Family,
        /// Why a set that is needed is destroyed, to be made anew.
        because: Box<Unusable>,
    },
}

impl Operation {
    /// Its name, as in its JSON.
    ///
    /// ```
    /// let operation = ipvs_model::Operation::EnsureLink { up: false };
    /// assert_eq!(operation.kind(), "ensure-link");
    /// ```
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::EnsureLink { .. } => "ensure-link",
            Self::CreateSet { .. } => "create-set",
            Self::WriteRules { .. } => "write-rules",
            Self::ReleaseSets { .. } => "release-sets",
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
            Self::DestroySet { .. } => "destroy-set",
        }
    }

    /// What it concerns, as it is planned; none for link and sets, which every plan looks at.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        Some(match self {
            Self::EnsureLink { .. } | Self::CreateSet { .. } => return None,
            Self::WriteRules { family, .. }
            | Self::ReleaseSets { family, .. }
            // With the rules of a family its sets are looked at that cannot be used.
            | Self::DestroySet { family, .. } => Key::Rules(*family),
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
            Self::EnsureLink { .. } => return None,
            Self::CreateSet { family, .. }
            | Self::DestroySet { family, .. }
            | Self::WriteRules { family, .. }
            | Self::ReleaseSets { family, .. } => *family,
            Self::AddMember { member } | Self::RemoveMember { member } => member.family(),
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
