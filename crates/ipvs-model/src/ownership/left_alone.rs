use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs_codec::{Family, ServiceKey};

use crate::filter::FilterEntry;

/// Virtual servers that Services ask for and that stay somebody else's, and what would touch them or make them look ours:
/// entries that list them, rules that entries of their address and port bring on them, and the binding of their address,
/// which the filter would close to them. Nearly always none. Everything here is O(log those).
#[derive(Debug, Default)]
pub(crate) struct LeftAlone {
    servers: BTreeSet<ServiceKey>,
    /// Addresses that are left alone with them. Those that were bound before are not.
    addresses: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    ports: BTreeMap<Port, BTreeSet<ServiceKey>>,
}

/// Of all addresses of a family. The protocol by its number, which sorts.
type Port = (Family, u16, u16);

impl LeftAlone {
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.servers.iter()
    }

    pub(crate) fn add(&mut self, key: ServiceKey, with_address: bool) {
        self.servers.insert(key);
        let Some((address, port)) = parts(&key) else {
            return;
        };
        if with_address {
            self.addresses.entry(address).or_default().insert(key);
        }
        self.ports.entry(port).or_default().insert(key);
    }

    pub(crate) fn remove(&mut self, key: &ServiceKey) {
        self.servers.remove(key);
        let Some((address, port)) = parts(key) else {
            return;
        };
        if let Some(of_it) = self.addresses.get_mut(&address) {
            of_it.remove(key);
            if of_it.is_empty() {
                self.addresses.remove(&address);
            }
        }
        if let Some(of_it) = self.ports.get_mut(&port) {
            of_it.remove(key);
            if of_it.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    pub(crate) fn has(&self, key: &ServiceKey) -> bool {
        self.servers.contains(key)
    }

    pub(crate) fn has_vip(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    pub(crate) fn has_member(&self, member: &FilterEntry) -> bool {
        match member {
            // Of endpoints.
            FilterEntry::Hairpin(..) => false,
            FilterEntry::Vip(address) => self.has_vip(*address),
            _ => match (member.served(), member.node_port()) {
                (Some(served), _) => self.has(&served.key()),
                (None, Some((protocol, port))) => {
                    let port = (member.family(), protocol.number(), port);
                    self.ports.contains_key(&port)
                }
                // Of this node.
                (None, None) => false,
            },
        }
    }
}

fn parts(key: &ServiceKey) -> Option<(IpAddr, Port)> {
    match *key {
        ServiceKey::Endpoint {
            protocol,
            addr,
            port,
        } => Some((addr, (key.family(), protocol.number(), port))),
        ServiceKey::Fwmark { .. } => None,
    }
}
