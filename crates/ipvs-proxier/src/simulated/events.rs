//! What the simulated kernel tells of, and what it can only be asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipvs_codec::Family;
use ipvs_model::{FilterSet, Known, KnownFilter, Vip};

use super::{Simulated, refers};
use crate::kernel_event::{Concern, DriftCause, KernelEvent, SetSign, Signs};
use crate::reading::Section;

#[derive(Debug, Default)]
pub(super) struct Events {
    is_listening: bool,
    /// Whether its rules are those of iptables-legacy, of which the kernel tells nothing.
    is_legacy: bool,
    /// What it tells of, as it was before others began to change it.
    before: Option<Told>,
    events: Vec<KernelEvent>,
}

/// What the kernel tells of.
#[derive(Debug)]
struct Told {
    link: Option<bool>,
    vips: BTreeMap<IpAddr, Vec<Vip>>,
    filters: BTreeMap<Family, KnownFilter>,
}

impl Told {
    fn of(state: &Known) -> Self {
        Self {
            link: state.link,
            vips: state.vips.clone(),
            filters: state.filters.clone(),
        }
    }
}

impl Events {
    pub(super) const fn listen(&mut self) {
        self.is_listening = true;
    }

    pub(super) const fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Others are about to change the state. O(what it tells of), and nothing where nobody listens.
    pub(super) fn before_others(&mut self, state: &Known) {
        if self.is_listening && self.before.is_none() {
            self.before = Some(Told::of(state));
        }
    }

    /// Others may have changed it.
    pub(super) fn after_others(&mut self, state: &Known) {
        let Some(before) = self.before.take() else {
            return;
        };
        if (before.link, &before.vips) != (state.link, &state.vips) {
            self.tell(Concern::Section(Section::Link), DriftCause::Notification);
        }
        for family in Family::ALL {
            let differs = before.filters.get(&family) != state.filters.get(&family);
            if differs && !self.is_legacy {
                let rules = Concern::Section(Section::Rules(family));
                self.tell(rules, DriftCause::Notification);
            }
        }
    }

    pub(super) fn node_changed(&mut self) {
        self.tell(Concern::Node, DriftCause::Notification);
    }

    fn tell(&mut self, what: Concern, cause: DriftCause) {
        if self.is_listening {
            let by = None;
            self.events.push(KernelEvent { what, cause, by });
        }
    }

    pub(super) fn take(&mut self) -> Vec<KernelEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn signs(&self, state: &Known) -> Signs {
        let references = |key: &(FilterSet, Family)| usize::from(refers(state, key.0, key.1));
        let number = |count: usize| u32::try_from(count).ok();
        let sets = state.sets.iter().map(|(key, entries)| {
            let entries = number(entries.len());
            let references = self.is_legacy.then(|| number(references(key))).flatten();
            (
                *key,
                SetSign {
                    entries,
                    references,
                },
            )
        });
        let count = |count: usize| u64::try_from(count).ok();
        let rules = |filter: &KnownFilter| {
            let shape = filter.shape.as_ref().map_or(0, |shape| {
                shape
                    .filled
                    .iter()
                    .count()
                    .saturating_add(shape.refused.len())
            });
            shape
                .saturating_add(usize::from(filter.shape.is_some()))
                .saturating_add(filter.held_by.len())
        };
        let rules = state.filters.values().map(rules).sum();
        Signs {
            sets: Some(sets.collect()),
            virtual_servers: count(state.virtual_servers.len()),
            rules: count(rules).filter(|_| self.is_legacy),
        }
    }
}

impl Simulated {
    /// Makes its rules those of iptables-legacy: who changes them is told of by nobody.
    ///
    /// ```
    /// use ipvs_proxier::{DataPlane as _, Simulated};
    ///
    /// let mut plane = Simulated::default();
    /// assert_eq!(plane.signs().unwrap().rules, None);
    /// plane.use_legacy_rules();
    /// assert_eq!(plane.signs().unwrap().rules, Some(0));
    /// ```
    pub const fn use_legacy_rules(&mut self) {
        self.events.is_legacy = true;
    }

    /// Loses what it has to tell, as the real kernel does where nobody reads it in time, and says so.
    ///
    /// ```
    /// use ipvs_model::Config;
    /// use ipvs_proxier::{Control, DataPlane as _, DriftCause, Simulated};
    ///
    /// let mut plane = Simulated::default();
    /// plane.listen(&Config::default(), &Control::new()).unwrap();
    /// plane.state_mut().link = Some(true);
    /// plane.lose_events();
    /// let events = plane.kernel_events().unwrap();
    /// assert!(events.iter().all(|event| event.cause == DriftCause::Lost));
    /// ```
    pub fn lose_events(&mut self) {
        self.events.before = None;
        self.events.events.clear();
        let is_told = !self.events.is_legacy;
        let rules = Family::ALL.map(Section::Rules);
        let rules = rules.into_iter().filter(|_| is_told);
        let sections = std::iter::once(Section::Link).chain(rules);
        let all = sections.map(Concern::Section);
        for what in all.chain([Concern::Node]) {
            self.events.tell(what, DriftCause::Lost);
        }
    }
}
