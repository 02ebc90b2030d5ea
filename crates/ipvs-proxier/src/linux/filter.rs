//! The filter of this node: what makes sets, entries and rules in the kernel, and reads them back.

use ipvs_codec::Family;
use ipvs_model::{FilterSet, FilterShape, Known, Operation};
use ipvs_netlink::IpSets;
use tracing::{info, warn};

use super::iptables::{Iptables, IptablesBackend};
use super::iptables_filter::IptablesFilter;
use super::nft_filter::NftFilter;
use crate::control::Control;
use crate::dataplane::{Outcome, Progress};
use crate::error::PlaneError;

/// What the filter of a node is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilterBackend {
    /// iptables where kube-proxy's filter works: its rules can be written, for both families where nftables serves both, and
    /// the kernel has ipset. Else nftables.
    #[default]
    Auto,
    /// kube-proxy's sets of ipset and chains of iptables.
    Iptables(IptablesBackend),
    /// A table of nftables for each family, made by netlink. No program is started.
    Nftables,
}

impl From<IptablesBackend> for FilterBackend {
    fn from(backend: IptablesBackend) -> Self {
        Self::Iptables(backend)
    }
}

/// The one of this node.
#[derive(Debug)]
pub(super) enum Filter {
    Iptables(Box<IptablesFilter>),
    Nftables(NftFilter),
}

impl Filter {
    /// Finds the one to use, and which of the families it can program.
    pub(super) fn detect(
        backend: FilterBackend,
        families: &[Family],
        control: &Control,
    ) -> Result<Self, PlaneError> {
        let iptables = |backend| {
            let iptables = Iptables::detect(backend, families, control)?;
            Ok::<_, PlaneError>(Self::Iptables(Box::new(IptablesFilter::open(iptables)?)))
        };
        let nftables = || Ok::<_, PlaneError>(Self::Nftables(NftFilter::open(families)?));
        match backend {
            FilterBackend::Iptables(backend) => iptables(backend),
            FilterBackend::Nftables => nftables(),
            FilterBackend::Auto => {
                let found = iptables(IptablesBackend::Auto).and_then(|found| {
                    // A kernel without it says so when it is first asked.
                    IpSets::open()?.set_lists()?;
                    Ok(found)
                });
                let error = match found {
                    Ok(found) if found.families().len() < families.len() => {
                        let serves_more =
                            |other: &Self| other.families().len() > found.families().len();
                        return Ok(nftables().ok().filter(serves_more).unwrap_or(found));
                    }
                    Ok(found) => return Ok(found),
                    Err(error) if error.is_passing() => return Err(error),
                    Err(error) => error,
                };
                match nftables() {
                    Ok(filter) => {
                        info!(reason = %error, "nftables is used: iptables and ipset do not work here");
                        Ok(filter)
                    }
                    Err(of_nftables) => {
                        warn!(error = %of_nftables, "nftables does not work here either");
                        Err(error)
                    }
                }
            }
        }
    }

    /// The families whose filter can be programmed.
    pub(super) fn families(&self) -> &[Family] {
        match self {
            Self::Iptables(filter) => filter.iptables.families(),
            Self::Nftables(filter) => filter.families(),
        }
    }

    /// Whether ports of masqueraded connections can be taken at random.
    pub(super) const fn random_fully(&self) -> bool {
        match self {
            Self::Iptables(filter) => filter.iptables.random_fully(),
            Self::Nftables(_) => true,
        }
    }

    /// Whether it is iptables-legacy, of whose rules the kernel tells nothing.
    pub(super) const fn is_legacy(&self) -> bool {
        match self {
            Self::Iptables(filter) => filter.iptables.is_legacy(),
            Self::Nftables(_) => false,
        }
    }

    /// The netlink port of the socket that changes it, where that is one.
    pub(super) fn port(&self) -> Option<u32> {
        match self {
            Self::Iptables(_) => None,
            Self::Nftables(filter) => Some(filter.port()),
        }
    }

    /// The ipsets, where it has some.
    pub(super) const fn ipsets(&mut self) -> Option<&mut IpSets> {
        match self {
            Self::Iptables(filter) => Some(&mut filter.sets),
            Self::Nftables(_) => None,
        }
    }

    /// What is read next is urgent.
    pub(super) fn hurry(&mut self) {
        if let Self::Iptables(filter) = self {
            filter.iptables.hurry();
        }
    }

    /// What was read halfway of sets is forgotten.
    pub(super) fn restart_sets(&mut self) {
        if let Self::Iptables(filter) = self {
            filter.restart_sets();
        }
    }

    /// Rules that were read halfway are forgotten.
    pub(super) fn restart_rules(&mut self) {
        if let Self::Iptables(filter) = self {
            filter.restart_rules();
        }
    }

    pub(super) fn create_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError> {
        match self {
            Self::Iptables(filter) => filter.create_set(set, family),
            Self::Nftables(filter) => filter.create_set(set, family),
        }
    }

    pub(super) fn destroy_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError> {
        match self {
            Self::Iptables(filter) => filter.destroy_set(set, family),
            Self::Nftables(filter) => filter.destroy_set(set, family),
        }
    }

    pub(super) fn write(
        &mut self,
        shape: &FilterShape,
        control: &Control,
    ) -> Result<(), PlaneError> {
        match self {
            Self::Iptables(filter) => filter.write(shape, control),
            Self::Nftables(filter) => filter.write(shape),
        }
    }

    /// Adds and removes entries: one outcome for each, in order.
    pub(super) fn apply(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>) {
        match self {
            Self::Iptables(filter) => filter.apply(operations, outcomes),
            Self::Nftables(filter) => filter.apply(operations, outcomes),
        }
    }

    pub(super) fn read_set(
        &mut self,
        set: FilterSet,
        family: Family,
        known: &mut Known,
    ) -> Result<Progress, PlaneError> {
        match self {
            Self::Iptables(filter) => filter.read_set(set, family, known),
            Self::Nftables(filter) => filter.read_set(set, family, known),
        }
    }

    pub(super) fn read_rules(
        &mut self,
        family: Family,
        known: &mut Known,
        control: &Control,
    ) -> Result<Progress, PlaneError> {
        match self {
            Self::Iptables(filter) => filter.read_rules(family, known, control),
            Self::Nftables(filter) => filter.read_rules(family, known),
        }
    }
}
