//! Which filter a node has.

use ipvs_codec::Family;
use ipvs_netlink::IpSets;
use tracing::{info, warn};

use super::filter::Filter;
use super::iptables::{Iptables, IptablesBackend};
use super::iptables_filter::IptablesFilter;
use super::nft_filter::NftFilter;
use crate::control::Control;
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

/// Finds the one to use, and which of the families it can program.
pub(super) fn detect(
    backend: FilterBackend,
    families: &[Family],
    control: &Control,
) -> Result<Box<dyn Filter>, PlaneError> {
    match backend {
        FilterBackend::Iptables(backend) => iptables(backend, families, control),
        FilterBackend::Nftables => nftables(families),
        FilterBackend::Auto => {
            let found = iptables(IptablesBackend::Auto, families, control).and_then(|found| {
                // A kernel without it says so when it is first asked.
                IpSets::open()?.set_lists()?;
                Ok(found)
            });
            let error = match found {
                Ok(found) if found.families().len() < families.len() => {
                    return Ok(match nftables(families) {
                        Ok(other) if other.families().len() > found.families().len() => other,
                        _ => found,
                    });
                }
                Ok(found) => return Ok(found),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => error,
            };
            match nftables(families) {
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

fn iptables(
    backend: IptablesBackend,
    families: &[Family],
    control: &Control,
) -> Result<Box<dyn Filter>, PlaneError> {
    let iptables = Iptables::detect(backend, families, control)?;
    Ok(Box::new(IptablesFilter::open(iptables)?))
}

fn nftables(families: &[Family]) -> Result<Box<dyn Filter>, PlaneError> {
    Ok(Box::new(NftFilter::open(families)?))
}
