//! Reading the kernel's state part by part: at start, by a resync, and after failures that leave open what was done.

use std::net::IpAddr;
use std::sync::Arc;

use ipvs_codec::{Family, ObservedService, ServiceKey};
use ipvs_model::{Known, Vip, VirtualServer};
use ipvs_netlink::Binding;

use super::Linux;
use super::watcher::Watcher;
use crate::dataplane::{Part, Progress};
use crate::error::PlaneError;

impl Linux {
    /// One dump of the services, or two at start, one for each service's destinations, one for each set, four for addresses
    /// and routes, and one process for each family's rules.
    pub(super) fn read_part(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        match part {
            Part::Start => {
                // Each starts over with its next call, also where the rest of what it had begun could not be read. One that
                // fails must not keep the others from being read.
                let _ = self.lister.restart();
                let _ = self.binding_reader.restart();
                self.filter.restart_sets();
            }
            Part::StartRules => self.filter.restart_rules(),
            Part::Link => return self.read_link(families, found),
            Part::List => return self.read_list(families, found),
            Part::VirtualServers(keys) => {
                for key in keys {
                    let server = self.ipvs.service(key)?;
                    found.virtual_servers.extend(server.map(bare));
                }
            }
            Part::RealServers(keys) => {
                for key in keys {
                    self.read_real_servers(key, found)?;
                }
            }
            Part::Set(set, family) => return self.filter.read_set(set, family, found),
            Part::Rules(family) => {
                return self.filter.read_rules(family, found, &self.control);
            }
        }
        Ok(Progress::Done(()))
    }

    fn read_link(
        &mut self,
        families: &[Family],
        known: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let Some(link) = self.dummy()? else {
            // If it went halfway, so did what was bound to it.
            *known = Known::default();
            self.binding_reader.restart()?;
            return Ok(Progress::Done(()));
        };
        known.link = Some(link.up);
        let mut bindings = Vec::new();
        let done = self.binding_reader.next_chunk(link.index, &mut bindings)?;
        let heard = self.watcher.as_ref().map(Watcher::heard);
        let is_dead = |address: &IpAddr| {
            let heard = heard.as_ref();
            heard.is_some_and(|heard| heard.routeless.contains(address))
        };
        for binding in bindings {
            let vip = match binding {
                // Nobody is answered there: it is as good as not bound.
                Binding::Address(address) if is_dead(&address) => continue,
                Binding::Address(address) => Vip::Address { address },
                Binding::Route {
                    address,
                    source,
                    mtu,
                } => Vip::Route {
                    address,
                    source,
                    mtu,
                },
                Binding::Network(..) => continue,
            };
            if families.contains(&Family::of(vip.address())) {
                known.vips.entry(vip.address()).or_default().push(vip);
            }
        }
        if let Some(mut heard) = heard.filter(|_| done) {
            let bound = known.vips.values().flatten();
            let addresses = bound.filter(|vip| !vip.is_route());
            heard.found(addresses.map(Vip::address));
        }
        Ok(progress(done))
    }

    fn read_list(
        &mut self,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let mut services = Vec::new();
        let done = self.lister.list(&mut services)?;
        // Services by firewall mark are never ours.
        let of_ours = |observed: &ObservedService| match observed.service.key {
            ServiceKey::Fwmark { .. } => false,
            key => families.contains(&key.family()),
        };
        let of_ours = services.into_iter().filter(of_ours);
        found.virtual_servers.extend(of_ours.map(bare));
        Ok(progress(done))
    }

    fn read_real_servers(&mut self, key: &ServiceKey, known: &mut Known) -> Result<(), PlaneError> {
        if let Some(server) = known.virtual_servers.get_mut(key) {
            let found = self.ipvs.destinations(key)?.into_iter();
            let found = found.map(|observed| observed.destination);
            *server = Arc::new(VirtualServer::new(server.service, found.collect()));
        }
        Ok(())
    }
}

pub(super) const fn progress(done: bool) -> Progress {
    if done {
        Progress::Done(())
    } else {
        Progress::More
    }
}

fn bare(observed: ObservedService) -> (ServiceKey, Arc<VirtualServer>) {
    let server = VirtualServer::new(observed.service, Vec::new());
    (observed.service.key, Arc::new(server))
}
