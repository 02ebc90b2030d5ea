//! Reads a whole table back, beside a loop that receives the same answers and parses nothing: one JSON line.
//!
//! `cargo xtask bench dump` builds it and runs it in the lab. `/proc/net/ip_vs` is read in the same run: it is faster,
//! but tells neither thresholds nor tunnels nor flags, and not which family a firewall mark belongs to.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use benches::{Size, median, timed};
use clap::Parser as _;
use ipvs_codec::{Destination, Protocol, Request, Scheduler, Service, ServiceKey};
use ipvs_netlink::{Ipvs, IpvsReader, Slice};
use ipvs_test_support::NetNs;
use netlink_sys::{Socket, SocketAddr, protocols};

/// Ours and the floor take turns; the median of each counts.
const REPETITIONS: usize = 5;
const REQUEST_DUMP: u16 = 0x301;
const NLMSG_DONE: u16 = 3;
/// Services of one slice, as a proxy that resyncs between changes would read them.
const SLICE: usize = 50;

fn main() -> Result<()> {
    let Size {
        services,
        endpoints,
    } = Size::parse();
    let namespace = NetNs::new("bench-dump")?;
    let line = namespace.run(|| measure(services, endpoints))??;
    println!("{line}");
    Ok(())
}

fn measure(services: u32, endpoints: u32) -> Result<serde_json::Value> {
    let keys = load(services, endpoints)?;
    let mut ipvs = Ipvs::open()?;
    let (mut ours, mut floor, mut proc) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let (snapshot, took) = timed(|| ipvs.snapshot());
        let snapshot = snapshot?;
        let read: usize = snapshot
            .iter()
            .map(|server| server.destinations.len())
            .sum();
        ensure!(snapshot.len() == keys.len(), "{} services", snapshot.len());
        ensure!(
            read == usize::try_from(services * endpoints)?,
            "{read} real servers"
        );
        ours.push(took);
        floor.push(bare(&keys, ipvs.family())?);
        let (text, took) = timed(read_proc);
        ensure!(text? > 0, "an empty /proc/net/ip_vs");
        proc.push(took);
    }
    let longest_slice = slices(&keys)?;
    let (ours, floor, proc) = (median(ours), median(floor), median(proc));
    Ok(serde_json::json!({
        "bench": "dump", "services": services, "endpoints": endpoints,
        "seconds": ours.as_secs_f64(), "floor_seconds": floor.as_secs_f64(),
        "ratio": ours.as_secs_f64() / floor.as_secs_f64(),
        "proc_seconds": proc.as_secs_f64(), "longest_slice_seconds": longest_slice.as_secs_f64(),
    }))
}

/// Makes the table; the keys of its services.
fn load(services: u32, endpoints: u32) -> Result<Vec<ServiceKey>> {
    let mut ipvs = Ipvs::open()?;
    let address = |base: u32, number: u32| Ipv4Addr::from_bits(base + number);
    let servers: Vec<Service> = (0..services)
        .map(|number| {
            let address = address(0x0a60_0001, number);
            let key = ServiceKey::endpoint(Protocol::TCP, address.into(), 80);
            Service::new(key, Scheduler::RR)
        })
        .collect();
    let destinations: Vec<(ServiceKey, Destination)> = (0..services * endpoints)
        .zip(servers.iter().flat_map(|server| {
            std::iter::repeat_n(server.key, usize::try_from(endpoints).unwrap_or_default())
        }))
        .map(|(number, key)| {
            let address = address(0x0a80_0001, number);
            (key, Destination::new((address, 8080).into()))
        })
        .collect();
    let made = servers.iter().map(Request::NewService);
    let filled = destinations
        .iter()
        .map(|(key, destination)| Request::NewDest(key, destination));
    let requests: Vec<Request<'_>> = made.chain(filled).collect();
    ipvs.batch(&requests)
        .into_iter()
        .collect::<Result<(), _>>()?;
    Ok(servers.iter().map(|server| server.key).collect())
}

/// The floor: the same requests, and the answers received up to the end of each dump.
fn bare(keys: &[ServiceKey], family: u16) -> Result<Duration> {
    let mut socket = Socket::new(protocols::NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let requests: Vec<Vec<u8>> = std::iter::once(Request::DumpServices)
        .chain(keys.iter().map(Request::DumpDests))
        .map(|request| message(request, family))
        .collect();
    let mut answer = Vec::with_capacity(64 * 1024);
    let (received, took) = timed(|| -> Result<()> {
        for request in &requests {
            socket.send(request, 0)?;
            loop {
                answer.clear();
                socket.recv(&mut answer, 0)?;
                if answer.get(4..6) == Some(&NLMSG_DONE.to_ne_bytes()) {
                    break;
                }
            }
        }
        Ok(())
    });
    received.map(|()| took)
}

fn message(request: Request<'_>, family: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    request.emit(&mut payload);
    let length = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
    [
        &length.to_ne_bytes()[..],
        &family.to_ne_bytes(),
        &REQUEST_DUMP.to_ne_bytes(),
        &[0; 8],
        &payload,
    ]
    .concat()
}

fn read_proc() -> Result<usize> {
    let mut text = Vec::new();
    std::fs::File::open("/proc/thread-self/net/ip_vs")?.read_to_end(&mut text)?;
    Ok(text.len())
}

/// Reads everything in slices; the longest that a change would have to wait for one.
fn slices(keys: &[ServiceKey]) -> Result<Duration> {
    let mut reader = IpvsReader::open()?;
    let (mut longest, mut seen) = (Duration::ZERO, 0);
    loop {
        let (slice, took) = timed(|| reader.step(SLICE));
        longest = longest.max(took);
        match slice? {
            Slice::Listing => {}
            Slice::Servers(servers) => seen += servers.len(),
            Slice::Complete => break,
        }
    }
    ensure!(seen == keys.len(), "{seen} services in slices");
    Ok(longest)
}
