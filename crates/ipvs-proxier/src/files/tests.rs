//! The rules, with a disk in memory and a clock that is a number.

mod world;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use rustix::io::Errno;

use self::world::World;
use super::disk::{Disk, Look, Seen};
use super::file::{FileState, GRACE, HELD_OPEN, PERIOD, SETTLE, Touch};
use super::follower::{FileNews, FollowedPath, Follower, Step, Touched};
use super::problem::FileProblem;
use super::stamp::{FileTime, Identity, Stamp};
use crate::clock::Moment;

const FOLDER: &str = "/m";
const A: &str = "/m/a.yaml";
const B: &str = "/m/b.yaml";
const TICK: Duration = Duration::from_millis(1);

fn contents(path: &str, text: &str) -> (PathBuf, FileState) {
    let contents = FileState::Contents(text.as_bytes().into());
    (path.into(), contents)
}

fn state(path: &str, state: FileState) -> (PathBuf, FileState) {
    (path.into(), state)
}

fn unsettled(path: &str) -> (PathBuf, FileState) {
    state(path, FileState::Unsettled)
}

fn cannot_find(errno: Errno) -> FileState {
    FileState::Unusable(FileProblem::io("find", &errno.into()))
}

#[test]
fn a_file_that_is_written_in_place_counts_once_it_is_whole() {
    for is_watched in [true, false] {
        let mut world = World::with(is_watched, &[(A, "one two")]);
        world.write(A, "");
        assert_eq!(world.within(SETTLE * 4), [unsettled(A)], "{is_watched}");
        world.write(A, "one");
        assert_eq!(world.within(SETTLE * 4), []);
        world.write(A, "one two three");
        world.close(A);
        let whole = [contents(A, "one two three")];
        assert_eq!(world.within(in_place(is_watched)), whole, "{is_watched}");
    }
}

/// After so long a file counts that was written in place.
fn in_place(is_watched: bool) -> Duration {
    PERIOD + if is_watched { SETTLE } else { GRACE }
}

#[test]
fn what_is_empty_or_shorter_counts_after_a_grace() {
    for (is_watched, text) in [(true, "one"), (true, ""), (false, "one"), (false, "")] {
        let mut world = World::with(is_watched, &[(A, "one two")]);
        world.write(A, text);
        world.close(A);
        // Where nobody tells, its writer may have it open.
        let patience = if is_watched { GRACE } else { HELD_OPEN };
        assert_eq!(world.within(patience - TICK), [unsettled(A)]);
        assert_eq!(world.within(PERIOD + TICK), [contents(A, text)]);
    }
}

/// `slow generator > FILE` on NFS: nobody tells that the shell has emptied it, and has it open.
#[test]
fn what_a_writer_may_have_open_unseen_is_not_empty() {
    let mut world = World::with(false, &[(A, "one two")]);
    world.write(A, "");
    assert_eq!(world.within(HELD_OPEN / 2), [unsettled(A)]);
    world.write(A, "one");
    assert_eq!(world.within(HELD_OPEN / 3), []);
    world.write(A, "one two three");
    assert_eq!(
        world.within(GRACE - TICK),
        [],
        "the stamps of NFS are some seconds old"
    );
    world.write(A, "one two three four");
    let whole = [contents(A, "one two three four")];
    assert_eq!(world.within(GRACE + PERIOD), whole);
}

/// `slow generator > FILE`: the shell has emptied it long before the first byte comes.
#[test]
fn while_the_writer_has_it_open_it_is_not_whole() {
    let mut world = World::with(true, &[(A, "one two")]);
    world.write(A, "");
    assert_eq!(world.within(GRACE * 6), [unsettled(A)]);
    world.write(A, "one two three");
    assert_eq!(world.within(GRACE), []);
    world.close(A);
    assert_eq!(world.within(SETTLE), [contents(A, "one two three")]);
    world.write(A, "left open");
    assert_eq!(world.within(GRACE), [unsettled(A)]);
    let in_the_end = [contents(A, "left open")];
    assert_eq!(world.within(Duration::from_secs(60)), in_the_end);
}

#[test]
fn what_is_renamed_into_place_counts_at_once() {
    let mut world = World::with(true, &[(A, "one two")]);
    for path in [A, B] {
        for text in ["", "one", ""] {
            world.replace(path, text);
            assert_eq!(world.within(TICK), [contents(path, text)]);
        }
    }
}

