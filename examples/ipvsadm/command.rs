//! A command line, read and checked.

use std::num::NonZeroU16;

use ipvs_codec::{
    Daemon, DaemonState, Destination, Family, ForwardMethod, Protocol, Scheduler, Service,
    ServiceFlags, ServiceKey, Timeouts, Tunnel,
};

use crate::change::Change;
use crate::failure::Failure;
use crate::names::Names;
use crate::options::{Command, Given, Meaning, Opt};
use crate::settings::{self, Settings, TunnelType};
use crate::words::{Word, Words};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    Change(Change),
    /// Show what the options say: of this service, or of all.
    List(Given, Option<ServiceKey>),
    Save(Given),
    Restore,
    Help,
    Version,
}

/// Reads the words behind the program's name.
pub(crate) fn read(program: &str, words: &[String], names: &Names) -> Result<Action, Failure> {
    let mut words = Words::of(words);
    let (command, value) = match words.next() {
        Word::Option(spec, value) => match spec.meaning {
            Meaning::Command(command) => (command, value),
            _ => return Err(Failure::try_help(program)),
        },
        _ => return Err(Failure::try_help(program)),
    };
    let daemon = match (command, value.as_deref()) {
        (Command::Help, _) => return Ok(Action::Help),
        (Command::Version, _) => return Ok(Action::Version),
        (Command::StartDaemon | Command::StopDaemon, value) => Some(daemon_state(command, value)?),
        _ => None,
    };
    let mut settings = Settings::default();
    let given = read_options(&mut words, &mut settings, names)?;
    let mut others = words.others();
    let timeouts = match command {
        Command::Set => Some(read_timeouts(&mut others)?),
        _ => None,
    };
    if let Some(other) = others.next() {
        return Err(Failure::wrong(format!("unexpected argument {other}")));
    }
    read_scheduler_flags(&mut settings)?;
    command.check(given)?;
    let key = key(&settings);
    // The check saw to it that there is one where there must be.
    let service = || key.ok_or_else(|| Failure::try_help(program));
    Ok(Action::Change(match command {
        Command::AddService => Change::AddService(service_of(&settings, service()?)?),
        Command::EditService => Change::EditService(service_of(&settings, service()?)?),
        Command::DeleteService => Change::DeleteService(service()?),
        Command::AddServer => Change::AddServer(service()?, destination(&settings, given)?),
        Command::EditServer => Change::EditServer(service()?, destination(&settings, given)?),
        Command::DeleteServer => Change::DeleteServer(service()?, plain_destination(&settings)?),
        Command::Clear => Change::Clear,
        Command::Zero => Change::Zero(key.filter(is_somewhere)),
        Command::Set => Change::Set(timeouts.unwrap_or_default()),
        Command::StartDaemon => Change::StartDaemon(sync_daemon(&settings, daemon)?),
        Command::StopDaemon => Change::StopDaemon(daemon.unwrap_or(DaemonState::Master)),
        Command::List => {
            check_list(given)?;
            return Ok(Action::List(given, key));
        }
        Command::Save => return Ok(Action::Save(given)),
        Command::Restore => return Ok(Action::Restore),
        Command::Help => return Ok(Action::Help),
        Command::Version => return Ok(Action::Version),
    }))
}

fn read_options(
    words: &mut Words<'_>,
    settings: &mut Settings,
    names: &Names,
) -> Result<Given, Failure> {
    let mut given = Given::default();
    loop {
        let (spec, value) = match words.next() {
            Word::End => return Ok(given),
            Word::Wrong(why) => {
                return Err(Failure::refused(format!("{}: {why}", words.current())));
            }
            Word::Option(spec, value) => (spec, value),
        };
        match spec.meaning {
            Meaning::Command(_) => {
                let text = format!("invalid option `{}'", words.current());
                return Err(Failure::wrong(text));
            }
            Meaning::Sort => {}
            Meaning::Ipv6 => settings.set_ipv6()?,
            Meaning::Option(option) => {
                given.add(option)?;
                settings.set(option, spec.long, value.as_deref(), names)?;
            }
        }
    }
}

