//! What the options of one command line say, value by value.

use std::net::IpAddr;

use ipvs_codec::{Family, ForwardMethod, Netmask, Protocol, ServiceFlags, TunnelFlags};

use crate::failure::Failure;
use crate::names::{self, Names};
use crate::number::{decimal, ipv4, leading_digits};
use crate::options::Opt;

/// 31 days.
const MAX_TIMEOUT: i64 = 86_400 * 31;
/// What `-p` means without a number, seconds.
const PERSISTENT: u32 = 360;

/// An address with the port that was given behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    pub(crate) port: Option<u16>,
}

/// The type of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TunnelType {
    #[default]
    Ipip,
    Gue,
    Gre,
}

/// The values of the options, and the defaults of those that were not given.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) virtual_address: Option<Endpoint>,
    pub(crate) mark: Option<u32>,
    /// Of the service: none before its address or mark was given.
    pub(crate) family: Option<Family>,
    pub(crate) scheduler: String,
    pub(crate) flags: ServiceFlags,
    pub(crate) scheduler_flags: String,
    pub(crate) timeout: u32,
    pub(crate) netmask: Netmask,
    pub(crate) persistence_engine: String,
    pub(crate) real_address: Option<Endpoint>,
    pub(crate) forward: ForwardMethod,
    pub(crate) weight: u32,
    pub(crate) upper_threshold: u32,
    pub(crate) lower_threshold: u32,
    pub(crate) tunnel: TunnelType,
    pub(crate) tunnel_port: u16,
    pub(crate) tunnel_flags: TunnelFlags,
    pub(crate) interface: String,
    pub(crate) sync_id: u8,
    pub(crate) group: Option<IpAddr>,
    pub(crate) group_port: u16,
    pub(crate) group_ttl: u8,
    pub(crate) sync_max_length: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protocol: None,
            virtual_address: None,
            mark: None,
            family: None,
            scheduler: String::new(),
            flags: ServiceFlags::empty(),
            scheduler_flags: String::new(),
            timeout: 0,
            netmask: Netmask::host(Family::Ipv4),
            persistence_engine: String::new(),
            real_address: None,
            forward: ForwardMethod::DIRECT,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: TunnelType::Ipip,
            tunnel_port: 0,
            tunnel_flags: TunnelFlags::empty(),
            interface: String::new(),
            sync_id: 0,
            group: None,
            group_port: 0,
            group_ttl: 0,
            sync_max_length: 0,
        }
    }
}

impl Settings {
    /// Takes the value of an option; `name` is its long name, as one option may have several.
    pub(crate) fn set(
        &mut self,
        option: Opt,
        name: &str,
        value: Option<&str>,
        names: &Names,
    ) -> Result<(), Failure> {
        let text = value.unwrap_or_default();
        match option {
            Opt::Service => self.set_service(name, text, names)?,
            Opt::Scheduler => self.scheduler = at_most(text, 15),
            Opt::Persistent => {
                self.flags |= ServiceFlags::PERSISTENT;
                self.timeout = value.map_or(Ok(PERSISTENT), |text| timeout(text, 1))?;
            }
            Opt::Netmask => self.netmask = self.read_netmask(text)?,
            Opt::OnePacket => self.flags |= ServiceFlags::ONE_PACKET,
            Opt::PersistenceEngine => self.persistence_engine = at_most(text, 16),
            Opt::SchedFlags => self.scheduler_flags = text.to_owned(),
            Opt::Server => {
                let refused = "illegal real server address[:port] specified";
                let endpoint = endpoint(text, self.protocol, names);
                self.real_address = Some(endpoint.ok_or_else(|| Failure::wrong(refused))?);
            }
            Opt::Forward => {
                self.forward = match name {
                    "masquerading" => ForwardMethod::MASQUERADE,
                    "ipip" => ForwardMethod::TUNNEL,
                    _ => ForwardMethod::DIRECT,
                }
            }
            Opt::Weight => {
                self.weight = number(text, 0..=i32::MAX.into(), "illegal weight specified")?
            }
            Opt::UpperThreshold => {
                self.upper_threshold =
                    number(text, 0..=i32::MAX.into(), "illegal u_threshold specified")?;
            }
            Opt::LowerThreshold => {
                self.lower_threshold =
                    number(text, 0..=i32::MAX.into(), "illegal l_threshold specified")?;
            }
            Opt::TunType => {
                self.tunnel = match text {
                    "ipip" => TunnelType::Ipip,
                    "gue" => TunnelType::Gue,
                    "gre" => TunnelType::Gre,
                    _ => return Err(Failure::wrong("illegal tunnel type specified")),
                }
            }
            Opt::TunPort => {
                self.tunnel_port = number(text, 1..=65_535, "illegal tunnel port specified")?;
            }
            Opt::TunCsum => self.tunnel_flags |= TunnelFlags::CHECKSUM,
            Opt::TunRemcsum => self.tunnel_flags |= TunnelFlags::REMOTE_CHECKSUM,
            _ => self.set_daemon(option, text)?,
        }
        Ok(())
    }

