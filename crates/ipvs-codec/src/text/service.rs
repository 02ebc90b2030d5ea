use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::options::{self, Options, wrong};
use crate::error::TextError;
use crate::types::{Family, Netmask, Protocol, Scheduler, Service, ServiceFlags, ServiceKey};

/// What `-p` without a number means to ipvsadm: six minutes.
const PERSISTENT: u32 = 360;

const NAMED_FLAGS: [(&str, &str, ServiceFlags); 4] = [
    ("sh", "sh-fallback", ServiceFlags::SCHED_1),
    ("sh", "sh-port", ServiceFlags::SCHED_2),
    ("mh", "mh-fallback", ServiceFlags::SCHED_1),
    ("mh", "mh-port", ServiceFlags::SCHED_2),
];

const ANY_FLAGS: [(&str, ServiceFlags); 3] = [
    ("flag-1", ServiceFlags::SCHED_1),
    ("flag-2", ServiceFlags::SCHED_2),
    ("flag-3", ServiceFlags::SCHED_3),
];

/// As `ipvsadm -S -n` writes it: `-A -t 10.0.0.1:80 -s rr`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("-A ")?;
        write_key(&self.key, f)?;
        write!(f, " -s {}", self.scheduler)?;
        if self.flags.contains(ServiceFlags::PERSISTENT) {
            write!(f, " -p {}", self.timeout)?;
            match self.netmask {
                mask if mask == Netmask::host(self.key.family()) => {}
                Netmask::Ipv4(mask) => write!(f, " -M {mask}")?,
                Netmask::Ipv6(prefix) => write!(f, " -M {prefix}")?,
            }
        }
        if let Some(pe) = self.pe {
            write!(f, " --pe {pe}")?;
        }
        if self.flags.contains(ServiceFlags::ONE_PACKET) {
            f.write_str(" -o")?;
        }
        let mut before = " -b ";
        for flag in self.scheduler_flags() {
            write!(f, "{before}{flag}")?;
            before = ",";
        }
        Ok(())
    }
}

impl FromStr for Service {
    type Err = TextError;
    fn from_str(line: &str) -> Result<Self, TextError> {
        let mut options = Options::of(line);
        match options.next() {
            Some("-A") => read(options),
            other => Err(TextError::Unexpected(other.unwrap_or_default().to_owned())),
        }
    }
}

impl Service {
    /// The names of the scheduler flags that are set, as `ipvsadm -b` takes them: those of sh and mh have names of
    /// their own, the others are `flag-1` to `flag-3`.
    ///
    /// ```
    /// use ipvs_codec::{Protocol, Scheduler, Service, ServiceFlags, ServiceKey};
    ///
    /// let key = ServiceKey::endpoint(Protocol::TCP, "10.0.0.1".parse().unwrap(), 80);
    /// let service = Service::new(key, Scheduler::MH).with_flags(ServiceFlags::SCHED_2);
    /// assert_eq!(service.scheduler_flags().collect::<Vec<_>>(), ["mh-port"]);
    /// assert_eq!(ServiceFlags::of_scheduler(Scheduler::MH, "mh-port"), Some(ServiceFlags::SCHED_2));
    /// assert_eq!(ServiceFlags::of_scheduler(Scheduler::RR, "mh-port"), None);
    /// ```
    pub fn scheduler_flags(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (flags, scheduler) = (self.flags, self.scheduler);
        ANY_FLAGS
            .into_iter()
            .filter(move |(_, flag)| flags.contains(*flag))
            .map(move |(name, flag)| {
                let own = NAMED_FLAGS
                    .into_iter()
                    .find(|(of, _, own)| scheduler.is(of) && *own == flag);
                own.map_or(name, |(_, own, _)| own)
            })
    }
}

impl ServiceFlags {
    /// The flag that a name of `ipvsadm -b` means to a scheduler; `None` for one that it does not know.
    #[must_use]
    pub fn of_scheduler(scheduler: Scheduler, name: &str) -> Option<Self> {
        let own = NAMED_FLAGS
            .into_iter()
            .find(|(of, own, _)| scheduler.is(of) && *own == name)
            .map(|(_, _, flag)| flag);
        own.or_else(|| {
            let any = ANY_FLAGS.into_iter().find(|(any, _)| *any == name);
            any.map(|(_, flag)| flag)
        })
    }
}

