//! What kube-proxy's nftables mode leaves behind: two tables, which would go on sending traffic their own way.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tracing::{debug, info, warn};

const TABLES: [[&str; 2]; 2] = [["ip", "kube-proxy"], ["ip6", "kube-proxy"]];

/// Removes them. As good as it goes: a machine without the program `nft` has hardly had that mode.
pub(crate) fn remove_leftovers(dry_run: bool) {
    let found = match nft(&["list", "tables"]) {
        Ok(text) => leftovers(&text),
        Err(error) => {
            debug!("no look at nftables: {error:#}");
            return;
        }
    };
    for [family, table] in found {
        if dry_run {
            info!("would remove the table {family} {table} of nftables mode");
            continue;
        }
        match nft(&["delete", "table", family, table]) {
            Ok(_) => info!("removed the table {family} {table} of nftables mode"),
            Err(error) => warn!("the table {family} {table} of nftables mode stays: {error:#}"),
        }
    }
}

fn leftovers(tables: &str) -> Vec<[&'static str; 2]> {
    let is_there = |[family, table]: &[&str; 2]| {
        let wanted = ["table", family, table];
        let mut lines = tables.lines();
        lines.any(|line| line.split_whitespace().eq(wanted))
    };
    TABLES.into_iter().filter(is_there).collect()
}

fn nft(words: &[&str]) -> Result<String> {
    let output = Command::new("nft").args(words).output();
    let output = output.context("cannot run nft")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("nft {}: {}", words.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::leftovers;

    #[test]
    fn only_the_tables_of_kube_proxy_are_left_over() {
        let text = "table inet filter\ntable ip6 kube-proxy\ntable ip kube-proxy-ours\n";
        assert_eq!(leftovers(text), [["ip6", "kube-proxy"]]);
        assert!(leftovers("").is_empty());
    }
}
