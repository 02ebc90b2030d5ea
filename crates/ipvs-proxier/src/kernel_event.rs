//! What others change in the kernel, and how it comes out.

use std::collections::BTreeMap;
use std::fmt;

use ipvs_codec::Family;
use ipvs_model::FilterSet;

use crate::reading::Section;

/// Something that others may have changed in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelEvent {
    /// What must be read again.
    pub what: Concern,
    /// How that came out.
    pub cause: DriftCause,
    /// Who did it, if the kernel says it.
    pub by: Option<ChangedBy>,
}

/// What a [`KernelEvent`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Concern {
    /// A section of what the proxier makes.
    Section(Section),
    /// The addresses or gateways of the node.
    Node,
}

/// How it came out that others changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriftCause {
    /// The kernel told of it.
    Notification,
    /// The kernel told of something, and it was lost.
    Lost,
    /// A canary was gone: the kernel does not tell of it, and was asked.
    Canary,
    /// Everything was read.
    Resync,
}

impl DriftCause {
    /// Its name, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Lost => "lost",
            Self::Canary => "canary",
            Self::Resync => "resync",
        }
    }
}

/// A program that changed something in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedBy {
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
    /// The number of its process.
    pub process: u32,
}

impl fmt::Display for ChangedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (process {})",
            self.name.escape_default(),
            self.process
        )
    }
}

/// Cheap signs of what is in the kernel, for what it notifies nobody of: a number that changes when others change something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signs {
    /// The sets of our names that are there; none where they were not asked for.
    pub sets: Option<BTreeMap<(FilterSet, Family), SetSign>>,
    /// A number that grows by one with each virtual server, of whomever.
    pub virtual_servers: Option<u64>,
    /// A number that changes when rules come or go.
    pub rules: Option<u64>,
}

/// What the kernel counts of a set, as far as it says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetSign {
    /// Its entries.
    pub entries: Option<u32>,
    /// Rules that refer to it.
    pub references: Option<u32>,
}
