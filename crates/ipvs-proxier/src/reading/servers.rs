//! Virtual servers one by one.

use std::sync::Arc;

use ipvs_codec::{Service, ServiceKey};
use ipvs_model::{Desired, Known, VirtualServer, overlook_weights};

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
