//! Names of hosts and ports.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};

use ipvs_codec::Protocol;
use ipvs_model::Escaped;

/// The ports of `/etc/services`.
#[derive(Debug)]
pub(crate) struct Names {
    ports: HashMap<(String, &'static str), u16>,
    services: HashMap<(u16, &'static str), String>,
    hosts: HashMap<IpAddr, String>,
}

impl Names {
    /// Reads the names; without the file, ports have none.
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
        let mut names = Self {
            ports: HashMap::new(),
            services: HashMap::new(),
            hosts: HashMap::new(),
        };
        for line in text.lines() {
            names.note(line.split('#').next().unwrap_or_default());
        }
        names
    }

    /// `NAME PORT/PROTOCOL ALIAS…`; of several the first counts.
    fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let Some((name, port)) = words.next().zip(words.next()) else {
            return;
        };
        let Some((port, protocol)) = port.split_once('/') else {
            return;
        };
        let known = ["tcp", "udp", "sctp"]
            .into_iter()
            .find(|known| *known == protocol);
        let Some((port, protocol)) = port.parse().ok().zip(known) else {
            return;
        };
        let service = self.services.entry((port, protocol));
        service.or_insert_with(|| name.to_owned());
        for name in std::iter::once(name).chain(words) {
            self.ports
                .entry((name.to_owned(), protocol))
                .or_insert(port);
        }
    }

    pub(crate) fn port(&self, name: &str, protocol: Option<Protocol>) -> Option<u16> {
        let protocol = protocol_name(protocol?)?;
        self.ports.get(&(name.to_owned(), protocol)).copied()
    }

    /// An address and port by their names, where they have some.
    pub(crate) fn endpoint(&mut self, ip: IpAddr, port: u16, protocol: Option<Protocol>) -> String {
        let host = self.hosts.entry(ip).or_insert_with(|| {
            // An address without a name comes back as a number, for IPv6 perhaps with a zone.
            let name = dns_lookup::lookup_addr(&ip);
            name.map_or_else(|_| ip.to_string(), |name| Escaped(&name).to_string())
        });
        let service = protocol
            .and_then(protocol_name)
            .and_then(|protocol| self.services.get(&(port, protocol)));
        let port = service.map_or_else(|| port.to_string(), Clone::clone);
        match ip {
            IpAddr::V4(_) => format!("{host}:{port}"),
            IpAddr::V6(_) => format!("[{host}]:{port}"),
        }
    }
}

fn protocol_name(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::TCP => Some("tcp"),
        Protocol::UDP => Some("udp"),
        Protocol::SCTP => Some("sctp"),
        _ => None,
    }
}

/// The first IPv4 address of a host.
pub(crate) fn host(name: &str) -> Option<Ipv4Addr> {
    let addresses = (name, 0).to_socket_addrs().ok()?;
    addresses
        .filter_map(|address| match address.ip() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .next()
}
