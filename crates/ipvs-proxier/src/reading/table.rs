//! Tables that come in chunks, compared with what is known of them.

use std::net::IpAddr;

use ipvs_codec::{Family, Service, ServiceKey};
use ipvs_model::{FilterSet, Key, Known};
use std::collections::HashMap;

use super::servers::{has, put_service};
use super::verdict::Sharing;
use crate::dataplane::Part;

/// A table, and what has come in of it so far.
#[derive(Debug)]
pub(super) enum Table {
    /// The dummy interface and what is bound to it.
    Link(Known),
    Set(FilterSet, Family, Known),
    /// The virtual servers without their real servers. They may be very many: only those are kept whole that were not known
    /// as they are.
    List {
        listed: Vec<ServiceKey>,
        news: HashMap<ServiceKey, Service>,
    },
}

impl Table {
    pub(super) fn list() -> Self {
        Self::List {
            listed: Vec::new(),
            news: HashMap::new(),
        }
    }

    /// It, with nothing of it yet.
    pub(super) fn emptied(&self) -> Self {
        match self {
            Self::Link(_) => Self::Link(Known::default()),
            Self::Set(set, family, _) => Self::Set(*set, *family, Known::default()),
            Self::List { .. } => Self::list(),
        }
    }

    /// What the data plane is asked for, and where it puts it.
    pub(super) const fn part(&self) -> Part<'static> {
        match self {
            Self::Link(_) => Part::Link,
            Self::Set(set, family, _) => Part::Set(*set, *family),
            Self::List { .. } => Part::List,
        }
    }

    /// Gives what the calls before gave to the next one.
    pub(super) fn take_found(&mut self) -> Known {
        match self {
            Self::Link(found) | Self::Set(_, _, found) => std::mem::take(found),
            Self::List { .. } => Known::default(),
        }
    }

    /// Takes in what a call gave.
    pub(super) fn take_in(&mut self, chunk: Known, known: &Known) {
        match self {
            Self::Link(found) | Self::Set(_, _, found) => *found = chunk,
            Self::List { listed, news } => {
                for (key, server) in chunk.virtual_servers {
                    if !has(known, &key, &server.service) {
                        news.insert(key, server.service);
                    }
                    listed.push(key);
                }
            }
        }
    }

    pub(super) fn sharing(&self, known: &Known) -> Sharing {
        match self {
            Self::Link(_) => Sharing::Ours {
                is_known: known.link.is_some(),
            },
            Self::Set(set, family, _) => Sharing::Ours {
                is_known: known.sets.contains_key(&(*set, *family)),
            },
            Self::List { .. } => Sharing::Everybodys {
                is_known: !known.virtual_servers.is_empty(),
            },
        }
    }

    /// Where it is otherwise than known. O(table).
    pub(super) fn differing(&mut self, known: &Known) -> Vec<Key> {
        match self {
            Self::Link(found) => {
                let addresses = found.vips.keys().chain(known.vips.keys());
                let differs =
                    |address: &&IpAddr| found.vips.get(address) != known.vips.get(address);
                let mut differing: Vec<Key> =
                    addresses.filter(differs).copied().map(Key::Vip).collect();
                differing.sort_unstable();
                differing.dedup();
                differing
            }
            Self::Set(set, family, found) => entries_differing(*set, *family, found, known),
            Self::List { listed, news } => {
                listed.sort_unstable();
                // What stood at the border of two chunks when the table shifted comes twice.
                listed.dedup();
                // Those that came since are as they are known now.
                let found = news
                    .iter()
                    .filter(|(key, service)| !has(known, key, service));
                let found = found.map(|(key, _)| *key);
                if news.is_empty() && listed.len() == known.virtual_servers.len() {
                    return Vec::new();
                }
                let missing = known.virtual_servers.keys().copied();
                let missing = missing.filter(|key| listed.binary_search(key).is_err());
                found.chain(missing).map(Key::VirtualServer).collect()
            }
        }
    }

    /// Puts it into what is known, where it differs. O(differences), or O(1).
    pub(super) fn put_into(self, known: &mut Known, differing: &[Key]) {
        match self {
            Self::Link(found) => (known.link, known.vips) = (found.link, found.vips),
            Self::Set(set, family, mut found) => {
                match found.sets.remove(&(set, family)) {
                    Some(entries) => known.sets.insert((set, family), entries),
                    None => known.sets.remove(&(set, family)),
                };
                match found.unusable.remove(&(set, family)) {
                    Some(difference) => known.unusable.insert((set, family), difference),
                    None => known.unusable.remove(&(set, family)),
                };
            }
            Self::List { news, .. } => {
                for key in differing {
                    if let Key::VirtualServer(key) = key {
                        put_service(*key, news.get(key).copied(), known);
                    }
                }
            }
        }
    }
}

/// The entries that only one side has.
fn entries_differing(set: FilterSet, family: Family, found: &Known, known: &Known) -> Vec<Key> {
    let (found, before) = (
        found.sets.get(&(set, family)),
        known.sets.get(&(set, family)),
    );
    if found == before {
        return Vec::new();
    }
    let gone = before.into_iter().flatten();
    let gone = gone.filter(|entry| found.is_none_or(|found| !found.contains(*entry)));
    let came = found.into_iter().flatten();
    let came = came.filter(|entry| before.is_none_or(|before| !before.contains(*entry)));
    gone.chain(came).copied().map(Key::Member).collect()
}
