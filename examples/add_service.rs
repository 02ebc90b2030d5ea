//! Adds a virtual server with two real servers, or puts right the one that is there.
//!
//! ```text
//! cargo xtask lab -- sh -c 'ip link set lo up && cargo run --example add_service && ipvsadm -L -n'
//! sudo target/debug/examples/add_service               # on a machine with IPVS
//! ```

use anyhow::Result;
use ipvs_codec::{Destination, Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netlink::Ipvs;

fn main() -> Result<()> {
    let key = ServiceKey::endpoint(Protocol::TCP, "198.51.100.10".parse()?, 80);
    let service = Service::new(key, Scheduler::WRR);
    let light = Destination::new("192.0.2.1:8080".parse()?);
    let heavy = Destination::new("192.0.2.2:8080".parse()?).with_weight(3)?;

    let mut ipvs = Ipvs::open()?;
    // All three travel together. Each has an outcome of its own, and one that fails does not stop the others.
    let make = [
        Request::NewService(&service),
        Request::NewDest(&key, &light),
        Request::NewDest(&key, &heavy),
    ];
    let change = [
        Request::SetService(&service),
        Request::SetDest(&key, &light),
        Request::SetDest(&key, &heavy),
    ];
    for (outcome, change) in ipvs.batch(&make).into_iter().zip(&change) {
        match outcome {
            Err(error) if error.is_exists() => ipvs.request(change)?,
            outcome => outcome?,
        }
    }
    Ok(())
}
