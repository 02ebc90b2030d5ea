//! What the kernel tells of changes: inotify for folders and files, and the table of mounts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use super::file::Touch;
use super::follower::Touched;

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Names that come and go.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MASK_ADD);
/// What happens to files.
const CONTENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MASK_ADD);

/// File systems whose every change this kernel makes itself, so that it tells of them. On a network file system, or one
/// that another program serves, others change files unseen.
const LOCAL: [u32; 13] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x4d44,      // vfat
    0x2011_bab0, // exfat
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
];

/// What followed paths have to do with a watched folder or file.
#[derive(Debug, Default)]
struct Interest {
    /// Names in it through which their ways lead.
    names: HashMap<OsString, BTreeSet<PathBuf>>,
    /// Their ways end here.
    ends: BTreeSet<PathBuf>,
}

/// The watches of the paths that are followed.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: Option<OwnedFd>,
    /// The mounts of this process, which tells when one comes or goes.
    mounts: Option<fs::File>,
    /// Whether the log has it that watches have run out.
    is_full: bool,
    interests: HashMap<i32, Interest>,
    watches_of: HashMap<PathBuf, Vec<i32>>,
}

impl Watches {
    /// Without inotify (its instances have run out) or without `/proc`, nothing is watched, and whoever follows looks again
    /// and again.
    pub(super) fn new() -> Self {
        let mounts = fs::File::open("/proc/self/mountinfo").ok();
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let inotify = match inotify::init(flags) {
            Ok(inotify) => mounts.is_some().then_some(inotify),
            Err(error) => {
                warn!(%error, "no inotify: files are looked at every second");
                None
            }
        };
        Self {
            inotify,
            mounts,
            is_full: false,
            interests: HashMap::new(),
            watches_of: HashMap::new(),
        }
    }

    /// What tells of changes of names and contents, by being readable.
    pub(super) fn inotify(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// What tells of changes of mounts, by a priority event.
    pub(super) fn mounts(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.as_ref().map(AsFd::as_fd)
    }

    /// Watches what a path leads to, and each folder on the way, with links. Whether all of it is watched. O(length of the
    /// way), in system calls.
    pub(super) fn follow(&mut self, path: &Path) -> bool {
        self.forget_interest(path);
        let before = self.watches_of.remove(path).unwrap_or_default();
        let Way {
            steps,
            end,
            mounted,
        } = way(path);
        let mut is_watched = true;
        let mut watches = Vec::new();
        for (index, (folder, name)) in steps.into_iter().enumerate() {
            match self.watch(&folder, NAMES) {
                Some(watch) => {
                    let interest = self.interests.entry(watch).or_default();
                    let names = interest.names.entry(name).or_default();
                    names.insert(path.to_owned());
                    watches.push(watch);
                }
                // What is mounted cannot be renamed, and of mounts their table tells.
                None => is_watched &= index < mounted,
            }
        }
        if let Some(end) = end {
            let flags = if end.is_dir() {
                NAMES.union(CONTENTS)
            } else {
                CONTENTS
            };
            match self.watch(&end, flags) {
                Some(watch) => {
                    let interest = self.interests.entry(watch).or_default();
                    interest.ends.insert(path.to_owned());
                    watches.push(watch);
                }
                None => is_watched = false,
            }
        }
        let stale = before.into_iter().filter(|watch| !watches.contains(watch));
        self.remove_unused(stale.collect());
        self.watches_of.insert(path.to_owned(), watches);
        is_watched
    }

    pub(super) fn forget(&mut self, path: &Path) {
        self.forget_interest(path);
        let before = self.watches_of.remove(path).unwrap_or_default();
        self.remove_unused(before);
    }

    fn watch(&mut self, path: &Path, flags: WatchFlags) -> Option<i32> {
        let inotify = self.inotify.as_ref()?;
        // Of 32 bits, in a type that is another one on each machine.
        let kind = rustix::fs::statfs(path).ok()?.f_type.to_le_bytes();
        let is_it = |local: &u32| kind.starts_with(&local.to_le_bytes());
        let is_local = LOCAL.iter().any(is_it);
        if !is_local {
            return None;
        }
        let watch = inotify::add_watch(inotify, path, flags);
        if watch == Err(Errno::NOSPC) && !std::mem::replace(&mut self.is_full, true) {
            let path = path.display();
            warn!(%path, "no watch of inotify is left (fs.inotify.max_user_watches): files are looked at every second");
        }
        watch.ok()
    }

    fn forget_interest(&mut self, path: &Path) {
        for watch in self.watches_of.get(path).into_iter().flatten() {
            if let Some(interest) = self.interests.get_mut(watch) {
                interest.ends.remove(path);
                interest.names.retain(|_, paths| {
                    paths.remove(path);
                    !paths.is_empty()
                });
            }
        }
    }

    fn remove_unused(&mut self, watches: Vec<i32>) {
        for watch in watches {
            let is_used =
                |interest: &Interest| !interest.ends.is_empty() || !interest.names.is_empty();
            if !self.interests.get(&watch).is_some_and(is_used)
                && self.interests.remove(&watch).is_some()
                && let Some(inotify) = &self.inotify
            {
                // The kernel has removed that of a file that is gone.
                let _ = inotify::remove_watch(inotify, watch);
            }
        }
    }

    /// Adds what inotify has to tell.
    pub(super) fn read(&mut self, touched: &mut Touched) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        // It ends when nothing is left, or with an error of which a look will tell.
        while let Ok(event) = reader.next() {
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                touched.everything = true;
                continue;
            }
            let touch = touch(what);
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            if let Some(interest) = self.interests.get(&event.wd()) {
                interest.touch(name, touch, &mut touched.paths);
            }
            if what.contains(ReadFlags::IGNORED) {
                self.interests.remove(&event.wd());
            }
        }
    }
}

