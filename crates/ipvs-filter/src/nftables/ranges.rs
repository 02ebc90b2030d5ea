//! Source ranges that contain each other. The kernel refuses an interval that overlaps with another one of the set, so that
//! only those stand there that no other one contains.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use ipvs_model::{AddressAndPort, FilterEntry};

/// The source ranges that are asked for, those that others contain among them.
///
/// ```
/// use ipvs_filter::nftables::SourceRanges;
/// let range = |range: &str| format!("source-range 203.0.113.7:80/TCP from {range}").parse().unwrap();
/// let (wide, narrow) = (range("10.0.0.0/8"), range("10.1.0.0/16"));
/// let mut ranges = SourceRanges::default();
/// assert_eq!(ranges.change(&[narrow], &[]).added, [narrow]);
/// let change = ranges.change(&[wide], &[]);
/// assert_eq!((change.added, change.removed), (vec![wide], vec![narrow]));
/// ```
#[derive(Debug, Clone, Default)]
pub struct SourceRanges {
    wanted: BTreeMap<AddressAndPort, BTreeSet<IpNet>>,
}

/// What changes in the kernel, all at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeChange {
    /// These go.
    pub removed: Vec<FilterEntry>,
    /// These come.
    pub added: Vec<FilterEntry>,
    /// What was asked for before, of each address and port that is touched.
    before: BTreeMap<AddressAndPort, BTreeSet<IpNet>>,
}

impl SourceRanges {
    /// Takes entries in, and others out. What is no source range is left alone. O(ranges of the same address and port).
    pub fn change(&mut self, add: &[FilterEntry], remove: &[FilterEntry]) -> RangeChange {
        let mut before = BTreeMap::new();
        for (served, _) in add.iter().chain(remove).filter_map(parts) {
            let ranges = || self.wanted.get(&served).cloned().unwrap_or_default();
            before.entry(served).or_insert_with(ranges);
        }
        for (served, range) in remove.iter().filter_map(parts) {
            if let Some(ranges) = self.wanted.get_mut(&served) {
                ranges.remove(&range);
            }
        }
        for (served, range) in add.iter().filter_map(parts) {
            self.wanted.entry(served).or_default().insert(range);
        }
        let mut change = RangeChange::default();
        for (served, before) in &before {
            let after = self.wanted.get(served).map(widest).unwrap_or_default();
            let before = widest(before);
            let entry = |range: &IpNet| FilterEntry::SourceRange(*served, *range);
            change.removed.extend(before.difference(&after).map(entry));
            change.added.extend(after.difference(&before).map(entry));
            if after.is_empty() {
                self.wanted.remove(served);
            }
        }
        RangeChange { before, ..change }
    }

    /// The kernel did not make the last change.
    pub fn undo(&mut self, change: RangeChange) {
        for (served, ranges) in change.before {
            if ranges.is_empty() {
                self.wanted.remove(&served);
            } else {
                self.wanted.insert(served, ranges);
            }
        }
    }

    /// What is in the kernel was read: what nothing of it contains is gone. All that is there, those that others contain among
    /// them.
    pub fn read(&mut self, found: impl IntoIterator<Item = FilterEntry>) -> Vec<FilterEntry> {
        let mut standing: BTreeMap<AddressAndPort, BTreeSet<IpNet>> = BTreeMap::new();
        for (served, range) in found.into_iter().filter_map(|entry| parts(&entry)) {
            standing.entry(served).or_default().insert(range);
        }
        self.wanted.retain(|served, ranges| {
            let standing = standing.get(served);
            ranges.retain(|range| {
                standing.is_some_and(|standing| standing.iter().any(|wide| wide.contains(range)))
            });
            !ranges.is_empty()
        });
        for (served, ranges) in standing {
            self.wanted.entry(served).or_default().extend(ranges);
        }
        let all = self.wanted.iter().flat_map(|(served, ranges)| {
            let entry = |range: &IpNet| FilterEntry::SourceRange(*served, *range);
            ranges.iter().map(entry)
        });
        all.collect()
    }
}

const fn parts(entry: &FilterEntry) -> Option<(AddressAndPort, IpNet)> {
    match *entry {
        FilterEntry::SourceRange(served, range) => Some((served, range)),
        _ => None,
    }
}

/// Those that no other one contains. In their order the one that contains others comes right before them.
fn widest(ranges: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let mut widest: BTreeSet<IpNet> = BTreeSet::new();
    for range in ranges {
        if widest.last().is_none_or(|wide| !wide.contains(range)) {
            widest.insert(*range);
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(port: u16, range: IpNet) -> FilterEntry {
        let served = AddressAndPort {
            address: [203, 0, 113, 7].into(),
            protocol: ipvs_codec::Protocol::TCP,
            port,
        };
        FilterEntry::SourceRange(served, range)
    }

    /// Few addresses, so that many contain each other.
    fn entries() -> impl Strategy<Value = FilterEntry> {
        (80_u16..82, 0_u8..4, 0_u8..4, 0_u8..=32).prop_map(|(port, a, b, prefix)| {
            let range = IpNet::new([a << 6, b << 6, 0, b].into(), prefix).unwrap();
            entry(port, range.trunc())
        })
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_what_is_asked_for_is_contained(
            steps in proptest::collection::vec((any::<bool>(), entries()), 1..40),
            is_read in any::<bool>(),
        ) {
            let (mut ranges, mut kernel) = (SourceRanges::default(), BTreeSet::new());
            let mut wanted = BTreeSet::new();
            for (adds, entry) in steps {
                let change = if adds {
                    wanted.insert(entry);
                    ranges.change(&[entry], &[])
                } else {
                    wanted.remove(&entry);
                    ranges.change(&[], &[entry])
                };
                for gone in change.removed {
                    prop_assert!(kernel.remove(&gone));
                }
                for new in change.added {
                    prop_assert!(kernel.insert(new));
                }
                let (all, standing) = (wanted.iter().filter_map(parts), &kernel);
                let contains = |wide: &FilterEntry, (served, range): (AddressAndPort, IpNet)| {
                    parts(wide).is_some_and(|(of, wide)| of == served && wide.contains(&range))
                };
                for part in all {
                    let count = standing.iter().filter(|wide| contains(wide, part)).count();
                    prop_assert_eq!(count, 1);
                }
                prop_assert!(standing.is_subset(&wanted));
                if is_read {
                    let read: BTreeSet<_> = ranges.read(kernel.iter().copied()).into_iter().collect();
                    prop_assert_eq!(&read, &wanted);
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_did_not_make_is_as_before() {
        let range = |range: &str| entry(80, range.parse().unwrap());
        let (wide, narrow) = (range("10.0.0.0/8"), range("10.1.0.0/16"));
        let mut ranges = SourceRanges::default();
        let change = ranges.change(&[wide], &[]);
        ranges.undo(change);
        assert_eq!(ranges.change(&[narrow], &[]).added, [narrow]);
        let change = ranges.change(&[wide], &[narrow]);
        ranges.undo(change);
        assert_eq!(ranges.change(&[], &[narrow]).removed, [narrow]);
    }

    #[test]
    fn what_others_removed_is_not_there() {
        let range = |range: &str| entry(80, range.parse().unwrap());
        let (wide, narrow) = (range("10.0.0.0/8"), range("10.1.0.0/16"));
        let mut ranges = SourceRanges::default();
        ranges.change(&[wide, narrow], &[]);
        assert_eq!(ranges.read([wide]), [wide, narrow]);
        assert_eq!(ranges.read([]), []);
        assert_eq!(ranges.change(&[narrow], &[]).added, [narrow]);
    }
}
