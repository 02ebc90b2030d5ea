//! Others that change very much beside us: changes do not wait for what is heard of them, and it costs no memory.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipvs_codec::{Protocol, ServiceKey};
use ipvs_netlink::{Binding, Ipvs, Links};
use ipvs_test_support::{ApiServer, NetNs};

use crate::at_rest::Served;
use crate::hands::drift;

/// How many services, of ten endpoints each: for figures with more.
const SERVICES: &str = "STORM_SERVICES";
/// Addresses that come and go.
const ADDRESSES: u32 = 5_000;
const CHANGES: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of the node during a storm is gone after it.
const MEMORY: u64 = 16 << 10;

/// Adds addresses to the link `storm` of this namespace and removes them.
pub(crate) fn storm(count: u32) {
    let mut links = Links::open().unwrap();
    let link = links.find("storm").unwrap().unwrap().index;
    let address = |number: u32| Binding::Address((0x0a64_0000 + number).to_be_bytes().into());
    let addresses: Vec<Binding> = (0..count).map(address).collect();
    for outcomes in [links.bind(link, &addresses), links.unbind(link, &addresses)] {
        assert!(outcomes.iter().all(Result::is_ok));
    }
}

/// The most memory that a process has had, in KiB.
fn most_memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.context("no such line")?.trim();
    Ok(line.trim_end_matches(" kB").parse()?)
}

/// How long changes of the first service take from the API to the kernel, sorted.
fn changes(namespace: &NetNs, server: &ApiServer, first: u32) -> Vec<Duration> {
    let key = ServiceKey::endpoint(Protocol::TCP, [10, 97, 0, 1].into(), 80);
    let mut all: Vec<Duration> = (first..first + CHANGES)
        .map(|number| {
            let endpoint = format!("10.200.{}.{}", number / 250, number % 250 + 1);
            let slice = format!(
                r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                     "metadata": {{"name": "s0-b", "namespace": "rest",
                                   "labels": {{"kubernetes.io/service-name": "s0"}}}},
                     "ports": [{{"name": "p", "port": 8080, "protocol": "TCP"}}],
                     "endpoints": [{{"addresses": ["{endpoint}"], "nodeName": "elsewhere"}}]}}"#
            );
            thread::sleep(Duration::from_millis(20));
            let start = Instant::now();
            server.put(&slice).unwrap();
            let wait = || {
                let mut ipvs = Ipvs::open()?;
                loop {
                    let found = ipvs.destinations(&key)?;
                    let mut found = found.iter().map(|found| found.destination.addr.ip().to_string());
                    if found.any(|found| found == endpoint) {
                        return Ok(start.elapsed());
                    }
                    ensure!(start.elapsed() < PATIENCE, "{endpoint} does not come");
                    thread::sleep(Duration::from_micros(500));
                }
            };
            namespace.run(wait).unwrap().unwrap()
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn changes_do_not_wait_for_a_storm_and_it_costs_no_memory() {
    let services = std::env::var(SERVICES).map_or(100, |count| count.parse().unwrap());
    let namespace = NetNs::new("storm").unwrap();
    namespace
        .ip("link add storm type dummy\nlink set storm up")
        .unwrap();
    let more = ["--ipvs-min-sync-period=0s", "--ipvs-sync-period=10h"];
    let served = Served::start(&namespace, services, &more);
    let (server, process) = (&served.server, served.proxier.id());
    // What comes after a start.
    thread::sleep(Duration::from_secs(5));
    let quiet = changes(&namespace, server, 0);
    let memory = most_memory(process).unwrap();
    let (is_over, storms) = (AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    let during = thread::scope(|scope| {
        let raging = scope.spawn(|| {
            let rage = || {
                while !is_over.load(Ordering::Relaxed) {
                    storm(ADDRESSES);
                    storms.fetch_add(1, Ordering::Relaxed);
                }
            };
            namespace.run(rage).unwrap();
        });
        let during = changes(&namespace, server, CHANGES);
        is_over.store(true, Ordering::Relaxed);
        raging.join().unwrap();
        during
    });
    let more = most_memory(process).unwrap() - memory;
    let told = |all: &[Duration]| {
        let at = |share: usize| all[(all.len() - 1) * share / 100];
        format!(
            "median {:?}, 90 % {:?}, longest {:?}",
            at(50),
            at(90),
            at(100)
        )
    };
    println!(
        "{services} services: changes {}; in {} storms of {ADDRESSES} addresses {}; {more} of {memory} KiB more",
        told(&quiet),
        storms.into_inner(),
        told(&during),
    );
    assert!(more < MEMORY, "{more} KiB");
    assert_eq!(drift(&namespace, "").unwrap(), 0, "nobody undid anything");
    assert!(served.proxier.stop().unwrap().success());
}
