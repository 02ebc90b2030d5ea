//! Rules about how much a node has to do.

use super::by_hand;
use crate::{Attempt, Evidence, Facts, KernelRelease, Remedy};

/// kube-proxy makes its sets with ipset's default.
const SET_SIZE: usize = 65_536;

pub(super) fn set_size(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let (services, _) = facts.servers;
    let evidence = Evidence::new("/proc/net/ip_vs", format!("{services} virtual servers"));
    let remedy = by_hand("divide the services between clusters");
    (services > SET_SIZE).then_some((evidence, remedy))
}

/// Above this, one pass of the timer is felt.
const COUNTERS: usize = 100_000;

pub(super) fn estimators(facts: &Facts) -> Option<(Evidence, Remedy)> {
    // Threads of the kernel read them instead where there is a sysctl for their niceness.
    let by_threads = if facts.shows_sysctls_of_ipvs() {
        facts.sysctl("net.ipv4.vs.est_nice").is_some()
    } else {
        facts.release() >= Some(KernelRelease::new(6, 2, 0))
    };
    if by_threads {
        return None;
    }
    let (services, servers) = facts.servers;
    let counters = services.saturating_add(servers).saturating_mul(facts.cpus);
    if counters < COUNTERS || facts.sysctl("net.ipv4.vs.run_estimation") == Some("0") {
        return None;
    }
    let evidence = Evidence::new(
        "/proc/net/ip_vs",
        format!(
            "{services} virtual and {servers} real servers on {} CPUs: {counters} counters",
            facts.cpus
        ),
    );
    let remedy = match facts.sysctl("net.ipv4.vs.run_estimation") {
        Some(_) => "sysctl -w net.ipv4.vs.run_estimation=0 (rates and counters then stand still)",
        None => "boot Linux 6.2 or later, which spreads the work",
    };
    Some((evidence, by_hand(remedy)))
}

pub(super) fn timeouts(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let Attempt::Works { tcp_timeout } = facts.ipvs else {
        return None;
    };
    let seconds = |name: &str| facts.sysctl(name)?.parse::<u32>().ok();
    let keepalive = seconds("net.ipv4.tcp_keepalive_time")?;
    let conntrack = seconds("net.netfilter.nf_conntrack_tcp_timeout_established");
    let shortest = tcp_timeout.min(conntrack.unwrap_or(u32::MAX));
    let evidence = Evidence::new(
        "timers of an idle TCP connection",
        format!(
            "IPVS {tcp_timeout} s, conntrack {}, first keep-alive after {keepalive} s",
            conntrack.map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds} s"))
        ),
    );
    let remedy = format!(
        "sysctl -w net.ipv4.tcp_keepalive_time={} where clients and pods run, or a longer `ipvsadm --set`",
        shortest / 2
    );
    (keepalive >= shortest).then_some((evidence, by_hand(remedy)))
}

/// Connections for each chain of their table, from which looking them up is felt.
const CONNECTIONS_PER_CHAIN: usize = 8;
/// The kernel's limit for the size of the table of connections, before it was raised to 27.
const CONN_TAB_BITS: u32 = 20;

pub(super) fn connection_chains(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let tables = &facts.tables;
    let connections = tables.connections;
    let chains = tables.connection_chains?;
    if connections <= chains.saturating_mul(CONNECTIONS_PER_CHAIN) {
        return None;
    }
    let evidence = Evidence::new(
        "/proc/net/ip_vs",
        format!("{connections} connections in {chains} chains"),
    );
    let bits = connections
        .checked_ilog2()
        .unwrap_or_default()
        .saturating_add(1)
        .min(CONN_TAB_BITS);
    if is_above_0(facts, "net.ipv4.vs.conn_lfactor") {
        let remedy = "sysctl -w net.ipv4.vs.conn_lfactor=-4 (the kernel's own value)";
        return Some((evidence, by_hand(remedy)));
    }
    // It is the size of a table that does not grow, and the limit of one that does.
    let remedy = format!(
        "write `options ip_vs conn_tab_bits={bits}` to /etc/modprobe.d/ipvs.conf; it counts when ip_vs is loaded again, as at the next boot"
    );
    Some((evidence, by_hand(remedy)))
}

/// Virtual servers for each chain of their table, from which looking them up is felt.
const SERVICES_PER_CHAIN: usize = 16;
/// Before Linux 7.1: `IP_VS_SVC_TAB_SIZE`.
const FIXED_SERVICE_CHAINS: usize = 256;

pub(super) fn service_chains(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let (services, _) = facts.servers;
    let chains = facts.tables.service_chains.unwrap_or(FIXED_SERVICE_CHAINS);
    if services <= chains.saturating_mul(SERVICES_PER_CHAIN) {
        return None;
    }
    let evidence = Evidence::new(
        "/proc/net/ip_vs",
        format!("{services} virtual servers in {chains} chains"),
    );
    let remedy = if facts.tables.grow {
        "sysctl -w net.ipv4.vs.svc_lfactor=-3 (the kernel's own value)"
    } else {
        "boot Linux 7.1 or later, whose table of virtual servers grows"
    };
    Some((evidence, by_hand(remedy)))
}

/// Load factors are powers of two: from 1 on, chains are longer than one on average.
fn is_above_0(facts: &Facts, lfactor: &str) -> bool {
    let value = facts
        .sysctl(lfactor)
        .and_then(|value| value.parse::<i32>().ok());
    value.is_some_and(|value| value > 0)
}
