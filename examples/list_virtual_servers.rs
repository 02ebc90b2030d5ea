//! Lists what IPVS does in this network namespace, as `ipvsadm -L -n` would.
//!
//! ```text
//! cargo xtask lab -- cargo run --example list_virtual_servers
//! sudo target/debug/examples/list_virtual_servers      # on a machine with IPVS
//! ```

use anyhow::Result;
use ipvs_netlink::Ipvs;
use support::output::print;

fn main() -> Result<()> {
    let mut ipvs = Ipvs::open()?;
    print(format_args!("{}\n", ipvs.info()?))?;
    for observed in ipvs.services()? {
        let service = observed.service;
        let persistent = match service.timeout {
            0 => String::new(),
            seconds => format!(" persistent {seconds} s"),
        };
        let (key, scheduler) = (service.key, service.scheduler);
        print(format_args!("{key} {scheduler}{persistent}\n"))?;
        for observed in ipvs.destinations(&service.key)? {
            let destination = observed.destination;
            print(format_args!(
                "  -> {} {} weight {} active {} inactive {}\n",
                destination.addr,
                destination.forward,
                destination.weight,
                observed.active_connections,
                observed.inactive_connections
            ))?;
        }
    }
    Ok(())
}
