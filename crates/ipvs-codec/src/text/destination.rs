use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::options::{Options, wrong};
use crate::error::TextError;
use crate::types::{Destination, ForwardMethod, Tunnel, TunnelFlags};

/// As `ipvsadm -S -n` writes it behind the service: `-r 10.1.0.1:8080 -m -w 1`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.forward {
            ForwardMethod::MASQUERADE => "-m",
            ForwardMethod::TUNNEL => "-i",
            ForwardMethod::LOCAL | ForwardMethod::DIRECT => "-g",
            // What ipvsadm writes for what it could not have made.
            _ => "(null)",
        };
        write!(f, "-r {} {method} -w {}", self.addr, self.weight)?;
        if self.forward == ForwardMethod::TUNNEL {
            write_tunnel(self.tunnel, f)?;
        }
        if self.upper_threshold != 0 {
            write!(f, " -x {}", self.upper_threshold)?;
        }
        if self.lower_threshold != 0 {
            write!(f, " -y {}", self.lower_threshold)?;
        }
        Ok(())
    }
}

fn write_tunnel(tunnel: Tunnel, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let flags = match tunnel {
        Tunnel::Ipip | Tunnel::Other { kind: 0, .. } => return f.write_str(" --tun-type ipip"),
        Tunnel::Gue { port, flags } => {
            write!(f, " --tun-type gue --tun-port {port}")?;
            flags
        }
        Tunnel::Gre { flags } | Tunnel::Other { kind: 2, flags, .. } => {
            f.write_str(" --tun-type gre")?;
            flags
        }
        Tunnel::Other { .. } => return Ok(()),
    };
    let option = |wanted, text| if flags.contains(wanted) { text } else { "" };
    let checksum = option(TunnelFlags::CHECKSUM, " --tun-csum");
    let remote = option(TunnelFlags::REMOTE_CHECKSUM, " --tun-remcsum");
    match (checksum, remote) {
        ("", "") => f.write_str(" --tun-nocsum"),
        _ => write!(f, "{checksum}{remote}"),
    }
}

impl FromStr for Destination {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        read(Options::of(text))
    }
}

/// Reads a destination from the options behind the service. Without a method it is `-g`, as to ipvsadm.
pub(super) fn read(mut options: Options<'_>) -> Result<Destination, TextError> {
    if !options.next_if("-r") {
        return Err(TextError::Missing("-r"));
    }
    let mut destination = Destination::new(options.parsed("-r")?);
    destination.forward = ForwardMethod::DIRECT;
    let (mut kind, mut port, mut flags) = ("ipip", None, TunnelFlags::empty());
    let (mut upper, mut lower) = (0, 0);
    let mut of_tunnel = None;
    while let Some(option) = options.next() {
        if option.starts_with("--tun-") {
            of_tunnel = Some(option);
        }
        match option {
            "-m" => destination.forward = ForwardMethod::MASQUERADE,
            "-i" => destination.forward = ForwardMethod::TUNNEL,
            "-g" => destination.forward = ForwardMethod::DIRECT,
            "-w" => destination = destination.with_weight(options.parsed(option)?)?,
            "-x" => upper = options.parsed(option)?,
            "-y" => lower = options.parsed(option)?,
            "--tun-type" => kind = options.value(option)?,
            "--tun-port" => port = Some(options.parsed::<NonZeroU16>(option)?),
            "--tun-nocsum" => {}
            "--tun-csum" => flags |= TunnelFlags::CHECKSUM,
            "--tun-remcsum" => flags |= TunnelFlags::REMOTE_CHECKSUM,
            other => return Err(TextError::Unexpected(other.to_owned())),
        }
    }
    if let Some(option) = of_tunnel.filter(|_| destination.forward != ForwardMethod::TUNNEL) {
        return Err(TextError::Unexpected(option.to_owned()));
    }
    destination.tunnel = match (kind, port) {
        ("ipip", None) => Tunnel::Ipip,
        ("gue", Some(port)) => Tunnel::Gue { port, flags },
        ("gue", None) => return Err(TextError::Missing("--tun-port")),
        ("gre", None) => Tunnel::Gre { flags },
        ("ipip" | "gre", Some(_)) => return Err(TextError::Unexpected("--tun-port".to_owned())),
        (other, _) => return Err(wrong("--tun-type", other)),
    };
    Ok(destination.with_thresholds(upper, lower)?)
}

/// `Masq`, `Local`, `Tunnel`, `Route`, `Bypass`, as `ipvsadm -L` shows them, or a number up to 7.
impl FromStr for ForwardMethod {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        (0..8)
            .map(Self::from_number)
            .find(|method| method.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| wrong("forwarding method", text))
    }
}
