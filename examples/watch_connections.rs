//! Prints the connections of every real server, once a second: `watch_connections [TIMES]`.
//!
//! ```text
//! cargo xtask lab -- cargo run --example watch_connections 3
//! sudo target/debug/examples/watch_connections         # on a machine with IPVS
//! ```

use std::time::Duration;

use anyhow::Result;
use ipvs_netlink::{IpvsReader, ObservedVirtualServer, Slice};

fn main() -> Result<()> {
    let times = std::env::args().nth(1).map(|times| times.parse());
    // A socket that reads in slices: a program that also changes the table is never held up for long.
    let mut reader = IpvsReader::open()?;
    for _ in 0..times.transpose()?.unwrap_or(u64::MAX) {
        loop {
            match reader.step(100)? {
                Slice::Listing => {}
                Slice::Servers(servers) => servers.iter().for_each(print),
                Slice::Complete => break,
            }
        }
        println!();
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn print(server: &ObservedVirtualServer) {
    println!("{}", server.service.service.key);
    for observed in &server.destinations {
        let (active, inactive) = (observed.active_connections, observed.inactive_connections);
        let address = observed.destination.addr;
        println!("  -> {address}: {active} active, {inactive} inactive");
    }
}