pub(super) fn write_key(key: &ServiceKey, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => {
            let option = match protocol {
                Protocol::TCP => "-t",
                Protocol::UDP => "-u",
                Protocol::SCTP => "--sctp-service",
                // What ipvsadm writes for what it could not have made.
                _ => "--xxx-service",
            };
            write!(f, "{option} {}", SocketAddr::new(addr, port))
        }
        ServiceKey::Fwmark { family, mark } => {
            write!(f, "-f {mark}")?;
            match family {
                Family::Ipv4 => Ok(()),
                Family::Ipv6 => f.write_str(" -6"),
            }
        }
    }
}

pub(super) fn read_key(options: &mut Options<'_>) -> Result<ServiceKey, TextError> {
    let option = options
        .next()
        .ok_or(TextError::Missing("-t, -u, --sctp-service or -f"))?;
    let protocol = match option {
        "-t" => Protocol::TCP,
        "-u" => Protocol::UDP,
        "--sctp-service" => Protocol::SCTP,
        "-f" => {
            let mark = options.value(option)?;
            let family = match options.next_if("-6") {
                true => Family::Ipv6,
                false => Family::Ipv4,
            };
            let number = options::read(option, mark)?;
            return Ok(ServiceKey::fwmark(family, number)?);
        }
        other => return Err(TextError::Unexpected(other.to_owned())),
    };
    let addr: SocketAddr = options.parsed(option)?;
    Ok(ServiceKey::endpoint(protocol, addr.ip(), addr.port()))
}

/// Reads what stands behind `-A`.
pub(super) fn read(mut options: Options<'_>) -> Result<Service, TextError> {
    let key = read_key(&mut options)?;
    let mut service = Service::new(key, Scheduler::WLC);
    let mut flags = None;
    while let Some(option) = options.next() {
        match option {
            "-s" => service.scheduler = options.value(option)?.parse()?,
            "-p" => {
                let seconds = match options.optional() {
                    Some(text) => options::read(option, text)?,
                    None => PERSISTENT,
                };
                service = service.persistent(seconds)?;
            }
            "-M" => {
                service.netmask = match key.family() {
                    Family::Ipv4 => Netmask::Ipv4(options.parsed::<Ipv4Addr>(option)?),
                    Family::Ipv6 => Netmask::prefix(Family::Ipv6, options.parsed(option)?)?,
                }
            }
            "--pe" => service.pe = Some(options.value(option)?.parse()?),
            "-o" => service.flags |= ServiceFlags::ONE_PACKET,
            "-b" => flags = Some(options.value(option)?),
            other => return Err(TextError::Unexpected(other.to_owned())),
        }
    }
    // Without persistence it means nothing, and is not written.
    if !service.flags.contains(ServiceFlags::PERSISTENT) {
        service.netmask = Netmask::host(key.family());
    }
    // Their names depend on the scheduler, which may stand behind them.
    for name in flags.into_iter().flat_map(|names| names.split(',')) {
        service.flags |=
            ServiceFlags::of_scheduler(service.scheduler, name).ok_or_else(|| wrong("-b", name))?;
    }
    Ok(service)
}

/// `ADDRESS:PORT/PROTOCOL` or `fwmark MARK (FAMILY)`, as [`ServiceKey`] is displayed.
impl FromStr for ServiceKey {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = || wrong("virtual server", text);
        if let Some(mark) = text.strip_prefix("fwmark ") {
            let (mark, family) = match mark.split_once(' ') {
                Some((mark, "(IPv6)")) => (mark, Family::Ipv6),
                Some((mark, "(IPv4)")) => (mark, Family::Ipv4),
                Some(_) => return Err(refused()),
                None => (mark, Family::Ipv4),
            };
            let mark = options::read("virtual server", mark)?;
            return Ok(Self::fwmark(family, mark)?);
        }
        let (addr, protocol) = text.rsplit_once('/').ok_or_else(refused)?;
        let addr: SocketAddr = options::read("virtual server", addr)?;
        let protocol = protocol.parse()?;
        Ok(Self::endpoint(protocol, addr.ip(), addr.port()))
    }
}

/// `TCP`, `UDP`, `SCTP` in any case, or a number.
impl FromStr for Protocol {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let known = [Self::TCP, Self::UDP, Self::SCTP]
            .into_iter()
            .find(|protocol| protocol.to_string().eq_ignore_ascii_case(text));
        known.map_or_else(
            || {
                let number = options::read("protocol", text)?;
                Ok(Self::from_number(number))
            },
            Ok,
        )
    }
}