fn daemon_state(command: Command, value: Option<&str>) -> Result<DaemonState, Failure> {
    match value {
        Some("master") => Ok(DaemonState::Master),
        Some("backup") => Ok(DaemonState::Backup),
        _ if command == Command::StartDaemon => {
            Err(Failure::wrong("illegal start-daemon parameter specified"))
        }
        _ => Err(Failure::wrong("illegal start_daemon specified")),
    }
}

fn read_timeouts(words: &mut impl Iterator<Item = String>) -> Result<Timeouts, Failure> {
    let values: Vec<String> = words.take(3).collect();
    let [tcp, tcp_fin, udp] = &values[..] else {
        return Err(Failure::wrong("--set option requires 3 timeout values"));
    };
    Ok(Timeouts {
        tcp: settings::timeout(tcp, 0)?,
        tcp_fin: settings::timeout(tcp_fin, 0)?,
        udp: settings::timeout(udp, 0)?,
    })
}

/// Their names depend on the scheduler, which may stand behind them.
fn read_scheduler_flags(settings: &mut Settings) -> Result<(), Failure> {
    let scheduler = match settings.scheduler.as_str() {
        "" => Scheduler::WLC,
        name => name.parse().unwrap_or(Scheduler::WLC),
    };
    let of_sh_or_mh = ["sh-fallback", "sh-port", "mh-fallback", "mh-port"];
    for name in settings
        .scheduler_flags
        .split(',')
        .filter(|name| !name.is_empty())
    {
        settings.flags |= ServiceFlags::of_scheduler(scheduler, name).ok_or_else(|| {
            let what = match of_sh_or_mh.contains(&name) {
                true => "incompatible",
                false => "invalid",
            };
            Failure::wrong(format!("{what} scheduler flag `{name}'"))
        })?;
    }
    Ok(())
}

fn key(settings: &Settings) -> Option<ServiceKey> {
    if let Some(mark) = settings.mark {
        return ServiceKey::fwmark(settings.family.unwrap_or(Family::Ipv4), mark).ok();
    }
    let endpoint = settings.virtual_address?;
    let protocol = settings.protocol?;
    Some(ServiceKey::endpoint(
        protocol,
        endpoint.ip,
        endpoint.port.unwrap_or(0),
    ))
}

/// Whether a service is one to be set to zero; the one without address and port stands for all.
fn is_somewhere(key: &ServiceKey) -> bool {
    match key {
        ServiceKey::Endpoint { addr, port, .. } => !addr.is_unspecified() || *port != 0,
        ServiceKey::Fwmark { .. } => true,
    }
}

fn service_of(settings: &Settings, key: ServiceKey) -> Result<Service, Failure> {
    if let ServiceKey::Endpoint { protocol, port, .. } = key {
        if port == 0 && !settings.flags.contains(ServiceFlags::PERSISTENT) {
            return Err(Failure::wrong(
                "Zero port specified for non-persistent service",
            ));
        }
        if settings.flags.contains(ServiceFlags::ONE_PACKET) && protocol != Protocol::UDP {
            let text = "One-Packet Scheduling is only for UDP virtual services";
            return Err(Failure::wrong(text));
        }
    }
    let unknown = || Failure::refused("Scheduler or persistence engine not found");
    let scheduler = match settings.scheduler.as_str() {
        "" => Scheduler::WLC,
        name => name.parse().map_err(|_ignored| unknown())?,
    };
    Ok(Service {
        flags: settings.flags,
        timeout: settings.timeout,
        netmask: settings.netmask,
        pe: match settings.persistence_engine.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_ignored| unknown())?),
        },
        ..Service::new(key, scheduler)
    })
}

/// The server as it is named: without a port it has that of the service.
fn plain_destination(settings: &Settings) -> Result<Destination, Failure> {
    let missing = || Failure::wrong("illegal real server address[:port] specified");
    let endpoint = settings.real_address.ok_or_else(missing)?;
    let port = endpoint.port.unwrap_or_else(|| virtual_port(settings));
    Ok(Destination::new((endpoint.ip, port).into()))
}

