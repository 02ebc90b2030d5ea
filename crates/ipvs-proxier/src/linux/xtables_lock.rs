//! The lock that every iptables of the legacy back end takes for as long as it works on the rules.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use crate::error::PlaneError;
use crate::lock_holder::LockHolder;

/// Where it is, unless the environment says otherwise.
const PATH: &str = "/run/xtables.lock";
const VARIABLE: &str = "XTABLES_LOCKFILE";

/// The words of iptables with which it gives up: "Another app is currently holding the xtables lock", and "Can't lock
/// /run/xtables.lock" (`xtables_lock` in `iptables/xshared.c`). A lock file that cannot be opened is something else.
pub(super) fn is_held(words: &str) -> bool {
    words.contains("holding the xtables lock") || words.contains("Can't lock ")
}

/// That others hold it, and who does as far as the kernel tells.
pub(super) fn held() -> PlaneError {
    let path = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(PATH), PathBuf::from);
    let holder = holder(&path);
    PlaneError::Locked { path, holder }
}

/// Who holds a lock on a file. The kernel does not tell of processes in other process namespaces.
fn holder(path: &Path) -> Option<LockHolder> {
    let file = fs::metadata(path).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let device = (major(file.dev()), minor(file.dev()));
    let process = holder_in(&locks, device, file.ino())?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok();
    let name = name.map(|name| name.trim_end().to_owned());
    Some(LockHolder { process, name })
}

/// `1: FLOCK  ADVISORY  WRITE 699 00:12:5 0 EOF`; one that waits has an arrow behind the number.
fn holder_in(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_lock = matches!(words.next()?, "FLOCK" | "OFDLCK" | "POSIX");
        let process = words.nth(2).filter(|_| is_lock)?;
        let mut file = words.next()?.split(':');
        let mut hexadecimal = || u32::from_str_radix(file.next()?, 16).ok();
        let of_file = (hexadecimal()?, hexadecimal()?);
        let is_it = of_file == device && file.next()?.parse() == Ok(inode);
        process.parse().ok().filter(|_| is_it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_about_a_lock_that_is_held_are_taken_for_it() {
        for words in [
            "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?",
            "Can't lock /run/xtables.lock: Resource temporarily unavailable; Another app is currently holding the xtables \
             lock. Stopped waiting after 1s.",
        ] {
            assert!(is_held(words), "{words}");
        }
        let cannot_open = "Fatal: can't open lock file /run/xtables.lock: Read-only file system";
        assert!(!is_held(cannot_open));
        assert!(!is_held("no room left"));
    }

    #[test]
    fn the_holder_is_found_among_all_locks_and_not_who_waits() {
        let locks = "1: POSIX  ADVISORY  WRITE 12 fe:00:5 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 699 00:12:5 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 700 00:12:6 0 EOF\n\
                     broken\n\
                     3: FLOCK  ADVISORY  WRITE 701 fe:12:7 0 EOF\n";
        assert_eq!(holder_in(locks, (0, 0x12), 5), Some(699));
        assert_eq!(holder_in(locks, (0, 0x12), 6), None);
        assert_eq!(holder_in(locks, (0xfe, 0x12), 7), Some(701));
    }

    #[test]
    fn this_process_is_the_holder_of_a_lock_that_it_takes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holder(file.path()), None);
        file.as_file().lock().unwrap();
        let holder = holder(file.path()).unwrap();
        assert_eq!(holder.process, std::process::id());
        assert!(holder.to_string().contains('('), "{holder}");
        let gone = LockHolder {
            name: None,
            ..holder
        };
        assert!(gone.to_string().starts_with("what process "), "{gone}");
    }
}