    fn set_service(&mut self, name: &str, text: &str, names: &Names) -> Result<(), Failure> {
        self.protocol = Some(match name {
            "udp-service" => Protocol::UDP,
            "sctp-service" => Protocol::SCTP,
            _ => Protocol::TCP,
        });
        if name == "fwmark-service" {
            let mark = decimal(text, 1, u32::MAX.into()).and_then(|mark| u32::try_from(mark).ok());
            let refused = || Failure::wrong(format!("invalid fwmark value `{text}' specified"));
            self.mark = Some(mark.ok_or_else(refused)?);
            self.family = Some(Family::Ipv4);
            return Ok(());
        }
        let refused = "illegal virtual server address[:port] specified";
        let endpoint =
            endpoint(text, self.protocol, names).ok_or_else(|| Failure::wrong(refused))?;
        self.family = Some(Family::of(endpoint.ip));
        if endpoint.ip.is_ipv6() {
            self.netmask = Netmask::host(Family::Ipv6);
        }
        self.virtual_address = Some(endpoint);
        Ok(())
    }

    /// The mark that was given is of IPv6.
    pub(crate) fn set_ipv6(&mut self) -> Result<(), Failure> {
        if self.mark.is_none() {
            return Err(Failure::wrong("-6 used before -f\n"));
        }
        self.family = Some(Family::Ipv6);
        self.netmask = Netmask::host(Family::Ipv6);
        Ok(())
    }

    fn read_netmask(&self, text: &str) -> Result<Netmask, Failure> {
        if self.family == Some(Family::Ipv6) {
            let prefix = u8::try_from(leading_digits(text)).ok();
            let prefix = prefix.and_then(|length| Netmask::prefix(Family::Ipv6, length).ok());
            return prefix.ok_or_else(|| Failure::wrong("illegal ipv6 netmask specified"));
        }
        let mask = ipv4(text).or_else(|| names::host(text));
        let refused = "illegal virtual server persistent mask specified";
        mask.map(Netmask::Ipv4)
            .ok_or_else(|| Failure::wrong(refused))
    }

    fn set_daemon(&mut self, option: Opt, text: &str) -> Result<(), Failure> {
        match option {
            Opt::McastInterface => self.interface = at_most(text, 15),
            Opt::SyncId => self.sync_id = number(text, 0..=255, "illegal syncid specified")?,
            Opt::McastGroup => self.group = Some(group(text)?),
            Opt::McastPort => {
                self.group_port = number(text, 1..=65_535, "illegal mcast-port specified")?;
            }
            Opt::McastTtl => self.group_ttl = number(text, 1..=255, "illegal mcast-ttl specified")?,
            Opt::SyncMaxlen => {
                self.sync_max_length = number(text, 1..=65_507, "illegal sync-maxlen specified")?;
            }
            // The others have no value: that they were given is what counts.
            _ => {}
        }
        Ok(())
    }
}

fn at_most(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn number<T: TryFrom<i64>>(
    text: &str,
    range: std::ops::RangeInclusive<i64>,
    refused: &str,
) -> Result<T, Failure> {
    let number = decimal(text, *range.start(), *range.end());
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Failure::wrong(refused))
}

/// Seconds, from `least` to 31 days.
pub(crate) fn timeout(text: &str, least: i64) -> Result<u32, Failure> {
    let refused = format!("invalid timeout value `{text}' specified");
    number(text, least..=MAX_TIMEOUT, &refused)
}

fn group(text: &str) -> Result<IpAddr, Failure> {
    let family = if text.contains(':') { "IPv6" } else { "IPv4" };
    let group = text.parse::<IpAddr>().ok().filter(IpAddr::is_multicast);
    group.ok_or_else(|| Failure::wrong(format!("invalid {family} mcast-group `{text}'")))
}

/// `ADDRESS[:PORT]`, `[ADDRESS]:PORT` or a bare IPv6 address; names are resolved.
fn endpoint(text: &str, protocol: Option<Protocol>, names: &Names) -> Option<Endpoint> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (address, mut port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (address, Some(rest.strip_prefix(':')?))
        }
        None => (text, None),
    };
    let ip = match address.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => v6.into(),
        Err(_) => {
            // Brackets do not make an IPv6 address: what stands behind the last colon in them would be the port.
            let host = match address.rsplit_once(':') {
                Some((host, behind)) => {
                    port = Some(behind);
                    host
                }
                None => {
                    port = None;
                    address
                }
            };
            ipv4(host).or_else(|| names::host(host))?.into()
        }
    };
    let port = match port {
        None => None,
        Some(text) => Some(match decimal(text, 0, 65_535) {
            Some(number) => u16::try_from(number).ok()?,
            None => names.port(text, protocol)?,
        }),
    };
    Some(Endpoint { ip, port })
}
