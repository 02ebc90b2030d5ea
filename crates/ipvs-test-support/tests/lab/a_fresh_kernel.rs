//! What needs a kernel whose IPVS nobody uses. Tests run in the order of their names: this one is the first, as namespaces
//! of others live on for a while.

use std::time::Duration;

use ipvs_codec::{Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netlink::{Cause, Ipvs, IpvsReader, Slice};
use ipvs_test_support::eventually;

/// Unloads IPVS with all its schedulers.
fn unload() {
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    let names = modules
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let (core, parts): (Vec<&str>, Vec<&str>) = names
        .filter(|name| name.starts_with("ip_vs") || name.starts_with("xt_ipvs"))
        .partition(|name| *name == "ip_vs");
    let gone = || {
        let output = std::process::Command::new("rmmod")
            .args(parts.iter().chain(&core))
            .output()?;
        let modules = std::fs::read_to_string("/proc/modules")?;
        // What was unloaded the first time is an error the second time.
        anyhow::ensure!(
            !modules.contains("ip_vs"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    eventually(Duration::from_secs(60), gone).unwrap();
}

#[test]
fn a_module_that_was_loaded_again_has_another_number_and_nothing_is_lost() {
    let mut ipvs = Ipvs::open().unwrap();
    let before = ipvs.family();
    unload();
    let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 1].into(), 80);
    let other = ServiceKey::endpoint(Protocol::UDP, [10, 96, 0, 1].into(), 80);
    let service = Service::new(key, Scheduler::RR);
    let outcomes = ipvs.batch(&[Request::NewService(&service), Request::DelService(&other)]);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(outcomes[1].as_ref().is_err_and(Cause::is_not_found));
    assert_ne!(ipvs.family(), before);
    assert_eq!(ipvs.services().unwrap().len(), 1);
    assert!(ipvs.batch(&[Request::Flush])[0].is_ok());

    let mut reader = IpvsReader::open().unwrap();
    unload();
    assert!(reader.step(1).is_err(), "its number is old");
    let mut slices = Vec::new();
    while slices.last() != Some(&Slice::Complete) {
        slices.push(reader.step(1).unwrap());
    }
    assert_eq!(slices, [Slice::Listing, Slice::Complete]);
}
