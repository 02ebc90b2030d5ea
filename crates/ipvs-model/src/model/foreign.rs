//! Virtual servers of somebody else where Services want theirs.

use ipvs_codec::ServiceKey;

use super::Model;
use crate::config::Foreign;
use crate::input::ObjectName;
use crate::key::Key;
use crate::known::Known;
use crate::ownership::{Owner, Ownership, entries_that_list, entry_that_names};

impl Model {
    /// Virtual servers that were somebody else's and that a plan since the last call takes over, each with the Service that
    /// wants it. Each is returned once. Where [foreign](Foreign::Keep) ones are kept, none is taken over: that the Service
    /// does not get it is one of its [problems](crate::Problem::Foreign).
    ///
    /// ```
    /// use ipvs_model::{Config, Known, Model};
    ///
    /// let mut model = Model::new(Config::default());
    /// model.plan_everything(&Known::default());
    /// assert!(model.take_taken_over().is_empty());
    /// ```
    pub fn take_taken_over(&mut self) -> Vec<(ObjectName, ServiceKey)> {
        std::mem::take(&mut self.taken_over)
    }

    /// The virtual servers that the next plan is the first to claim, where [foreign](Foreign::Keep) ones are kept: somebody may
    /// have made one since everything was read, and once our entries list it nobody knows any more that it is not ours. So it
    /// is read before. None in any other case. O(change).
    ///
    /// ```
    /// use ipvs_model::{Config, Model};
    ///
    /// assert!(Model::new(Config::default()).virtual_servers_to_read().is_empty());
    /// ```
    pub fn virtual_servers_to_read(&mut self) -> Vec<ServiceKey> {
        if self.config.foreign != Foreign::Keep || self.is_ahead {
            return Vec::new();
        }
        self.compile_stale(|_| true);
        self.desired.new_claims().to_vec()
    }

    /// Finds out whose the virtual servers are that a plan for some keys is going to make or change, and adds keys that must be
    /// planned for since nobody else's stands in their way any more.
    ///
    /// Whose one is is asked once, when it is first claimed: what was ours then is ours even while its entries are missing. O(new
    /// virtual servers), and O(keys) while some are left alone.
    pub(super) fn look_for_foreign(&mut self, keys: &mut Vec<Key>, known: &Known) {
        let mut due = self.desired.take_new();
        let left_alone = self.desired.left_alone();
        if !left_alone.is_empty() {
            due.extend(keys.iter().filter_map(|key| match key {
                Key::VirtualServer(key) if left_alone.has(key) => Some(*key),
                _ => None,
            }));
        }
        for key in due {
            self.ask_for_owner(key, known, keys);
        }
    }

    /// As [`look_for_foreign`](Self::look_for_foreign) for a plan for everything.
    pub(super) fn look_for_all_foreign(&mut self, known: &Known) {
        let left_alone = self.desired.left_alone().keys();
        let mut keys: Vec<Key> = left_alone.copied().map(Key::VirtualServer).collect();
        self.look_for_foreign(&mut keys, known);
    }

    fn ask_for_owner(&mut self, key: ServiceKey, known: &Known, keys: &mut Vec<Key>) {
        let ownership = Ownership::of(&self.config, known);
        let claimed = self.desired.claimed(&key);
        let owner = claimed.and_then(|wanted| ownership.of_wanted(wanted));
        let is_left_alone = self.desired.left_alone().has(&key);
        match (owner, self.config.foreign) {
            (Some(Owner::Foreign), Foreign::Remove) => {
                let service = self.desired.owner(&key).cloned();
                self.taken_over
                    .extend(service.map(|service| (service, key)));
            }
            (Some(Owner::Foreign), Foreign::Keep) if is_left_alone => {}
            (Some(Owner::Foreign), Foreign::Keep) => {
                // What is bound already is needed by others, and closed to that one anyway.
                let is_bound = |addr| ownership.vip(addr) == Owner::Ours;
                let with_address =
                    matches!(key, ServiceKey::Endpoint { addr, .. } if !is_bound(addr));
                self.desired.leave_alone(key, with_address);
            }
            _ if is_left_alone => {
                self.desired.no_longer_alone(&key);
                self.touch_around(key, keys);
            }
            _ => {}
        }
    }

    /// Everything that was not done for the sake of one that was left alone.
    fn touch_around(&self, key: ServiceKey, keys: &mut Vec<Key>) {
        keys.push(Key::VirtualServer(key));
        keys.extend(entries_that_list(&key).map(Key::Member));
        if let ServiceKey::Endpoint { addr, .. } = key {
            keys.extend([Key::Vip(addr), Key::Member(entry_that_names(addr))]);
        }
        let claimants = self.desired.claimants(&key);
        let tracked = claimants.filter_map(|name| self.services.get(name));
        for (_, contribution) in tracked.filter_map(|tracked| tracked.contribution.as_ref()) {
            keys.extend(contribution.keys());
        }
    }
}
