//! Reading the kernel's state: all of it, at start, to verify and after surprises.

use std::sync::Arc;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Known, KubeSet, Member, Vip, VirtualServer};
use ipvs_netlink::Binding;

use super::{LINK, Linux};
use crate::error::PlaneError;

impl Linux {
    /// One dump of the services, one for each service's destinations, one for each set, four for addresses and routes,
    /// and one process for each family's rules.
    pub(super) fn read(&mut self, families: &[Family]) -> Result<Known, PlaneError> {
        let mut known = Known::default();
        self.read_link(families, &mut known)?;
        self.read_virtual_servers(families, &mut known)?;
        for family in families {
            self.read_sets(*family, &mut known)?;
            known.rules.insert(*family, self.iptables.save(*family)?);
        }
        Ok(known)
    }

    fn read_link(&mut self, families: &[Family], known: &mut Known) -> Result<(), PlaneError> {
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
        for observed in self.ipvs.services()? {
            let key = observed.service.key;
            // Services by firewall mark are never ours.
            if matches!(key, ServiceKey::Fwmark { .. }) || !families.contains(&key.family()) {
                continue;
            }
            let real_servers = self
                .ipvs
                .destinations(&key)?
                .into_iter()
                .map(|observed| observed.destination);
            let server = VirtualServer::new(observed.service, real_servers.collect());
            known.virtual_servers.insert(key, Arc::new(server));
        }
        Ok(())
    }

    fn read_sets(&mut self, family: Family, known: &mut Known) -> Result<(), PlaneError> {
        for set in KubeSet::ALL {
            let wanted = set.spec(family);
            let Some((found, entries)) = self.sets.list(wanted.name)? else {
                continue;
            };
            if (found.set_type, found.family) != (wanted.set_type, wanted.family) {
                return Err(PlaneError::SetType {
                    name: wanted.name.to_string(),
                    found: found.set_type.to_string(),
                    wanted: wanted.set_type.to_string(),
                });
            }
            known.sets.insert((set, family));
            known.members.extend(
                entries
                    .into_iter()
                    .map(|entry| Member { set, family, entry }),
            );
        }
        Ok(())
    }
}
