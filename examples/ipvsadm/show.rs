//! The commands that only show something.

use ipvs_codec::{ObservedDestination, ObservedService, ServiceKey};
use ipvs_netlink::Ipvs;
use support::output::print;

use crate::change::general;
use crate::command::Action;
use crate::failure::Failure;
use crate::list::Printer;
use crate::names::Names;
use crate::options::{Given, Opt};
use crate::{connections, help, order};

/// Shows what is asked for.
pub(crate) fn show(
    program: &str,
    ipvs: &mut Ipvs,
    action: Action,
    names: &mut Names,
) -> Result<(), Failure> {
    match action {
        Action::Help => print(help::text(program))?,
        Action::Version => print(help::version() + "\n")?,
        Action::Save(given) => save(ipvs, given, names)?,
        Action::List(given, _) if given.has(Opt::Connection) => connections::list(given, names)?,
        Action::List(given, Some(key)) => one(ipvs, &key, given, names)?,
        Action::List(given, _) if given.has(Opt::Timeout) => timeouts(ipvs)?,
        Action::List(given, _) if given.has(Opt::Daemon) => daemons(ipvs)?,
        Action::List(given, None) => all(ipvs, given, names)?,
        Action::Change(_) | Action::Restore => {}
    }
    Ok(())
}

fn unread(error: &ipvs_netlink::Error) -> Failure {
    Failure::unread(general(error.cause()))
}

/// The whole table.
pub(crate) fn all(ipvs: &mut Ipvs, given: Given, names: &mut Names) -> Result<(), Failure> {
    let info = ipvs.info().map_err(|error| unread(&error))?;
    let [_, major, minor, patch] = info.version.to_be_bytes();
    let size = info.connection_table_size;
    print(format_args!(
        "IP Virtual Server version {major}.{minor}.{patch} (size={size})\n"
    ))?;
    let services = services(ipvs, given)?;
    let mut printer = Printer::new(given, names);
    print(printer.title())?;
    services
        .iter()
        .try_for_each(|service| entry(ipvs, service, given, &mut printer))
}

fn one(ipvs: &mut Ipvs, key: &ServiceKey, given: Given, names: &mut Names) -> Result<(), Failure> {
    let service = ipvs.service(key).map_err(|error| unread(&error))?;
    let service = service.ok_or_else(|| Failure::unread("No such service"))?;
    let mut printer = Printer::new(given, names);
    print(printer.title())?;
    entry(ipvs, &service, given, &mut printer)
}

fn entry(
    ipvs: &mut Ipvs,
    service: &ObservedService,
    given: Given,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    print(printer.service(service))?;
    let key = &service.service.key;
    for destination in destinations(ipvs, key, given)? {
        print(printer.destination(&destination, key.protocol()))?;
    }
    Ok(())
}

fn save(ipvs: &mut Ipvs, given: Given, names: &mut Names) -> Result<(), Failure> {
    let services = services(ipvs, given)?;
    let mut printer = Printer::new(given, names);
    for service in &services {
        let destinations = destinations(ipvs, &service.service.key, given)?;
        print(printer.saved(service, &destinations))?;
    }
    Ok(())
}

fn services(ipvs: &mut Ipvs, given: Given) -> Result<Vec<ObservedService>, Failure> {
    let mut services = ipvs.services().map_err(|error| unread(&error))?;
    if !given.has(Opt::Nosort) {
        services = order::by_key(services, |observed| observed.service.key);
    }
    Ok(services)
}

fn destinations(
    ipvs: &mut Ipvs,
    key: &ServiceKey,
    given: Given,
) -> Result<Vec<ObservedDestination>, Failure> {
    let mut destinations = ipvs.destinations(key).map_err(|error| unread(&error))?;
    if !given.has(Opt::Nosort) {
        destinations = order::by_address(destinations, |observed| observed.destination.addr);
    }
    Ok(destinations)
}

fn timeouts(ipvs: &mut Ipvs) -> Result<(), Failure> {
    let timeouts = ipvs.timeouts().map_err(|error| unread(&error))?;
    let (tcp, tcp_fin, udp) = (timeouts.tcp, timeouts.tcp_fin, timeouts.udp);
    print(format_args!(
        "Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n"
    ))?;
    Ok(())
}

fn daemons(ipvs: &mut Ipvs) -> Result<(), Failure> {
    for daemon in ipvs.daemons().map_err(|error| unread(&error))? {
        print(format_args!("{daemon}\n"))?;
    }
    Ok(())
}
