//! Lists what IPVS does in this network namespace, as `ipvsadm -L -n` would.
//!
//! ```text
//! cargo xtask lab -- cargo run --example list_virtual_servers
//! sudo target/debug/examples/list_virtual_servers      # on a machine with IPVS
//! ```

use anyhow::Result;
use ipvs_netlink::Ipvs;

fn main() -> Result<()> {
    let mut ipvs = Ipvs::open()?;
    println!("{}", ipvs.info()?);
    for observed in ipvs.services()? {
        let service = observed.service;
        print!("{} {}", service.key, service.scheduler);
        match service.timeout {
            0 => println!(),
            seconds => println!(" persistent {seconds} s"),
        }
        for observed in ipvs.destinations(&service.key)? {
            let destination = observed.destination;
            println!(
                "  -> {} {} weight {} active {} inactive {}",
                destination.addr,
                destination.forward,
                destination.weight,
                observed.active_connections,
                observed.inactive_connections
            );
        }
    }
    Ok(())
}
