//! What kube-proxy's nftables mode leaves: two tables, which would go on sending traffic their own way.

use std::collections::BTreeSet;

use ipvs_codec::Family;

use super::program::{failed, is_installed, run};
use crate::control::Control;
use crate::error::PlaneError;

const NFT: &str = "nft";
const TABLE: &str = "kube-proxy";

/// The tables of kube-proxy's nftables mode, looked for and removed by the program `nft`.
///
/// ```no_run
/// use ipvs_proxier::{Control, NftablesMode};
///
/// let control = Control::new();
/// for family in NftablesMode::find(&control)? {
///     NftablesMode::remove(family, &control)?;
/// }
/// # Ok::<(), ipvs_proxier::PlaneError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NftablesMode;

impl NftablesMode {
    /// Families that have such a table. One process.
    ///
    /// # Errors
    /// [`PlaneError::Program`] when there is no `nft` or it fails, for example since the kernel has no nftables.
    pub fn find(control: &Control) -> Result<BTreeSet<Family>, PlaneError> {
        if !is_installed(NFT) {
            return Err(failed(NFT, "it is not installed".to_owned()));
        }
        Ok(tables(&run(NFT, &["list", "tables"], "", control)?))
    }

    /// Removes the table of a family. One process.
    ///
    /// # Errors
    /// [`PlaneError::Program`] in the words of `nft`.
    pub fn remove(family: Family, control: &Control) -> Result<(), PlaneError> {
        let words = ["delete", "table", word(family), TABLE];
        run(NFT, &words, "", control).map(|_| ())
    }
}

/// How nftables calls a family.
const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

fn tables(listed: &str) -> BTreeSet<Family> {
    let is_there = |family: &Family| {
        let wanted = ["table", word(*family), TABLE];
        let mut lines = listed.lines();
        lines.any(|line| line.split_whitespace().eq(wanted))
    };
    Family::ALL.into_iter().filter(is_there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_of_kube_proxy_are_left_over() {
        let text = "table inet filter\ntable ip6 kube-proxy\ntable ip kube-proxy-ours\n";
        assert_eq!(tables(text), BTreeSet::from([Family::Ipv6]));
        assert!(tables("").is_empty());
    }
}
