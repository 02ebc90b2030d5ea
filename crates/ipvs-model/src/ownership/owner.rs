use std::net::IpAddr;

use ipvs_codec::{Destination, Family, ServiceKey};

use super::ledger::{entries_that_list, entry_that_names};
use crate::config::{Config, Foreign};
use crate::known::Known;
use crate::state::VirtualServer;

/// Whose an object of the kernel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours: an entry of our sets lists it. We made it, or an earlier run or kube-proxy did.
    Ours,
    /// Nobody knows who made it, but it has nothing that we would not have made: it becomes ours.
    Adopted,
    /// Somebody else's.
    Foreign,
}

/// Whose the virtual servers and addresses of a known state are. It looks at the entries in that state, so keep it as it was
/// read while sets are being destroyed.
///
/// ```
/// use ipvs_codec::{Protocol, ServiceKey};
/// use ipvs_model::{Config, Known, Owner, Ownership};
///
/// let (config, known) = (Config::default(), Known::default());
/// let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 10].into(), 80);
/// assert_eq!(Ownership::of(&config, &known).virtual_server(&key), Owner::Foreign);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Ownership<'a> {
    config: &'a Config,
    known: &'a Known,
}

impl<'a> Ownership<'a> {
    /// By the entries that `known` has.
    #[must_use]
    pub const fn of(config: &'a Config, known: &'a Known) -> Self {
        Self { config, known }
    }

    /// Whose a virtual server is that no Service asks for; what is of a family that is not served is never ours. An entry of
    /// a node port lists that port of every address. O(1).
    #[must_use]
    pub fn virtual_server(&self, key: &ServiceKey) -> Owner {
        let is_listed = || entries_that_list(key).any(|entry| self.known.has_member(&entry));
        if self.serves(key.family()) && is_listed() {
            Owner::Ours
        } else {
            Owner::Foreign
        }
    }

    /// Whose an address on the dummy interface is that no Service asks for. O(1).
    #[must_use]
    pub fn vip(&self, address: IpAddr) -> Owner {
        if self.serves(Family::of(address)) && self.known.has_member(&entry_that_names(address)) {
            Owner::Ours
        } else {
            Owner::Foreign
        }
    }

    /// Whose the virtual server is that stands where one is wanted: somebody else's, if no entry lists it and it has settings
    /// or real servers that are not wanted. None if none is there. O(its real servers).
    #[must_use]
    pub fn of_wanted(&self, wanted: &VirtualServer) -> Option<Owner> {
        let key = wanted.service.key;
        let found = self.known.virtual_servers.get(&key)?;
        Some(match self.virtual_server(&key) {
            Owner::Foreign if has_nothing_else(found, wanted) => Owner::Adopted,
            owner => owner,
        })
    }

    /// Whether a virtual server that no Service asks for is to be removed. O(1), and O(excluded networks).
    #[must_use]
    pub fn may_remove(&self, key: &ServiceKey) -> bool {
        let ServiceKey::Endpoint { addr, .. } = *key else {
            return false;
        };
        let mut excluded = self.config.exclude_cidrs.iter();
        self.serves(key.family())
            && !excluded.any(|net| net.contains(&addr))
            && (self.config.foreign == Foreign::Remove || self.virtual_server(key) == Owner::Ours)
    }

    /// Whether an address that no Service asks for is to be unbound. O(1).
    #[must_use]
    pub fn may_unbind(&self, address: IpAddr) -> bool {
        self.serves(Family::of(address))
            && (self.config.foreign == Foreign::Remove || self.vip(address) == Owner::Ours)
    }

    fn serves(&self, family: Family) -> bool {
        self.config.families.contains(&family)
    }
}

/// Weights do not count: operators change them by hand.
fn has_nothing_else(found: &VirtualServer, wanted: &VirtualServer) -> bool {
    let is_wanted = |found: &Destination| {
        let wanted = wanted.real_server(found.addr);
        wanted.is_some_and(|wanted| {
            *wanted
                == Destination {
                    weight: wanted.weight,
                    ..*found
                }
        })
    };
    found.service.same_config(&wanted.service) && found.real_servers().iter().all(is_wanted)
}
