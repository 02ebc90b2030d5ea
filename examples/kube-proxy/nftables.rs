//! What kube-proxy's nftables mode leaves behind is removed at start: it would go on sending traffic its own way.

use ipvs_proxier::{Control, NftablesMode};
use tracing::{debug, info, warn};

/// Removes it. As good as it goes: a machine without the program `nft` has hardly had that mode.
pub(crate) fn remove_leftovers(control: &Control) {
    let families = NftablesMode::find(control).unwrap_or_else(|error| {
        debug!("no look at nftables: {error}");
        Default::default()
    });
    for family in families {
        match NftablesMode::remove(family, control) {
            Ok(()) => info!(%family, "removed the table of nftables mode"),
            Err(error) => warn!(%family, %error, "the table of nftables mode stays"),
        }
    }
}