fn virtual_port(settings: &Settings) -> u16 {
    settings
        .virtual_address
        .and_then(|endpoint| endpoint.port)
        .unwrap_or(0)
}

fn destination(settings: &Settings, given: Given) -> Result<Destination, Failure> {
    let mut destination = plain_destination(settings)?;
    let forward = settings.forward;
    // Only network address translation changes the port.
    if settings.mark.is_none() && forward != ForwardMethod::MASQUERADE {
        destination.addr.set_port(virtual_port(settings));
    }
    let tunnelled = forward == ForwardMethod::TUNNEL;
    if settings.family != Some(Family::of(destination.addr.ip())) && !tunnelled {
        let text = "Different address family is allowed only for tunneling servers";
        return Err(Failure::wrong(text));
    }
    let options = [
        Opt::TunType,
        Opt::TunPort,
        Opt::TunNocsum,
        Opt::TunCsum,
        Opt::TunRemcsum,
    ];
    if given.has_any(&options) && !tunnelled {
        return Err(Failure::wrong(
            "Tunnel options conflict with forward method",
        ));
    }
    Ok(Destination {
        forward,
        weight: settings.weight,
        upper_threshold: settings.upper_threshold,
        lower_threshold: settings.lower_threshold,
        tunnel: tunnel(settings, given)?,
        ..destination
    })
}

fn tunnel(settings: &Settings, given: Given) -> Result<Tunnel, Failure> {
    let name = match settings.tunnel {
        TunnelType::Ipip => "ipip",
        TunnelType::Gue => "gue",
        TunnelType::Gre => "gre",
    };
    let illegal = |option: Opt| {
        Failure::wrong(format!(
            "Illegal '{option}' option with the '{name}' tunnel type"
        ))
    };
    let port = NonZeroU16::new(settings.tunnel_port);
    match (settings.tunnel, port) {
        (TunnelType::Gue, None) => {
            return Err(Failure::wrong(format!(
                "You need to supply the '{}' option for the 'gue' tunnel type",
                Opt::TunPort
            )));
        }
        (TunnelType::Ipip | TunnelType::Gre, Some(_)) => return Err(illegal(Opt::TunPort)),
        _ => {}
    }
    let mut first: Option<Opt> = None;
    for option in [Opt::TunNocsum, Opt::TunCsum, Opt::TunRemcsum] {
        if !given.has(option) {
            continue;
        }
        let without = match settings.tunnel {
            TunnelType::Ipip => true,
            TunnelType::Gue => false,
            TunnelType::Gre => option == Opt::TunRemcsum,
        };
        if without {
            return Err(illegal(option));
        }
        if let Some(first) = first.replace(option) {
            return Err(Failure::wrong(format!(
                "The option '{option}' conflicts with the '{first}' option in the '{name}' tunnel type"
            )));
        }
    }
    let flags = settings.tunnel_flags;
    Ok(match (settings.tunnel, port) {
        (TunnelType::Gue, Some(port)) => Tunnel::Gue { port, flags },
        (TunnelType::Gre, _) => Tunnel::Gre { flags },
        _ => Tunnel::Ipip,
    })
}

fn sync_daemon(settings: &Settings, state: Option<DaemonState>) -> Result<Daemon, Failure> {
    let interface = match settings.interface.as_str() {
        "" => "eth0",
        name => name,
    };
    let interface = interface
        .parse()
        .map_err(|_ignored| Failure::refused("No such device"))?;
    let state = state.unwrap_or(DaemonState::Master);
    Ok(Daemon {
        max_length: settings.sync_max_length,
        group: settings.group,
        port: settings.group_port,
        ttl: settings.group_ttl,
        ..Daemon::new(state, interface, settings.sync_id)
    })
}

fn check_list(given: Given) -> Result<(), Failure> {
    let other = given.has_any(&[Opt::Timeout, Opt::Daemon]);
    let servers = given.has_any(&[Opt::Stats, Opt::Rate, Opt::Thresholds]);
    let connections = given.has(Opt::Connection) || other;
    if connections && servers || other && given.has(Opt::PersistentConn) {
        return Err(Failure::wrong("options conflicts in the list command"));
    }
    Ok(())
}