impl Interest {
    fn touch(&self, name: Option<&OsStr>, touch: Touch, paths: &mut Vec<(PathBuf, Touch)>) {
        if let Some(name) = name {
            let through = self.names.get(name).into_iter().flatten();
            paths.extend(through.map(|path| (path.clone(), touch)));
            // A folder that is followed tells of its files.
            paths.extend(self.ends.iter().map(|path| (path.join(name), touch)));
        } else {
            let through = self.names.values().flatten();
            paths.extend(through.map(|path| (path.clone(), Touch::Other)));
            paths.extend(self.ends.iter().map(|path| (path.clone(), touch)));
        }
    }
}

fn touch(what: ReadFlags) -> Touch {
    if what.contains(ReadFlags::MOVED_TO) {
        Touch::Moved
    } else if what.intersects(ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        Touch::Named
    } else if what.contains(ReadFlags::MODIFY) {
        Touch::Written
    } else if what.contains(ReadFlags::CLOSE_WRITE) {
        Touch::Closed
    } else {
        Touch::Other
    }
}

/// The way of a path.
#[derive(Debug, Default)]
struct Way {
    /// The folders and names through which it leads, with those of links.
    steps: Vec<(PathBuf, OsString)>,
    /// Where it ends, if it ends.
    end: Option<PathBuf>,
    /// So many steps lead to the last mount on it, without a link.
    mounted: usize,
}

fn way(path: &Path) -> Way {
    let mut way = Way::default();
    let mut at = PathBuf::from("/");
    let Ok(path) = std::path::absolute(path) else {
        return way;
    };
    let mut device = at.symlink_metadata().map(|found| found.dev()).ok();
    let mut left: VecDeque<OsString> = names(&path).collect();
    let mut links = 0_usize;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        way.steps.push((at.clone(), name));
        if let Ok(target) = fs::read_link(&next) {
            links = links.saturating_add(1);
            if links > LINKS {
                return way;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let rest = std::mem::take(&mut left);
            left = names(&target).chain(rest).collect();
        } else if let Ok(found) = next.symlink_metadata() {
            if links == 0 && device.replace(found.dev()) != Some(found.dev()) {
                way.mounted = way.steps.len();
            }
            at = next;
        } else {
            return way;
        }
    }
    way.end = Some(at);
    way
}

/// The names in a path; `..` is one of them.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_leads_over_mounts_and_links() {
        let Way {
            steps,
            end,
            mounted,
        } = way(Path::new("/proc/../proc/self/mounts"));
        let id = std::process::id().to_string();
        assert_eq!(end, Some(Path::new("/proc").join(&id).join("mounts")));
        assert_eq!(mounted, 1, "to /proc");
        let names = steps
            .iter()
            .map(|(folder, name)| (folder.to_str().unwrap(), name.to_str().unwrap()));
        let names: Vec<_> = names.collect();
        let expected = [
            ("/", "proc"),
            ("/", "proc"),
            ("/proc", "self"),
            ("/proc", id.as_str()),
        ];
        assert_eq!(names[..4], expected);
        assert_eq!(way(Path::new("/proc/nowhere/file")).end, None);
    }
}
