//! Prints the connections of every real server, once a second: `watch_connections [TIMES]`.
//!
//! ```text
//! cargo xtask lab -- cargo run --example watch_connections 3
//! sudo target/debug/examples/watch_connections         # on a machine with IPVS
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result};
use ipvs_netlink::{IpvsReader, ObservedVirtualServer, Slice};
use support::output::print;

fn main() -> Result<()> {
    let times = std::env::args_os().nth(1).map(|times| {
        let number = times.to_string_lossy().parse();
        number.with_context(|| format!("{times:?} is not a number"))
    });
    // A socket that reads in slices: a program that also changes the table is never held up for long.
    let mut reader = IpvsReader::open()?;
    for _ in 0..times.transpose()?.unwrap_or(u64::MAX) {
        loop {
            match reader.step(100)? {
                Slice::Listing => {}
                Slice::Servers(servers) => print(servers.iter().map(text).collect::<String>())?,
                Slice::Complete => break,
            }
        }
        print("\n")?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn text(server: &ObservedVirtualServer) -> String {
    let mut text = format!("{}\n", server.service.service.key);
    for observed in &server.destinations {
        let (active, inactive) = (observed.active_connections, observed.inactive_connections);
        let address = observed.destination.addr;
        text.push_str(&format!(
            "  -> {address}: {active} active, {inactive} inactive\n"
        ));
    }
    text
}