/// It may have been renamed, or made anew and given other rights: nothing tells.
#[test]
fn what_another_file_has_unseen_counts_once_it_is_whole() {
    let mut world = World::with(false, &[(A, "one two")]);
    for (path, text, patience) in [(A, "one two three", SETTLE), (B, "", GRACE)] {
        world.replace(path, text);
        assert_eq!(world.within(PERIOD), [unsettled(path)]);
        assert_eq!(world.within(patience), [contents(path, text)]);
    }
}

/// `rm f; touch f; chmod 600 f; slow >> f`
#[test]
fn a_file_that_is_made_anew_and_given_other_rights_is_not_whole() {
    for is_watched in [true, false] {
        for before in [&[(A, "one two")][..], &[]] {
            let mut world = World::with(is_watched, before);
            world.remove(A);
            world.write(A, "");
            world.close(A);
            world.chmod(A);
            assert_eq!(world.within(GRACE - TICK), [unsettled(A)]);
            world.write(A, "one");
            world.chmod(A);
            assert_eq!(world.within(SETTLE - TICK), [], "{is_watched}");
            world.write(A, "one two three");
            world.close(A);
            let whole = [contents(A, "one two three")];
            assert_eq!(world.within(in_place(is_watched)), whole, "{is_watched}");
        }
    }
}

#[test]
fn while_the_writer_of_a_new_file_has_it_open_it_is_not_whole() {
    let mut world = World::with(true, &[]);
    world.write(A, "one");
    world.chmod(A);
    assert_eq!(world.within(GRACE), [unsettled(A)]);
    world.write(A, "one two");
    world.close(A);
    assert_eq!(world.within(SETTLE), [contents(A, "one two")]);
}

#[test]
fn at_the_start_a_young_file_is_looked_at_twice() {
    let mut world = World::new(true);
    world.write(A, "old");
    world.write(B, "");
    world.pass(SETTLE);
    world.write("/m/c.yaml", "young");
    world.touched = Touched::default();
    assert_eq!(
        world.look(),
        [contents(A, "old"), unsettled(B), unsettled("/m/c.yaml")]
    );
    assert!(!world.step.is_complete);
    assert_eq!(world.within(SETTLE), [contents("/m/c.yaml", "young")]);
    assert!(!world.step.is_complete);
    assert_eq!(world.within(GRACE), [contents(B, "")]);
    assert!(world.step.is_complete);
}

