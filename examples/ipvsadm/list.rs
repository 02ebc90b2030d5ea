//! The table as text: what `-L` and `-S` print.

use std::fmt::Write as _;

use ipvs_codec::{
    Destination, Family, ForwardMethod, Netmask, ObservedDestination, ObservedService, Protocol,
    SavedLine, ServiceFlags, ServiceKey, Stats, Tunnel, TunnelFlags,
};

use crate::names::Names;
use crate::options::{Given, Opt};

/// What is shown of each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    Stats,
    Rate,
    Thresholds,
    Persistent,
    Tunnel,
    Plain,
}

/// Prints tables.
pub(crate) struct Printer<'a> {
    columns: Columns,
    exact: bool,
    numeric: bool,
    names: &'a mut Names,
}

impl<'a> Printer<'a> {
    pub(crate) fn new(given: Given, names: &'a mut Names) -> Self {
        let columns = [
            (Opt::Stats, Columns::Stats),
            (Opt::Rate, Columns::Rate),
            (Opt::Thresholds, Columns::Thresholds),
            (Opt::PersistentConn, Columns::Persistent),
            (Opt::TunInfo, Columns::Tunnel),
        ];
        let columns = columns.into_iter().find(|(option, _)| given.has(*option));
        Self {
            columns: columns.map_or(Columns::Plain, |(_, columns)| columns),
            exact: given.has(Opt::Exact),
            numeric: given.has(Opt::Numeric),
            names,
        }
    }

    /// The two lines above the services.
    pub(crate) fn title(&self) -> String {
        let local = "Prot LocalAddress:Port";
        let (columns, remote) = match self.columns {
            Columns::Stats | Columns::Rate => {
                let names = match self.columns {
                    Columns::Stats => ["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"],
                    _ => ["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"],
                };
                let columns: String = names.iter().map(|name| format!(" {name:>8}")).collect();
                (format!("{local:<33}{columns}"), "")
            }
            Columns::Thresholds => (
                format!("{local:<33} Uthreshold Lthreshold ActiveConn InActConn "),
                "",
            ),
            Columns::Persistent => (
                format!(
                    "{local:<33} {:<9} PersistConn ActiveConn InActConn ",
                    "Weight"
                ),
                "",
            ),
            Columns::Tunnel => (
                format!("{local} Scheduler Flags"),
                "           Forward TunnelInfo    Weight ActiveConn InActConn",
            ),
            Columns::Plain => (
                format!("{local} Scheduler Flags"),
                "           Forward Weight ActiveConn InActConn",
            ),
        };
        format!("{columns}\n  -> RemoteAddress:Port{remote}\n")
    }

    fn endpoint(&mut self, address: std::net::SocketAddr, protocol: Option<Protocol>) -> String {
        if self.numeric {
            address.to_string()
        } else {
            self.names.endpoint(address.ip(), address.port(), protocol)
        }
    }

    fn service_name(&mut self, key: &ServiceKey) -> String {
        match *key {
            ServiceKey::Fwmark { family, mark } => match family {
                Family::Ipv4 => format!("FWM  {mark}"),
                Family::Ipv6 => format!("FWM  {mark} IPv6"),
            },
            ServiceKey::Endpoint {
                protocol,
                addr,
                port,
            } => {
                let name = self.endpoint((addr, port).into(), Some(protocol));
                let protocol = match protocol {
                    Protocol::TCP | Protocol::UDP | Protocol::SCTP => protocol.to_string(),
                    _ => "?".to_owned(),
                };
                let name = format!("{protocol:<4} {name}");
                if addr.is_ipv4() { cut(name, 33) } else { name }
            }
        }
    }

    /// The line of a service.
    pub(crate) fn service(&mut self, observed: &ObservedService) -> String {
        let name = self.service_name(&observed.service.key);
        match self.columns {
            Columns::Stats => format!("{name:<33}{}\n", self.counts(totals(&observed.stats))),
            Columns::Rate => format!("{name:<33}{}\n", self.counts(rates(&observed.stats))),
            _ => format!("{name} {}\n", configuration(observed)),
        }
    }

    /// The line of a destination of a service of this protocol.
    pub(crate) fn destination(
        &mut self,
        observed: &ObservedDestination,
        protocol: Option<Protocol>,
    ) -> String {
        let destination = &observed.destination;
        let name = self.endpoint(destination.addr, protocol);
        let name = if destination.addr.is_ipv4() {
            cut(name, 28)
        } else {
            name
        };
        let name = format!("  -> {name:<28}");
        let (active, inactive) = (observed.active_connections, observed.inactive_connections);
        let method = method(destination.forward);
        let weight = destination.weight;
        let rest = match self.columns {
            Columns::Stats => return format!("{name}{}\n", self.counts(totals(&observed.stats))),
            Columns::Rate => {
                let [conns, packets_in, packets_out, bytes_in, bytes_out] = rates(&observed.stats);
                let bytes = self.counts([bytes_in, bytes_out]);
                return format!("{name} {conns:>8} {packets_in:>8} {packets_out:>8}{bytes}\n");
            }
            Columns::Thresholds => {
                let (upper, lower) = (destination.upper_threshold, destination.lower_threshold);
                format!("{upper:<10} {lower:<10}")
            }
            Columns::Persistent => {
                format!("{weight:<9} {:<11}", observed.persistent_connections)
            }
            Columns::Tunnel => {
                format!("{method:<7} {:<13} {weight:<6}", tunnel(destination))
            }
            Columns::Plain => format!("{method:<7} {weight:<6}"),
        };
        format!("{name} {rest} {active:<10} {inactive:<10}\n")
    }

