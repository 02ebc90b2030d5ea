//! A disk in memory, and a clock that is a number.

use super::*;

/// Files that a test writes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) nodes: BTreeMap<PathBuf, Result<(Seen, Vec<u8>), Errno>>,
    pub(super) is_watched: bool,
    pub(super) inodes: u64,
    /// Questions that would be system calls.
    pub(super) asked: usize,
}

impl Disk for Memory {
    fn look(&mut self, path: &Path) -> Look {
        self.asked += 1;
        let seen = match self.nodes.get(path) {
            Some(Ok((seen, _))) => Ok(*seen),
            Some(Err(error)) => Err((*error).into()),
            None => Err(Errno::NOENT.into()),
        };
        Look {
            seen,
            is_watched: self.is_watched,
        }
    }

    /// As on a real disk, whether or not the folder tells.
    fn look_in_folder(&mut self, path: &Path) -> Look {
        Look {
            is_watched: true,
            ..self.look(path)
        }
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.asked += 1;
        let paths = self.nodes.keys();
        let inside = paths.filter(|path| path.parent() == Some(folder));
        Ok(inside
            .map(|path| path.file_name().unwrap().to_owned())
            .collect())
    }

    fn read(&mut self, path: &Path, at_most: u64) -> Result<(Stamp, Vec<u8>), FileProblem> {
        self.asked += 1;
        match self.nodes.get(path) {
            Some(Ok((Seen::File(stamp), _))) if stamp.length > at_most => {
                Err(FileProblem::TooLarge { at_most })
            }
            Some(Ok((Seen::File(stamp), bytes))) => Ok((*stamp, bytes.clone())),
            _ => Err(FileProblem::io("open", &Errno::NOENT.into())),
        }
    }

    fn forget(&mut self, _: &Path) {}
}

/// A follower, its disk and its clock.
pub(super) struct World {
    pub(super) follower: Follower<Memory>,
    pub(super) start: Moment,
    /// Since then.
    pub(super) passed: Duration,
    pub(super) touched: Touched,
    pub(super) step: Step,
}

impl World {
    /// A folder that is followed, and that the kernel tells of, or not.
    pub(super) fn new(is_watched: bool) -> Self {
        let followed = FollowedPath::file_or_folder(FOLDER.into(), &["yaml"], 1000);
        let disk = Memory {
            is_watched,
            ..Memory::default()
        };
        let start = Moment {
            wall: UNIX_EPOCH + Duration::from_secs(1_000_000),
            ..Moment::now()
        };
        let mut world = Self {
            follower: Follower::new(vec![followed], disk),
            start,
            passed: Duration::ZERO,
            touched: Touched::default(),
            step: Step::default(),
        };
        world.put_folder();
        world
    }

    /// One that has told everything, among it files with these contents.
    pub(super) fn with(is_watched: bool, files: &[(&str, &str)]) -> Self {
        let mut world = Self::new(is_watched);
        for (path, text) in files {
            world.replace(path, text);
        }
        world.pass(GRACE);
        let news = world.look();
        assert_eq!(news.len(), files.len(), "{news:?}");
        assert!(world.step.is_complete);
        world
    }

    pub(super) fn disk(&mut self) -> &mut Memory {
        &mut self.follower.disk
    }

    pub(super) fn inode(&mut self) -> Identity {
        self.disk().inodes += 1;
        Identity {
            inode: self.disk().inodes,
            ..Identity::default()
        }
    }

    pub(super) fn put(&mut self, path: &str, node: Result<(Seen, Vec<u8>), Errno>, touch: Touch) {
        self.disk().nodes.insert(path.into(), node);
        self.touch(path, touch);
    }

    pub(super) fn touch(&mut self, path: &str, touch: Touch) {
        if self.disk().is_watched {
            self.touched.paths.push((path.into(), touch));
        }
    }

    pub(super) fn put_folder(&mut self) {
        let identity = self.inode();
        let folder = Ok((Seen::Folder(identity), Vec::new()));
        self.put(FOLDER, folder, Touch::Named);
    }

    pub(super) fn time(&self) -> FileTime {
        let now = self.now().wall.duration_since(UNIX_EPOCH).unwrap();
        FileTime(now.as_secs().try_into().unwrap(), now.subsec_nanos())
    }

    pub(super) fn stamp(&self, identity: Identity, text: &str) -> Stamp {
        Stamp {
            identity,
            length: text.len() as u64,
            modified: self.time(),
            changed: self.time(),
        }
    }

    /// Writes in place, and leaves the file open.
    pub(super) fn write(&mut self, path: &str, text: &str) {
        let identity = match self.disk().nodes.get(Path::new(path)) {
            Some(Ok((Seen::File(stamp), _))) => stamp.identity,
            _ => {
                self.touch(path, Touch::Named);
                self.inode()
            }
        };
        let seen = Seen::File(self.stamp(identity, text));
        self.put(path, Ok((seen, text.into())), Touch::Written);
    }

    pub(super) fn close(&mut self, path: &str) {
        self.touch(path, Touch::Closed);
    }

    /// By another name and a rename.
    pub(super) fn replace(&mut self, path: &str, text: &str) {
        let identity = self.inode();
        let mut stamp = self.stamp(identity, text);
        self.pass(TICK);
        stamp.changed = self.time();
        self.put(path, Ok((Seen::File(stamp), text.into())), Touch::Moved);
    }

    /// Gives it other rights.
    pub(super) fn chmod(&mut self, path: &str) {
        self.pass(TICK);
        let now = self.time();
        let node = self.disk().nodes.get_mut(Path::new(path));
        if let Some(Ok((Seen::File(stamp), _))) = node {
            stamp.changed = now;
        }
        self.touch(path, Touch::Other);
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.disk().nodes.remove(Path::new(path));
        self.touch(path, Touch::Named);
    }

    pub(super) fn now(&self) -> Moment {
        self.start.later(self.passed).unwrap()
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    /// What is new at a step now.
    pub(super) fn look(&mut self) -> Vec<(PathBuf, FileState)> {
        let touched = std::mem::take(&mut self.touched);
        self.step = self.follower.step(self.now(), touched);
        let news = std::mem::take(&mut self.step.news);
        news.into_iter()
            .map(|FileNews { path, state }| (path, state))
            .collect()
    }

    /// What is new within a time, at the steps that are due.
    pub(super) fn within(&mut self, time: Duration) -> Vec<(PathBuf, FileState)> {
        let end = self.passed + time;
        let mut news = self.look();
        while let Some(due) = self.step.due {
            let due = due.saturating_duration_since(self.start.steady);
            if due > end {
                break;
            }
            self.passed = due.max(self.passed);
            news.extend(self.look());
        }
        self.passed = end;
        news
    }
}