#[test]
fn a_removed_file_goes_and_one_that_is_made_anew_does_not() {
    for is_watched in [true, false] {
        let mut world = World::with(is_watched, &[(A, "a"), (B, "b")]);
        let gone = [unsettled(A), state(A, FileState::Gone)];
        world.remove(A);
        assert_eq!(world.within(SETTLE + PERIOD), gone, "{is_watched}");
        world.remove(B);
        let mut ticks = std::iter::repeat_with(|| world.within(TICK));
        let first = ticks.find(|news| !news.is_empty());
        assert_eq!(first.unwrap(), [unsettled(B)]);
        world.write(B, "b");
        world.close(B);
        assert_eq!(world.within(in_place(is_watched)), [contents(B, "b")]);
        world.remove(B);
        let gone = [unsettled(B), state(B, FileState::Gone)];
        assert_eq!(world.within(SETTLE + PERIOD), gone, "also the last one");
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_gone_and_told_once() {
    for is_watched in [true, false] {
        for errno in [Errno::ACCESS, Errno::IO, Errno::STALE, Errno::NOENT] {
            let mut world = World::with(is_watched, &[(A, "a"), (B, "b")]);
            let before = world.disk().nodes[Path::new(A)].clone();
            world.put(A, Err(errno), Touch::Other);
            let news = world.within(GRACE * 100);
            assert_eq!(news, [unsettled(A), state(A, cannot_find(errno))]);
            world.put(A, before, Touch::Other);
            assert_eq!(world.within(PERIOD), [state(A, FileState::AsBefore)]);
        }
    }
}

#[test]
fn a_folder_that_is_not_there_or_another_empty_one_keeps_its_files() {
    for is_watched in [true, false] {
        let mut world = World::with(is_watched, &[(A, "a"), (B, "b")]);
        let before = world.disk().nodes.clone();
        for errno in [Errno::NOENT, Errno::IO, Errno::ACCESS] {
            let lost = BTreeMap::from([(FOLDER.into(), Err(errno))]);
            world.disk().nodes = lost;
            world.touched.mounts = is_watched;
            let told = [state(FOLDER, cannot_find(errno))];
            assert_eq!(world.within(GRACE * 100), told);
            world.disk().nodes = before.clone();
            let over = [state(FOLDER, FileState::AsBefore)];
            assert_eq!(world.within(PERIOD), over);
        }
        world.disk().nodes.clear();
        world.put_folder();
        let empty = FileState::Unusable(FileProblem::EmptyFolder { files: 2 });
        assert_eq!(world.within(GRACE * 100), [state(FOLDER, empty)]);
        world.replace(A, "new");
        let mut news = world.within(SETTLE + PERIOD + PERIOD);
        news.retain(|(_, state)| *state != FileState::Unsettled);
        let seconds = HELD_OPEN.as_secs();
        let lacks = FileState::Unusable(FileProblem::OtherFolder { seconds });
        news.sort_by_key(|(path, _)| path.clone());
        let expected = [state(FOLDER, lacks), contents(A, "new")];
        assert_eq!(news, expected, "what it has counts");
        let mut news = world.within(HELD_OPEN + PERIOD + PERIOD);
        news.retain(|(_, state)| *state != FileState::Unsettled);
        let expected = [
            state(FOLDER, FileState::AsBefore),
            state(B, FileState::Gone),
        ];
        assert_eq!(news, expected, "once it rests, whichever it is");
    }
}

/// As when a volume is copied into its place file by file.
#[test]
fn what_another_folder_lacks_is_not_gone_while_files_come_into_it() {
    for is_watched in [true, false] {
        let mut world = World::with(is_watched, &[(A, "a"), (B, "b")]);
        world.disk().nodes.clear();
        world.put_folder();
        world.touched.mounts = is_watched;
        world.within(GRACE);
        let mut news = Vec::new();
        for number in 0..5 {
            world.replace(&format!("/m/new-{number}.yaml"), "new");
            news.extend(world.within(HELD_OPEN / 2));
        }
        world.replace(A, "a");
        news.extend(world.within(HELD_OPEN / 2));
        world.replace(B, "b");
        news.extend(world.within(HELD_OPEN * 2));
        let gone = news.iter().filter(|(_, state)| *state == FileState::Gone);
        assert_eq!(gone.count(), 0, "{news:?}");
        let mut of_folder = news.iter().filter(|(path, _)| path == FOLDER);
        let last = of_folder.next_back().map(|(_, state)| state);
        assert_eq!(last, Some(&FileState::AsBefore), "{news:?}");
    }
}

#[test]
fn a_path_that_is_not_there_at_the_start_is_told_at_once() {
    let mut world = World::new(true);
    world.disk().nodes.clear();
    let told = [state(FOLDER, cannot_find(Errno::NOENT))];
    assert_eq!(world.look(), told);
    assert!(world.step.is_complete);
}

#[test]
fn only_regular_files_of_a_size_are_read() {
    let mut world = World::new(true);
    let nodes = [("/m/fifo.yaml", "a FIFO"), ("/m/zero.yaml", "a device")];
    for (path, kind) in nodes {
        world.put(path, Ok((Seen::Other(kind), Vec::new())), Touch::Named);
    }
    world.replace("/m/large.yaml", &"x".repeat(1001));
    for (path, touch) in [
        ("/m/.#a.yaml", "half"),
        ("/m/.a.yaml", "half"),
        ("/m/a.yaml~", ""),
    ] {
        world.write(path, touch);
    }
    let refused = |path, problem| state(path, FileState::Unusable(problem));
    let not_a_file = |(path, kind)| refused(path, FileProblem::NotAFile { kind });
    let too_large = FileProblem::TooLarge { at_most: 1000 };
    let expected = [
        not_a_file(nodes[0]),
        refused("/m/large.yaml", too_large),
        not_a_file(nodes[1]),
    ];
    assert_eq!(world.within(PERIOD * 10), expected);
}

/// A program that rewrites a file several times a second never leaves it whole.
#[test]
fn a_file_that_never_rests_is_told_once() {
    let mut world = World::with(true, &[(A, "a")]);
    let mut news = Vec::new();
    for at in 0..1000 {
        world.write(A, &format!("a{at}"));
        world.close(A);
        news.extend(world.within(SETTLE / 2));
    }
    let problem = FileProblem::KeepsChanging { seconds: 60 };
    assert_eq!(news, [unsettled(A), state(A, FileState::Unusable(problem))]);
    assert_eq!(world.within(SETTLE), [contents(A, "a999")]);
}

#[test]
fn a_reload_reads_what_looks_unchanged_and_tells_again_what_is_wrong() {
    let mut world = World::with(true, &[(A, "a")]);
    world.put(B, Err(Errno::ACCESS), Touch::Named);
    let refused = state(B, cannot_find(Errno::ACCESS));
    assert_eq!(world.within(PERIOD), [unsettled(B), refused.clone()]);
    if let Some(Ok((_, bytes))) = world.disk().nodes.get_mut(Path::new(A)) {
        *bytes = b"b".to_vec();
    }
    assert_eq!(world.within(PERIOD), []);
    world.touched.reload = true;
    assert_eq!(world.look(), [contents(A, "b"), refused]);
    assert_eq!(world.within(PERIOD), []);
}

/// A file system without notifications costs a look at each file a second.
#[test]
fn at_rest_5000_files_cost_nothing() {
    let mut world = World::new(true);
    for at in 0..5000 {
        world.replace(&format!("/m/{at}.yaml"), "a");
    }
    assert_eq!(world.look().len(), 5000);
    world.disk().asked = 0;
    for _ in 0..1000 {
        assert_eq!(world.within(PERIOD), []);
        assert_eq!(world.step.due, None, "the thread sleeps until it is told");
    }
    assert_eq!(world.disk().asked, 0);
    world.replace("/m/7.yaml", "b");
    assert_eq!(world.within(PERIOD), [contents("/m/7.yaml", "b")]);
    assert_eq!(world.disk().asked, 2, "a look and a read");
    world.disk().asked = 0;
    for name in ["/m/log", "/m/7.yaml~", "/m/.7.yaml", "/m/..data"] {
        world.touch(name, Touch::Named);
        world.touch(name, Touch::Written);
    }
    assert_eq!(world.within(PERIOD), []);
    assert_eq!(world.disk().asked, 0, "of what is not followed");
    world.disk().is_watched = false;
    world.touched.everything = true;
    assert_eq!(world.look(), []);
    world.disk().asked = 0;
    assert_eq!(world.within(PERIOD), []);
    assert_eq!(world.disk().asked, 5002, "each file, the folder, its list");
}

/// What a writer does to the file, and how long it pauses after it.
fn writes() -> impl Strategy<Value = Vec<(usize, u64)>> {
    proptest::collection::vec((0..=20_usize, 0..400_u64), 1..40)
}

proptest! {
    /// Whoever writes piece by piece, with pauses of less than half a second, is never taken for done, whatever the moments
    /// at which the file is looked at.
    #[test]
    fn half_a_file_is_never_told(writes in writes(), is_watched: bool, before in 0..40_usize) {
        let whole = "0123456789".repeat(3);
        let mut world = World::with(is_watched, &[(A, &"x".repeat(before))]);
        let mut told = Vec::new();
        for (length, pause) in writes {
            world.write(A, &whole[..length]);
            told.extend(world.within(Duration::from_millis(pause)));
        }
        world.write(A, &whole);
        world.close(A);
        told.extend(world.within(HELD_OPEN + PERIOD));
        let told: Vec<_> = told.into_iter().filter(|news| *news != unsettled(A)).collect();
        prop_assert_eq!(told, [contents(A, &whole)]);
    }
}

#[test]
fn times_of_a_file_that_make_no_sense_are_young() {
    let stamp = |seconds, nanoseconds| Stamp {
        modified: FileTime(seconds, nanoseconds),
        changed: FileTime(seconds, nanoseconds),
        ..Stamp::default()
    };
    let now = SystemTime::now();
    for seconds in [i64::MAX, i64::MAX / 2] {
        assert_eq!(stamp(seconds, u32::MAX).rested(now), Duration::ZERO);
    }
    assert!(stamp(i64::MIN, 0).rested(now) > GRACE);
}
