//! What is read in turn, since nothing gives a sign of its drift: the settings of real servers and virtual servers, and entries
//! that are exchanged for others. Pure.

use std::time::Duration;

use ipvs_codec::ServiceKey;
use ipvs_model::Known;

use crate::reading::Section;

/// Up to this many virtual servers all have their turn each time canaries are read, however long that takes.
const FEW: usize = 16;
/// Of more, the real servers are read for this long,
const BUDGET: Duration = Duration::from_micros(200);
/// and of at most this many virtual servers.
const MOST: usize = 64;
/// Each time affords this many objects of tables on average: a table is read as a whole, and then none for some time.
const OBJECTS: usize = 150;
/// Reading a table costs as much as this many of its objects, even if it has fewer.
const TABLE: usize = 10;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Virtual servers whose real servers are read one by one, the next one last.
    servers: Vec<ServiceKey>,
    /// Tables, the next one last.
    tables: Vec<Section>,
    /// What was read of tables beyond what looks affords so far, in objects.
    debt: usize,
}

impl Turns {
    /// The virtual server whose turn it is: each of those that are known in its turn. O(1), and O(virtual servers) once a
    /// round.
    pub(super) fn next_server(&mut self, known: &Known) -> Option<ServiceKey> {
        while let Some(key) = self.servers.pop() {
            if known.virtual_servers.contains_key(&key) {
                return Some(key);
            }
        }
        self.servers.extend(known.virtual_servers.keys());
        self.servers.pop()
    }

    /// Whether a look reads another virtual server, after so many in so long.
    pub(super) fn has_more(known: &Known, read: usize, took: Duration) -> bool {
        let all = known.virtual_servers.len();
        let is_cheap = all <= FEW || read == 0 || took < BUDGET;
        is_cheap && read < all.min(MOST)
    }

    /// The tables whose turn it is with this look. O(tables).
    pub(super) fn next_tables(&mut self, known: &Known) -> Vec<Section> {
        self.debt = self.debt.saturating_sub(OBJECTS);
        let mut chosen = Vec::new();
        let mut is_full_round = false;
        while self.debt < OBJECTS {
            let Some(table) = self.tables.pop() else {
                if is_full_round {
                    break;
                }
                is_full_round = true;
                self.tables = tables(known);
                continue;
            };
            if chosen.contains(&table) {
                self.tables.push(table);
                break;
            }
            let cost = objects(table, known).saturating_add(TABLE);
            self.debt = self.debt.saturating_add(cost);
            chosen.push(table);
        }
        chosen
    }
}

/// Those with something in them: what comes into an empty one is counted.
fn tables(known: &Known) -> Vec<Section> {
    let sets = known.sets.iter().filter(|(_, entries)| !entries.is_empty());
    let sets = sets.map(|((set, family), _)| Section::Set(*set, *family));
    let servers = (!known.virtual_servers.is_empty()).then_some(Section::ListOfVirtualServers);
    sets.chain(servers).collect()
}

fn objects(table: Section, known: &Known) -> usize {
    match table {
        Section::Set(set, family) => known
            .sets
            .get(&(set, family))
            .map_or(0, |entries| entries.len()),
        _ => known.virtual_servers.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ipvs_codec::{Family, Protocol, Scheduler, Service};
    use ipvs_model::{FilterEntry, FilterSet, VirtualServer};

    use super::*;

    const SET: Section = Section::Set(FilterSet::Vip, Family::Ipv4);

    /// So many virtual servers, and as many entries of a set.
    fn with(count: u16) -> Known {
        let mut known = Known::default();
        let mut entries = Vec::new();
        for number in 0..count {
            let [a, b] = number.to_be_bytes();
            let ip = [10, 96, a, b].into();
            let key = ServiceKey::endpoint(Protocol::TCP, ip, 80);
            let server = VirtualServer::new(Service::new(key, Scheduler::RR), Vec::new());
            known.virtual_servers.insert(key, Arc::new(server));
            entries.push(FilterEntry::Vip(ip));
        }
        let set = (FilterSet::Vip, Family::Ipv4);
        known.sets.insert(set, entries.into_iter().collect());
        let empty = (FilterSet::Vip, Family::Ipv6);
        known.sets.insert(empty, Default::default());
        known
    }

    #[test]
    fn every_virtual_server_has_its_turn() {
        let mut turns = Turns::default();
        assert_eq!(turns.next_server(&with(0)), None);
        let known = with(5);
        let mut seen: Vec<ServiceKey> =
            (0..5).map(|_| turns.next_server(&known).unwrap()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5);
        assert!(turns.next_server(&known).is_some());
        // Those that have gone meanwhile are left out.
        let fewer = with(1);
        let next = turns.next_server(&fewer).unwrap();
        assert!(fewer.virtual_servers.contains_key(&next));
        assert_eq!(turns.next_server(&with(0)), None);
    }

    /// What a look reads where each takes so long.
    fn read_in_a_look(known: &Known, each: Duration) -> usize {
        let mut read = 0;
        while Turns::has_more(known, read, each * u32::try_from(read).unwrap()) {
            read += 1;
        }
        read
    }

    #[test]
    fn a_look_reads_all_of_few_and_as_many_of_more_as_it_has_time_for() {
        let (slow, quick) = (Duration::from_secs(1), Duration::ZERO);
        let few = u16::try_from(FEW).unwrap();
        for count in [0, 1, few] {
            for each in [slow, quick] {
                assert_eq!(read_in_a_look(&with(count), each), usize::from(count));
            }
        }
        assert_eq!(read_in_a_look(&with(few + 1), quick), FEW + 1);
        let many = with(1000);
        assert_eq!(read_in_a_look(&many, slow), 1);
        assert_eq!(read_in_a_look(&many, BUDGET / 20), 20);
        assert_eq!(read_in_a_look(&many, quick), MOST);
    }

    #[test]
    fn small_tables_are_read_with_each_look_and_large_ones_as_often_as_their_size_affords() {
        let few = with(3);
        let mut turns = Turns::default();
        for _ in 0..10 {
            let mut tables = turns.next_tables(&few);
            tables.sort_unstable();
            assert_eq!(tables, [Section::ListOfVirtualServers, SET]);
        }
        assert_eq!(turns.next_tables(&Known::default()), []);

        let many = with(10_000);
        let mut turns = Turns::default();
        let looks = 1_000;
        let read: Vec<Section> = (0..looks).flat_map(|_| turns.next_tables(&many)).collect();
        // Two tables of 10,000 objects, 150 objects a look.
        assert_eq!(read.len(), looks * OBJECTS / (10_000 + TABLE) + 1);
        assert!(
            read.windows(2).all(|two| two[0] != two[1]),
            "by turns: {read:?}"
        );
    }
}
