//! Reading the kernel's state: all of it, at start, to verify and after surprises.

use std::sync::Arc;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Known, KubeSet, Vip, VirtualServer};
use ipvs_netlink::Binding;

use super::{LINK, Linux};
use crate::dataplane::Part;
use crate::error::PlaneError;

impl Linux {
    /// One dump of the services, one for each service's destinations, one for each set, four for addresses and routes,
    /// and one process for each family's rules.
    pub(super) fn read_part(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        known: &mut Known,
    ) -> Result<(), PlaneError> {
        match part {
            Part::Link => self.read_link(families, known),
            Part::VirtualServers => self.read_virtual_servers(families, known),
            Part::RealServers(keys) => keys
                .iter()
                .try_for_each(|key| self.read_real_servers(key, known)),
            Part::Set(set, family) => self.read_set(set, family, known),
            Part::Rules(family) => {
                known.rules.insert(family, self.iptables.save(family)?);
                Ok(())
            }
        }
    }

    fn read_link(&mut self, families: &[Family], known: &mut Known) -> Result<(), PlaneError> {
        known.link = None;
        known.vips.clear();
        let Some(link) = self.links.find(LINK)? else {
            return Ok(());
        };
        known.link = Some(link.up);
        for binding in self.links.bindings(link.index)? {
            let vip = match binding {
                Binding::Address(address) => Vip::Address { address },
                Binding::Route(address, source) => Vip::Route { address, source },
            };
            if families.contains(&Family::of(vip.address())) {
                known.vips.entry(vip.address()).or_default().push(vip);
            }
        }
        Ok(())
    }

    fn read_virtual_servers(
        &mut self,
        families: &[Family],
        known: &mut Known,
    ) -> Result<(), PlaneError> {
        known.virtual_servers.clear();
        for observed in self.ipvs.services()? {
            let key = observed.service.key;
            // Services by firewall mark are never ours.
            if matches!(key, ServiceKey::Fwmark { .. }) || !families.contains(&key.family()) {
                continue;
            }
            let server = VirtualServer::new(observed.service, Vec::new());
            known.virtual_servers.insert(key, Arc::new(server));
        }
        Ok(())
    }

    fn read_real_servers(&mut self, key: &ServiceKey, known: &mut Known) -> Result<(), PlaneError> {
        if let Some(server) = known.virtual_servers.get_mut(key) {
            let found = self.ipvs.destinations(key)?.into_iter();
            let found = found.map(|observed| observed.destination);
            *server = Arc::new(VirtualServer::new(server.service, found.collect()));
        }
        Ok(())
    }

    fn read_set(
        &mut self,
        set: KubeSet,
        family: Family,
        known: &mut Known,
    ) -> Result<(), PlaneError> {
        let wanted = set.spec(family);
        let Some((found, entries)) = self.sets.list(wanted.name)? else {
            return Ok(());
        };
        if (found.set_type, found.family) != (wanted.set_type, wanted.family) {
            return Err(PlaneError::SetType {
                name: wanted.name.to_string(),
                found: found.set_type.to_string(),
                wanted: wanted.set_type.to_string(),
            });
        }
        known
            .sets
            .insert((set, family), entries.into_iter().collect());
        Ok(())
    }
}
