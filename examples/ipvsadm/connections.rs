//! The connections, as the kernel shows them in `/proc/net/ip_vs_conn`: `-L -c`.

use std::net::{IpAddr, Ipv4Addr};

use ipvs_codec::Protocol;
use ipvs_model::Escaped;
use support::output::print;

use crate::failure::Failure;
use crate::names::Names;
use crate::options::{Given, Opt};

const FILE: &str = "/proc/thread-self/net/ip_vs_conn";

/// Prints the connections.
pub(crate) fn list(given: Given, names: &mut Names) -> Result<(), Failure> {
    let text = std::fs::read_to_string(FILE)
        .map_err(|_ignored| Failure::unread("cannot open file /proc/net/ip_vs_conn"))?;
    let engines = given.has(Opt::PersistentConn);
    print("IPVS connection entries\n")?;
    let (state, source, own, far) = ("state", "source", "virtual", "destination");
    if engines {
        print(format_args!(
            "pro expire {state:<11} {source:<18} {own:<18} {far:<18} {:<16} pe_data\n",
            "pe name"
        ))?;
    } else {
        print(format_args!(
            "pro expire {state:<11} {source:<18} {own:<18} {far}\n"
        ))?;
    }
    for line in text.lines().skip(1) {
        if let Some(line) = show(line, given.has(Opt::Numeric), engines, names) {
            print(format_args!("{line}\n"))?;
        }
    }
    Ok(())
}

fn show(line: &str, numeric: bool, engines: bool, names: &mut Names) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, ends @ .., state, expires] = words.get(..9)? else {
        return None;
    };
    let protocol = name.parse::<Protocol>().ok();
    let mut shown = Vec::with_capacity(3);
    for pair in ends.chunks_exact(2) {
        let [ip, port] = pair else { return None };
        let (ip, port) = (address(ip)?, u16::from_str_radix(port, 16).ok()?);
        shown.push(if numeric {
            std::net::SocketAddr::new(ip, port).to_string()
        } else {
            names.endpoint(ip, port, protocol)
        });
    }
    let [client, own, far] = &shown[..] else {
        return None;
    };
    let seconds: u32 = expires.parse().ok()?;
    let expires = format!("{:02}:{:02}", seconds / 60, seconds % 60);
    let head = format!("{name:<3} {expires:<6} {state:<11} {client:<18} {own:<18}");
    Some(match words.get(9..11) {
        // The data are what a packet had.
        Some([engine, data]) if engines => {
            format!("{head} {far:<16} {engine:<18} {}", Escaped(data))
        }
        _ => format!("{head} {far}"),
    })
}

/// IPv4 in eight hexadecimal digits, IPv6 as text.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    u32::from_str_radix(text, 16)
        .ok()
        .map(|bits| Ipv4Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_families_are_shown() {
        let mut names = Names::read();
        let mut shown = |line, engines| show(line, true, engines, &mut names);
        let plain = "TCP 0A000001 C350 0A60000A 0050 0AF40105 1F90 ESTABLISHED     899";
        assert_eq!(
            shown(plain, false).as_deref(),
            Some("TCP 14:59  ESTABLISHED 10.0.0.1:50000     10.96.0.10:80      10.244.1.5:8080")
        );
        let six = "UDP [fd00::1] 1 2 3 4 5 6 7";
        assert_eq!(shown(six, false), None);
        let six = "UDP fd00:0000:0000:0000:0000:0000:0000:0001 0035 fd00:0000:0000:0000:0000:0000:0000:0002 0035 \
                   fd00:0000:0000:0000:0000:0000:0000:0003 0035 UDP 60 sip call";
        assert_eq!(
            shown(six, true).as_deref(),
            Some(
                "UDP 01:00  UDP         [fd00::1]:53       [fd00::2]:53       [fd00::3]:53     sip                call"
            )
        );
    }
}
