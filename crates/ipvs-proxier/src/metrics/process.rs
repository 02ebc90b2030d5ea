//! What Prometheus's own clients tell of a process, under their names.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Read from `/proc` when somebody asks; what cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

/// Of `/proc/self/stat`, in clock ticks since boot, ticks, bytes and pages.
struct Stat {
    cpu: u64,
    start: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Fields are counted behind the program's name, which may hold anything: the first there is the state, field 3.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(14)?.saturating_add(field(15)?),
            start: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The bytes that the network namespace received and sent: of IPv4 and IPv6, as Prometheus's client for Go counts them.
fn network(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let pairs = || names.split_whitespace().zip(values.split_whitespace());
    let value = |wanted| {
        let (_, value) = pairs().find(|(name, _)| *name == wanted)?;
        value.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

/// A limit of the process, `NAME VALUE …`: without any it is the largest number.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let is_unlimited = |line: &str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with("unlimited"))
    };
    if limits.lines().any(is_unlimited) {
        return Some(u64::MAX);
    }
    value(limits, name)
}

/// The value of a line `NAME VALUE …`.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: Option<u64>| {
            let Some(value) = value else { return Ok(()) };
            let metric = ConstGauge::new(value as f64);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let stat = Stat::parse(&read("/proc/self/stat"));
        let stat = stat.as_ref();
        let page = u64::try_from(rustix::param::page_size()).ok();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let resident = stat.zip(page);
        gauge(
            "process_resident_memory_bytes",
            "Memory in use",
            resident.map(|(stat, page)| stat.resident_pages.saturating_mul(page)),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Memory that is mapped",
            stat.map(|stat| stat.virtual_bytes),
        )?;
        let limits = read("/proc/self/limits");
        gauge(
            "process_virtual_memory_max_bytes",
            "Most memory that may be mapped",
            limit(&limits, "Max address space"),
        )?;
        let open = fs::read_dir("/proc/self/fd").ok();
        gauge(
            "process_open_fds",
            "Open file descriptors",
            open.and_then(|files| u64::try_from(files.count()).ok()),
        )?;
        gauge(
            "process_max_fds",
            "Most open file descriptors",
            limit(&limits, "Max open files"),
        )?;
        let boot = value(&read("/proc/stat"), "btime");
        gauge(
            "process_start_time_seconds",
            "When it was started, since 1970",
            stat.zip(boot).map(|(stat, boot)| {
                boot.saturating_add(stat.start.checked_div(ticks).unwrap_or(0))
            }),
        )?;
        let mut counter = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        let network = network(&read("/proc/self/net/netstat"));
        counter(
            "process_network_receive_bytes",
            "Bytes that the network namespace received",
            network.map(|(received, _)| received as f64),
        )?;
        counter(
            "process_network_transmit_bytes",
            "Bytes that the network namespace sent",
            network.map(|(_, sent)| sent as f64),
        )?;
        counter(
            "process_cpu_seconds",
            "CPU time, of the user and the system",
            stat.map(|stat| stat.cpu as f64 / ticks as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_program_is_called() {
        let text = "17 (a) b (c) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 5 0 12345 1000000 4321 \
                    18446744073709551615 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu, stat.start), (300, 12345));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (1_000_000, 4321));
        assert!(Stat::parse("17 (cut) S 1").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn values_stand_behind_their_names() {
        let text = "Max cpu time  unlimited\nMax open files   1024   4096 files\n";
        assert_eq!(value(text, "Max open files"), Some(1024));
        assert_eq!(value(text, "Max cpu time"), None);
        assert_eq!(limit(text, "Max cpu time"), Some(u64::MAX));
        assert_eq!(limit(text, "Max open files"), Some(1024));
        assert_eq!(limit(text, "Max address space"), None);
    }

    #[test]
    fn bytes_of_the_network_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent InOctets\nTcpExt: 0 1\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 7 8 9\n";
        assert_eq!(network(text), Some((8, 9)));
        assert_eq!(network("IpExt: InOctets\nIpExt: 8\n"), None);
        assert_eq!(network("IpExt: InOctets OutOctets\n"), None);
        assert_eq!(network(""), None);
    }
}
