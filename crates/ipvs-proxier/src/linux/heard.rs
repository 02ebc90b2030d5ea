//! What notifications mean to the proxier. Pure: however many come, it stays as large, and each costs O(1).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ipvs_codec::Family;
use ipvs_filter::nftables::TABLE;
use ipvs_netfilter::{NftEvent, NftObject};
use ipvs_netlink::{LinkEvent, LinkIndex, Notification, RouteEvent};

use super::LINK;
use crate::kernel_event::{ChangedBy, Concern, DriftCause, KernelEvent};
use crate::reading::Section;

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL`.
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;

/// Between two times in which the node is read again though nothing says that it is otherwise.
const BETWEEN_READS: Duration = Duration::from_secs(10);

/// What the notifications of links, addresses and routes that are ours are about.
const DUMMY_INTERFACE: Concern = Concern::Section(Section::Link);

/// The netlink port of a program whose name is to be found out, if it has one.
pub(super) type Unnamed = Option<NonZeroU32>;

/// Who did something, as far as it is asked for.
pub(super) trait Who {
    /// Whether this process has started one that has a netlink port, and a number as the machine counts if the kernel says it.
    fn is_ours(&self, process: Option<u32>, port: u32) -> bool;
}

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The netlink port of the socket that binds VIPs.
    pub(super) own_port: u32,
    /// That of the socket that changes our tables of nftables, where the filter is made so.
    pub(super) filter_port: Option<u32>,
    /// The dummy interface, and whether it is up.
    dummy: Option<(LinkIndex, bool)>,
    /// What this process is making of the dummy interface.
    expected: Option<bool>,
    /// IPv6 VIPs on the dummy interface: the kernel does not say who adds or removes an IPv6 address.
    bound: BTreeSet<Ipv6Addr>,
    /// Addresses on the dummy interface whose local routes others have removed, so that they are dead.
    pub(super) routeless: BTreeSet<IpAddr>,
    /// Those of all other links; none before they were read.
    addresses: Option<BTreeSet<(LinkIndex, IpAddr)>>,
    /// Where they are asked for, and were read.
    pub(super) gateways: Option<Vec<IpAddr>>,
    /// Whether a route by a gateway came or went since they were read.
    pub(super) is_route_new: bool,
    /// Sections of the filter of which the transaction that goes on changes something.
    transaction: BTreeSet<Section>,
    /// What nobody has taken, each concern once.
    events: Vec<KernelEvent>,
    /// Whether the facts of the node must be read again.
    pub(super) is_outdated: bool,
    /// When somebody last asked for that.
    asked: Option<Instant>,
}

/// What was read of the node.
#[derive(Debug, Default)]
pub(super) struct NodeRead {
    pub(super) dummy: Option<(LinkIndex, bool)>,
    pub(super) addresses: Vec<(LinkIndex, IpAddr)>,
    pub(super) gateways: Option<Vec<IpAddr>>,
}

impl Heard {
    /// What nobody has taken yet.
    pub(super) fn take(&mut self) -> Vec<KernelEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The addresses of all links but the dummy interface, some perhaps twice.
    pub(super) fn addresses(&self) -> Option<Vec<IpAddr>> {
        let addresses = self.addresses.as_ref()?.iter();
        Some(addresses.map(|(_, address)| *address).collect())
    }

    fn note(&mut self, what: Concern, cause: DriftCause, by: Option<ChangedBy>) {
        match self.events.iter_mut().find(|event| event.what == what) {
            Some(event) => event.by = by.or_else(|| event.by.take()),
            None => self.events.push(KernelEvent { what, cause, by }),
        }
    }

    /// Notes a change of the dummy interface. The port that it came from, if nobody has a name for it yet.
    fn note_link(&mut self, port: u32) -> Unnamed {
        // Asked once: whoever does it a thousand times is mostly the same.
        let is_named = |event: &KernelEvent| event.what == DUMMY_INTERFACE && event.by.is_some();
        if self.events.iter().any(is_named) {
            return None;
        }
        self.note(DUMMY_INTERFACE, DriftCause::Notification, None);
        NonZeroU32::new(port)
    }

    /// The program that changed the dummy interface, unless somebody has taken that event already.
    pub(super) fn name_link(&mut self, by: ChangedBy) {
        let mut events = self.events.iter_mut();
        if let Some(event) = events.find(|event| event.what == DUMMY_INTERFACE) {
            event.by.get_or_insert(by);
        }
    }

    /// The node was read, after these notifications began.
    pub(super) fn read(&mut self, read: NodeRead) {
        self.is_outdated = false;
        let addresses: BTreeSet<_> = read.addresses.into_iter().collect();
        let before = (self.addresses.take(), self.gateways.take());
        (self.dummy, self.addresses, self.gateways) = (read.dummy, Some(addresses), read.gateways);
        let is_same = before.0 == self.addresses && before.1 == self.gateways;
        if before.0.is_some() && !is_same {
            self.note(Concern::Node, DriftCause::Notification, None);
        }
    }

    /// Has the facts of the node read again, unless somebody asked for that a short time ago; whether it has. What was missed,
    /// when they were read or notified, does not stay missed.
    pub(super) fn read_again(&mut self, now: Instant) -> bool {
        let since = |asked: Instant| now.saturating_duration_since(asked);
        if self.asked.is_some_and(|asked| since(asked) < BETWEEN_READS) {
            return false;
        }
        self.asked = Some(now);
        self.is_outdated = true;
        true
    }

    /// The gateways were read.
    pub(super) fn read_gateways(&mut self, gateways: Vec<IpAddr>) {
        let gateways = Some(gateways);
        if self.gateways != gateways {
            self.gateways = gateways;
            self.note(Concern::Node, DriftCause::Notification, None);
        }
    }

    /// This process makes the dummy interface, or sets it up.
    pub(super) fn expect_link(&mut self, up: bool) {
        if self.dummy.map(|(_, is_up)| is_up) != Some(up) {
            self.expected = Some(up);
        }
    }

    /// This process binds addresses to the dummy interface, or unbinds them.
    pub(super) fn binds(&mut self, addresses: impl Iterator<Item = IpAddr>, is_gone: bool) {
        for address in addresses {
            self.routeless.remove(&address);
            match address {
                IpAddr::V6(v6) if is_gone => drop(self.bound.remove(&v6)),
                IpAddr::V6(v6) => drop(self.bound.insert(v6)),
                IpAddr::V4(_) => {}
            }
        }
    }

    /// Addresses that were found on the dummy interface. Others may have been bound since.
    pub(super) fn found(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        self.bound.extend(addresses.filter_map(only_v6));
    }

    /// Notifications of links, addresses and routes were lost.
    pub(super) fn lost_links(&mut self) {
        self.is_outdated = true;
        self.expected = None;
        for what in [Concern::Section(Section::Link), Concern::Node] {
            self.note(what, DriftCause::Lost, None);
        }
    }

    /// Notifications of rules were lost.
    pub(super) fn lost_rules(&mut self, families: &[Family]) {
        self.transaction.clear();
        for section in self.of_filter(families) {
            self.note(Concern::Section(section), DriftCause::Lost, None);
        }
    }

    /// The sections of which nf_tables tells.
    fn of_filter(&self, families: &[Family]) -> Vec<Section> {
        let rules = families.iter().copied().map(Section::Rules);
        let has_sets = self.filter_port.is_some();
        let families = families.iter().filter(|_| has_sets);
        let sets = families.flat_map(|family| Section::sets(*family));
        rules.chain(sets).collect()
    }

    /// Takes in a notification. Whoever has named nobody yet finds out who did it, without holding up others meanwhile.
    pub(super) fn link(&mut self, heard: Notification<LinkEvent<'_>>) -> Unnamed {
        let port = heard.port;
        match heard.event {
            LinkEvent::Link {
                link,
                name,
                is_up,
                is_gone,
            } => {
                let is_dummy = self.dummy.is_some_and(|(dummy, _)| dummy == link);
                if name == LINK && !is_gone {
                    // A new one: which kind of link it is must be asked for.
                    self.is_outdated |= !is_dummy;
                    return self.state(Some((link, is_up)), port);
                } else if is_dummy {
                    // If it has another name now, its addresses are the node's.
                    self.is_outdated |= !is_gone;
                    return self.state(None, port);
                }
            }
            LinkEvent::Address {
                link,
                address,
                is_gone,
            } => {
                if self.dummy.is_some_and(|(dummy, _)| dummy == link) {
                    return self.bound_address(address, is_gone, port);
                } else if !address.is_loopback() {
                    self.node_address((link, address), is_gone);
                }
            }
            LinkEvent::Route(route) => return self.route(&route, port),
            _ => {}
        }
        None
    }

    fn state(&mut self, now: Option<(LinkIndex, bool)>, port: u32) -> Unnamed {
        let before = std::mem::replace(&mut self.dummy, now);
        if before == now {
            return None;
        }
        match (self.expected, now) {
            (Some(expected), Some((_, is_up))) if is_up == expected => self.expected = None,
            // It is made first, and set up then.
            (Some(true), Some((_, false))) if before.is_none() => {}
            _ if port == self.own_port => {}
            _ => return self.note_link(port),
        }
        None
    }

    fn bound_address(&mut self, address: IpAddr, is_gone: bool, port: u32) -> Unnamed {
        let is_own = match address {
            IpAddr::V6(v6) if is_gone => !self.bound.remove(&v6),
            IpAddr::V6(v6) => self.bound.contains(&v6),
            IpAddr::V4(_) => port == self.own_port,
        };
        if is_gone {
            self.routeless.remove(&address);
        }
        if is_own { None } else { self.note_link(port) }
    }

    fn node_address(&mut self, address: (LinkIndex, IpAddr), is_gone: bool) {
        let Some(addresses) = &mut self.addresses else {
            return;
        };
        let is_new = if is_gone {
            addresses.remove(&address)
        } else {
            addresses.insert(address)
        };
        if is_new {
            self.note(Concern::Node, DriftCause::Notification, None);
        }
    }

    fn route(&mut self, route: &RouteEvent, port: u32) -> Unnamed {
        let by_dummy = || {
            self.dummy
                .is_some_and(|(dummy, _)| route.link == Some(dummy))
        };
        match route.table {
            TABLE_LOCAL if route.is_local && by_dummy() => {
                // The kernel's own come and go with their addresses, unless somebody removes one.
                let is_taken = route.is_gone && port != 0;
                if port == self.own_port || (route.is_kernels && !is_taken) {
                    return None;
                }
                if route.is_kernels {
                    self.routeless.extend(route.address);
                }
                return self.note_link(port);
            }
            TABLE_MAIN if route.has_gateway && self.gateways.is_some() => self.is_route_new = true,
            _ => {}
        }
        None
    }

    /// Of nf_tables.
    pub(super) fn rules(&mut self, heard: Notification<NftEvent<'_>>, who: &impl Who) {
        match heard.event {
            NftEvent::Changed {
                family,
                table,
                what,
            } => {
                let family = match family {
                    2 => Family::Ipv4,
                    10 => Family::Ipv6,
                    _ => return,
                };
                let is_set = matches!(what, NftObject::Set | NftObject::Entries);
                match self.filter_port {
                    None if !is_set && matches!(table, "nat" | "filter") => {
                        self.transaction.insert(Section::Rules(family));
                    }
                    Some(_) if table == TABLE.as_str() => {
                        // Which set it was is not said: others hardly ever change one.
                        if !matches!(what, NftObject::Rule | NftObject::Chain) {
                            self.transaction.extend(Section::sets(family));
                        }
                        if !is_set {
                            self.transaction.insert(Section::Rules(family));
                        }
                    }
                    _ => {}
                }
            }
            NftEvent::Generation {
                process, program, ..
            } => {
                let changed = std::mem::take(&mut self.transaction);
                let is_own = self.filter_port == Some(heard.port);
                if is_own || who.is_ours(process, heard.port) {
                    return;
                }
                for section in changed {
                    let what = Concern::Section(section);
                    let by = process.map(|process| ChangedBy {
                        name: program.to_owned(),
                        process,
                    });
                    self.note(what, DriftCause::Notification, by);
                }
            }
            _ => {}
        }
    }
}

const fn only_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests;
