//! Values of flags as Go reads them, so that a command line of kube-proxy means the same here.

use std::net::{IpAddr, SocketAddr};

use ipvs_filter::iptables::asked_for;
use ipvs_model::input::parse_ip;
use ipvs_model::{NoSubject, Subject};

/// The words of Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("true or false, not {other}")),
    }
}

/// A feature gate: `NAME=true`.
pub(super) fn feature_gate(text: &str) -> Result<(String, bool), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text}: a gate is NAME=true or NAME=false"))?;
    let value = boolean(value).map_err(|error| format!("{name}: {error}"))?;
    Ok((name.trim().to_owned(), value))
}

/// An address; zeros may lead in IPv4.
pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    parse_ip("IP", text).map_err(|error| error.to_string())
}

/// What `--explain` asks about, an entry of a set also as `ipset list` shows it.
pub(super) fn subject(text: &str) -> Result<Subject, NoSubject> {
    asked_for(text).map_or_else(|| text.parse(), |entry| Ok(Subject::Member(entry)))
}

/// An address and a port.
pub(super) fn listened_on(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip(host).ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_have_both_parts() {
        let as_text = |text| listened_on(text).map(|address| address.to_string());
        assert_eq!(as_text("[::]:10256").as_deref(), Some("[::]:10256"));
        assert_eq!(as_text("010.0.0.1:80").as_deref(), Some("10.0.0.1:80"));
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "::1:80",
            "[::1:80",
            "here:80",
        ] {
            assert_eq!(as_text(text), None, "{text}");
        }
    }

    #[test]
    fn gates_and_switches_are_gos() {
        assert_eq!(feature_gate("A=T"), Ok(("A".to_owned(), true)));
        assert!(feature_gate("A").is_err() && feature_gate("A=on").is_err());
        assert_eq!(boolean("0"), Ok(false));
    }
}