    fn counts<const N: usize>(&self, counts: [u64; N]) -> String {
        counts
            .into_iter()
            .map(|count| large(count, self.exact))
            .collect()
    }

    /// The lines that make a service and its destinations again.
    pub(crate) fn saved(
        &mut self,
        observed: &ObservedService,
        destinations: &[ObservedDestination],
    ) -> String {
        let service = observed.service;
        let mut text = format!("{}\n", SavedLine::Service(service));
        for observed in destinations {
            // Thresholds are not saved, as ever.
            let destination = Destination {
                upper_threshold: 0,
                lower_threshold: 0,
                ..observed.destination
            };
            let _ = writeln!(text, "{}", SavedLine::Destination(service.key, destination));
        }
        if self.numeric {
            return text;
        }
        let protocol = service.key.protocol();
        let mut named = String::with_capacity(text.len());
        for word in text.split_inclusive([' ', '\n']) {
            let end = word.len() - 1;
            match word[..end].parse() {
                Ok(address) => named.push_str(&self.endpoint(address, protocol)),
                Err(_) => named.push_str(&word[..end]),
            }
            named.push_str(&word[end..]);
        }
        named
    }
}

fn cut(mut text: String, length: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(length) {
        text.truncate(at);
    }
    text
}

fn configuration(observed: &ObservedService) -> String {
    let service = &observed.service;
    let mut text = service.scheduler.to_string();
    let flags: Vec<&str> = service.scheduler_flags().collect();
    if !flags.is_empty() {
        let _ = write!(text, " ({})", flags.join(","));
    }
    if service.flags.contains(ServiceFlags::PERSISTENT) {
        let _ = write!(text, " persistent {}", service.timeout);
        match service.netmask {
            mask if mask == Netmask::host(service.key.family()) => {}
            Netmask::Ipv4(mask) => {
                let _ = write!(text, " mask {mask}");
            }
            Netmask::Ipv6(prefix) => {
                let _ = write!(text, " mask {prefix}");
            }
        }
        if let Some(pe) = service.pe {
            let _ = write!(text, " pe {pe}");
        }
    }
    if service.flags.contains(ServiceFlags::ONE_PACKET) {
        text.push_str(" ops");
    }
    text
}

const fn method(forward: ForwardMethod) -> &'static str {
    match forward {
        ForwardMethod::MASQUERADE => "Masq",
        ForwardMethod::LOCAL => "Local",
        ForwardMethod::TUNNEL => "Tunnel",
        ForwardMethod::DIRECT => "Route",
        _ => "(null)",
    }
}

fn tunnel(destination: &Destination) -> String {
    let flags = |flags: TunnelFlags| {
        if flags.contains(TunnelFlags::REMOTE_CHECKSUM) {
            "r+c"
        } else if flags.contains(TunnelFlags::CHECKSUM) {
            "+c"
        } else {
            "-c"
        }
    };
    match (destination.forward, destination.tunnel) {
        (ForwardMethod::TUNNEL, Tunnel::Ipip) => "ipip".to_owned(),
        (ForwardMethod::TUNNEL, Tunnel::Gue { port, flags: set }) => {
            format!("gue:{port}:{}", flags(set))
        }
        (ForwardMethod::TUNNEL, Tunnel::Gre { flags: set }) => format!("gre:{}", flags(set)),
        _ => "n/a".to_owned(),
    }
}

const fn totals(stats: &Stats) -> [u64; 5] {
    [
        stats.connections,
        stats.in_packets,
        stats.out_packets,
        stats.in_bytes,
        stats.out_bytes,
    ]
}

const fn rates(stats: &Stats) -> [u64; 5] {
    [
        stats.connections_per_second,
        stats.in_packets_per_second,
        stats.out_packets_per_second,
        stats.in_bytes_per_second,
        stats.out_bytes_per_second,
    ]
}

/// A number in nine columns, by thousands where it is too long; `exact` ones take what they need.
fn large(number: u64, exact: bool) -> String {
    if exact {
        let digits = number.to_string();
        let width = if digits.len() <= 8 {
            9
        } else {
            digits.len() + 1
        };
        return format!("{digits:>width$}");
    }
    match number {
        0..=99_999_999 => format!("{number:>9}"),
        100_000_000..=999_999_999 => format!("{:>8}K", number / 1000),
        1_000_000_000..=99_999_999_999 => format!("{:>8}M", number / 1_000_000),
        100_000_000_000..=99_999_999_999_999 => format!("{:>8}G", number / 1_000_000_000),
        _ => format!("{:>8}T", number / 1_000_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::large;

    #[test]
    fn large_numbers_are_shortened() {
        let short = |number| large(number, false);
        assert_eq!(short(99_999_999), " 99999999");
        assert_eq!(short(100_000_000), "  100000K");
        assert_eq!(short(1_000_000_000), "    1000M");
        assert_eq!(short(100_000_000_000), "     100G");
        assert_eq!(short(100_000_000_000_000), "     100T");
        assert_eq!(large(7, true), "        7");
        assert_eq!(large(123_456_789, true), " 123456789");
    }
}
