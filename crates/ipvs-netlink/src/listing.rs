use std::collections::BTreeSet;

use crate::connection::DumpShape;
use crate::error::Cause;

/// A dump that took several chunks is read again until two agree, at most this often.
pub(crate) const ATTEMPTS: usize = 8;

/// The objects of a dump, each once, in the kernel's order. A dump is resumed by index and IPVS does not say when the
/// table changed meanwhile, so one that took several chunks is read again until two in a row agree.
pub(crate) fn stable<V, K: Ord>(
    mut read: impl FnMut(&mut Vec<V>) -> Result<DumpShape, Cause>,
    key: impl Fn(&V) -> K,
    same: impl Fn(&V, &V) -> bool,
) -> Result<Vec<V>, Cause> {
    let mut before: Option<Vec<V>> = None;
    for _ in 0..ATTEMPTS {
        let (found, shape) = once(&mut read, &key)?;
        let agrees = |before: &Vec<V>| agree(before, &found, &key, &same);
        if !shape.interrupted && (shape.chunks <= 1 || before.as_ref().is_some_and(agrees)) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Cause::Unstable(ATTEMPTS))
}

/// As [`stable`], for what is a small part of a table that others, this process among them, change all the time: what
/// interrupted a dump may have been elsewhere, so two in a row that agree are good, whatever the kernel says of them.
pub(crate) fn stable_part<V: Ord>(
    mut read: impl FnMut(&mut Vec<V>) -> Result<DumpShape, Cause>,
) -> Result<Vec<V>, Cause> {
    let mut before: Option<Vec<V>> = None;
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let shape = read(&mut found)?;
        found.sort_unstable();
        found.dedup();
        let is_whole = !shape.interrupted && shape.chunks <= 1;
        if is_whole || before.as_ref() == Some(&found) {
            return Ok(found);
        }
        before = Some(found);
    }
    Err(Cause::Unstable(ATTEMPTS))
}

/// The objects of one dump, each once, in the kernel's order.
pub(crate) fn once<V, K: Ord>(
    read: impl FnOnce(&mut Vec<V>) -> Result<DumpShape, Cause>,
    key: impl Fn(&V) -> K,
) -> Result<(Vec<V>, DumpShape), Cause> {
    let mut found = Vec::new();
    let shape = read(&mut found)?;
    if shape.chunks > 1 {
        // What stood at the border of two chunks when the table shifted comes twice.
        let mut seen = BTreeSet::new();
        found.retain(|object| seen.insert(key(object)));
    }
    Ok((found, shape))
}

/// Whether two lists hold the same objects, whatever their order.
pub(crate) fn agree<V, K: Ord>(
    a: &[V],
    b: &[V],
    key: impl Fn(&V) -> K,
    same: impl Fn(&V, &V) -> bool,
) -> bool {
    let sorted = |list| {
        let mut sorted: Vec<&V> = Vec::from_iter(list);
        sorted.sort_unstable_by_key(|object| key(object));
        sorted
    };
    let mut pairs = sorted(a).into_iter().zip(sorted(b));
    a.len() == b.len() && pairs.all(|(a, b)| key(a) == key(b) && same(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(dumps: &[(&[u8], usize)]) -> (Result<Vec<u8>, Cause>, usize) {
        let mut taken = 0;
        let result = stable(
            |found| {
                let (objects, chunks) = dumps[taken.min(dumps.len() - 1)];
                taken += 1;
                found.extend(objects);
                let interrupted = objects.contains(&0);
                Ok(DumpShape {
                    chunks,
                    interrupted,
                })
            },
            |object| *object,
            |a, b| a == b,
        );
        (result, taken)
    }

    #[test]
    fn one_chunk_is_taken_as_it_is() {
        let (found, reads) = listed(&[(&[3, 1, 2], 1)]);
        assert_eq!((found.unwrap(), reads), (vec![3, 1, 2], 1));
    }

    #[test]
    fn s8_an_object_that_comes_twice_counts_once_and_the_dump_is_read_again() {
        let (found, reads) = listed(&[(&[1, 2, 2, 3], 2), (&[3, 1, 2], 2)]);
        assert_eq!((found.unwrap(), reads), (vec![3, 1, 2], 2));
    }

    #[test]
    fn s8_an_object_that_is_passed_over_shows_in_the_next_dump() {
        let (found, reads) = listed(&[(&[1, 3], 2), (&[1, 2, 3], 2), (&[1, 2, 3], 2)]);
        assert_eq!((found.unwrap(), reads), (vec![1, 2, 3], 3));
    }

    #[test]
    fn what_the_kernel_calls_interrupted_is_read_again() {
        let (found, reads) = listed(&[(&[0, 1], 1), (&[1], 1)]);
        assert_eq!((found.unwrap(), reads), (vec![1], 2));
    }

    /// Each dump as its objects, its chunks, and whether it was interrupted.
    fn listed_part(dumps: &[(&[u8], usize, bool)]) -> (Result<Vec<u8>, Cause>, usize) {
        let mut taken = 0;
        let result = stable_part(|found| {
            let (objects, chunks, interrupted) = dumps[taken.min(dumps.len() - 1)];
            taken += 1;
            found.extend(objects);
            Ok(DumpShape {
                chunks,
                interrupted,
            })
        });
        (result, taken)
    }

    #[test]
    fn a_part_of_a_table_is_good_once_two_dumps_agree_on_it() {
        let listed = |dumps| {
            let (found, reads) = listed_part(dumps);
            (found.unwrap(), reads)
        };
        assert_eq!(listed(&[(&[2, 1, 2], 1, false)]), (vec![1, 2], 1));
        // One that was interrupted, or came in several chunks, may lack something.
        let lacking: [(&[u8], usize, bool); 3] =
            [(&[1], 1, true), (&[2, 1], 1, true), (&[1, 2], 1, true)];
        assert_eq!(listed(&lacking), (vec![1, 2], 3));
        let lacking: [(&[u8], usize, bool); 3] =
            [(&[1], 2, false), (&[1, 2], 2, false), (&[1, 2], 2, false)];
        assert_eq!(listed(&lacking), (vec![1, 2], 3));
        let restless: Vec<[u8; 1]> = (0..20).map(|object| [object]).collect();
        let restless: Vec<(&[u8], usize, bool)> =
            restless.iter().map(|dump| (&dump[..], 1, true)).collect();
        let (found, reads) = listed_part(&restless);
        assert!(matches!(found, Err(Cause::Unstable(ATTEMPTS))) && reads == ATTEMPTS);
    }

    #[test]
    fn a_table_that_never_stands_still_is_an_error() {
        let dumps: Vec<Vec<u8>> = (1..20).map(|last| vec![1, last]).collect();
        let dumps: Vec<(&[u8], usize)> = dumps.iter().map(|dump| (&dump[..], 2)).collect();
        assert!(matches!(listed(&dumps).0, Err(Cause::Unstable(ATTEMPTS))));
    }
}
