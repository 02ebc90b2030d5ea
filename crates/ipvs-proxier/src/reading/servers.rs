//! Virtual servers one by one.

use std::sync::Arc;

use ipvs_codec::{Family, Service, ServiceKey};
use ipvs_model::{Desired, Known, VirtualServer, overlook_weights};

use crate::dataplane::{DataPlane, Part};
use crate::error::PlaneError;

/// Whether a virtual server is known as it is here. O(1).
pub(super) fn has(known: &Known, key: &ServiceKey, service: &Service) -> bool {
    let known = known.virtual_servers.get(key);
    known.is_some_and(|known| known.service.same_config(service))
}

/// Puts a virtual server into what is known, or takes it away; whether that was another one. Its real servers stay. O(1).
pub(super) fn put_service(key: ServiceKey, found: Option<Service>, known: &mut Known) -> bool {
    match (found, known.virtual_servers.get_mut(&key)) {
        (Some(service), Some(server)) if server.service.same_config(&service) => return false,
        (Some(service), Some(server)) => Arc::make_mut(server).service = service,
        (Some(service), None) => {
            let server = VirtualServer::new(service, Vec::new());
            known.virtual_servers.insert(key, Arc::new(server));
        }
        (None, Some(_)) => {
            known.virtual_servers.remove(&key);
        }
        (None, None) => return false,
    }
    true
}

/// Puts the real servers of a virtual server into what is known; whether there were others. Weights that others set are
/// overlooked where `known` has those of `desired`. O(real servers).
pub(super) fn put_real_servers(
    key: &ServiceKey,
    mut found: Arc<VirtualServer>,
    known: &mut Known,
    desired: &Desired,
) -> bool {
    let Some(before) = known.virtual_servers.get_mut(key) else {
        return false;
    };
    if found == *before {
        return false;
    }
    if let Some(wanted) = desired.virtual_server(key) {
        overlook_weights(Arc::make_mut(&mut found), before, wanted);
    }
    let differs = found != *before;
    if differs {
        *before = found;
    }
    differs
}

/// A virtual server, compared with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    AsKnown,
    Differs { is_there: bool },
}

/// Asks for the real servers of a virtual server; if they differ, for it as well, and corrects what is known. One read, or
/// three.
pub(crate) fn read_one<P: DataPlane + ?Sized>(
    key: ServiceKey,
    plane: &mut P,
    families: &[Family],
    known: &mut Known,
    desired: &Desired,
) -> Result<Compared, PlaneError> {
    let keys = [key];
    let Some(before) = known.virtual_servers.get(&key).map(Arc::clone) else {
        return Ok(Compared::AsKnown);
    };
    let mut found = Known::default();
    found.virtual_servers.insert(key, Arc::clone(&before));
    let _ = plane.read(Part::RealServers(&keys), families, &mut found)?;
    if found.virtual_servers.get(&key) == Some(&before) {
        return Ok(Compared::AsKnown);
    }
    // One that is not there looks as one without real servers.
    let mut found = Known::default();
    let _ = plane.read(Part::VirtualServers(&keys), families, &mut found)?;
    let service = found.virtual_servers.get(&key).map(|found| found.service);
    if service.is_some() {
        let _ = plane.read(Part::RealServers(&keys), families, &mut found)?;
    }
    let mut differs = put_service(key, service, known);
    if let Some(server) = found.virtual_servers.remove(&key) {
        differs |= put_real_servers(&key, server, known, desired);
    }
    let is_there = service.is_some();
    Ok(if differs {
        Compared::Differs { is_there }
    } else {
        Compared::AsKnown
    })
}
