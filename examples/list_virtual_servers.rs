//! Lists what IPVS does in this network namespace, in the words of `ipvsadm -S -n`; with `--rate`, the rates as well.
//!
//! ```text
//! cargo xtask lab -- cargo run --example list_virtual_servers
//! sudo target/debug/examples/list_virtual_servers --rate   # on a machine with IPVS
//! ```

use anyhow::{Result, bail};
use ipvs_codec::Stats;
use ipvs_netlink::Ipvs;
use support::output::print;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let with_rates = match arguments.as_slice() {
        [] => false,
        [option] if option == "--rate" => true,
        _ => bail!("usage: list_virtual_servers [--rate]"),
    };
    let rates = |stats: &Stats| {
        if !with_rates {
            return String::new();
        }
        format!(
            ", {} connections/s, {} bytes/s in, {} bytes/s out",
            stats.connections_per_second, stats.in_bytes_per_second, stats.out_bytes_per_second
        )
    };
    let mut ipvs = Ipvs::open()?;
    print(format_args!("{}\n", ipvs.info()?))?;
    // What changes while it is read is read again.
    for server in ipvs.snapshot()? {
        let observed = server.service;
        print(format_args!(
            "{}{}\n",
            observed.service,
            rates(&observed.stats)
        ))?;
        for observed in server.destinations {
            print(format_args!(
                "  {}: {} active, {} inactive{}\n",
                observed.destination,
                observed.active_connections,
                observed.inactive_connections,
                rates(&observed.stats)
            ))?;
        }
    }
    Ok(())
}
