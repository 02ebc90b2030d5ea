//! When an operation's turn comes.

use serde::Serialize;

use super::operation::Operation;

/// Where an operation stands in a plan, so that no client ever sees a half-made service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Sets that cannot be used: rules off them, then they themselves. They are made anew with the skeleton.
    Healing,
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
}

/// What is tried before it is known what became of the stage before: within a stage nothing stands on anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Sets that cannot be used out: those that take their place come next.
    Healing,
    /// Link, sets, rules and entries, which guard what follows.
    Guards,
    /// Virtual servers and addresses, in and out.
    Guarded,
    /// Entries and rules that nothing needs any more.
    Unguarded,
}

impl Phase {
    pub(super) const fn stage(self) -> Stage {
        match self {
            Self::Healing => Stage::Healing,
            Self::Skeleton | Self::MembersIn => Stage::Guards,
            Self::ServersIn
            | Self::VipsIn
            | Self::RealServersOut
            | Self::VirtualServersOut
            | Self::VipsOut => Stage::Guarded,
            Self::MembersOut | Self::RulesOut => Stage::Unguarded,
        }
    }
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
            Self::ReleaseSets { .. } | Self::DestroySet { .. } => Phase::Healing,
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
        }
    }
}
