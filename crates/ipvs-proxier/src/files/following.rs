//! The thread that follows files.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::follower::{FileNews, FollowedPath, Follower, Touched};
use super::linux::LinuxDisk;
use super::watches::Watches;
use crate::clock::Moment;
use crate::thread::LastingThread;

/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// Files and folders that are followed, whatever happens to them: each file's contents, whenever they change and are whole.
///
/// A file that is being written is not a file yet. What was written in place counts once it was the same at two looks half a
/// second apart; what is empty or shorter than before, after 5 s; and while whoever wrote still has the file open, after
/// 60 s. Where the kernel tells of nothing it is 5 s for what was written in place, and 60 s for what is empty or shorter: its
/// writer may have it open. A file that was renamed into place counts at once where the kernel tells of it. What cannot be looked at is not gone: it is
/// [`Unusable`](super::FileState::Unusable), told once, and its last contents stay in force. A file is
/// [`Gone`](super::FileState::Gone) when its folder can be read and does not list it, at two looks; a path that was given is
/// never gone, nor are the files of a folder that another, empty one has taken the place of.
///
/// A thread of its own does it, so that a server of files that hangs holds up nobody. It sleeps until the kernel tells of a
/// change (inotify, and the table of mounts): at rest nothing is done, however many files there are. It looks every second at
/// what the kernel cannot tell of: files on network file systems and such that programs serve, what cannot be looked at, and
/// everything once the machine's watches have run out.
///
/// ```
/// use std::sync::mpsc::channel;
/// use ipvs_proxier::{FileState, FollowedFiles, FollowedPath};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("token");
/// std::fs::write(&path, "secret\n")?;
/// let (sender, woken) = channel();
/// let followed = vec![FollowedPath::file(path, 1 << 20)];
/// let files = FollowedFiles::start(followed, move || sender.send(()).unwrap_or_default())?;
/// let contents = loop {
///     woken.recv().unwrap();
///     for news in files.poll() {
///         println!("{}: {:?}", news.path.display(), news.state);
///     }
///     if files.is_complete() {
///         break;
///     }
/// };
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FollowedFiles {
    news: Receiver<FileNews>,
    shared: Arc<Shared>,
    thread: LastingThread,
}

#[derive(Debug)]
struct Shared {
    /// Wakes the thread.
    alarm: OwnedFd,
    is_complete: AtomicBool,
    reload: AtomicBool,
    stop: AtomicBool,
}

impl FollowedFiles {
    /// Starts to follow. `wake` is called whenever there is something to poll, and when the thread has ended.
    ///
    /// # Errors
    /// When there is no thread or no file descriptor left for it.
    pub fn start(
        paths: Vec<FollowedPath>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            alarm,
            is_complete: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (sender, news) = channel();
        let wake = Arc::new(wake);
        let (wake_at_end, at_work) = (Arc::clone(&wake), Arc::clone(&shared));
        let work = move || {
            let watches = Watches::new();
            let follower = Follower::new(paths, LinuxDisk { watches });
            follow(follower, &at_work, &sender, &*wake)
        };
        let thread = LastingThread::start("files", work, move || wake_at_end())?;
        Ok(Self {
            news,
            shared,
            thread,
        })
    }

    /// What is new. Never waits, and makes no system call.
    pub fn poll(&self) -> impl Iterator<Item = FileNews> + '_ {
        self.news.try_iter()
    }

    /// Whether everything that was there at the start has been told, the good and the bad; ask it before [`poll`](Self::poll).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shared.is_complete.load(Ordering::Acquire)
    }

    /// Reads everything again, also what looks unchanged, and tells again what is wrong.
    pub fn reload(&self) {
        self.shared.reload.store(true, Ordering::Release);
        self.shared.ring();
    }

    /// Why the thread has ended, which it does only through a fault: nothing is followed any more.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.thread.ended()
    }
}

impl Drop for FollowedFiles {
    fn drop(&mut self) {
        // It is not waited for: it may hang on a server of files.
        self.shared.stop.store(true, Ordering::Release);
        self.shared.ring();
    }
}

impl Shared {
    fn ring(&self) {
        // It fails only where it has been rung very often.
        let _ = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes());
    }
}

fn follow(
    mut follower: Follower<LinuxDisk>,
    shared: &Shared,
    sender: &Sender<FileNews>,
    wake: &(dyn Fn() + Send + Sync),
) -> String {
    let mut touched = Touched::default();
    while !shared.stop.load(Ordering::Acquire) {
        touched.reload = shared.reload.swap(false, Ordering::AcqRel);
        let step = follower.step(Moment::now(), std::mem::take(&mut touched));
        let mut is_new = !step.news.is_empty();
        for news in step.news {
            // Nobody listens any more: the next turn ends it.
            let _ = sender.send(news);
        }
        is_new |= step.is_complete && !shared.is_complete.swap(step.is_complete, Ordering::AcqRel);
        if is_new {
            wake();
        }
        touched = wait(&mut follower.disk.watches, shared, step.due);
    }
    "nobody needs it any more".to_owned()
}

/// Until something happens, or something is due.
fn wait(watches: &mut Watches, shared: &Shared, due: Option<Instant>) -> Touched {
    let mut touched = Touched::default();
    let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
    let mut fds = vec![PollFd::new(&shared.alarm, PollFlags::IN)];
    if let Some(mounts) = watches.mounts() {
        fds.push(PollFd::from_borrowed_fd(mounts, PollFlags::PRI));
    }
    if let Some(inotify) = watches.inotify() {
        fds.push(PollFd::from_borrowed_fd(inotify, PollFlags::IN));
    }
    if wait_for(&mut fds, timeout) == 0 {
        return touched;
    }
    let mut woken = fds.iter().map(|fd| !fd.revents().is_empty());
    let is_rung = woken.next().unwrap_or_default();
    touched.mounts = watches.mounts().is_some() && woken.next().unwrap_or_default();
    let is_told = woken.next().unwrap_or_default();
    drop(woken);
    drop(fds);
    if is_rung {
        let _ = rustix::io::read(&shared.alarm, &mut [0; 8]);
    } else if is_told {
        let mut alarm = [PollFd::new(&shared.alarm, PollFlags::IN)];
        wait_for(&mut alarm, Some(GATHER));
    }
    watches.read(&mut touched);
    touched
}

/// How many of them have something; a signal and an error look like the end of the wait.
fn wait_for(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> usize {
    // One that is longer than the kernel can count has no end.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    poll(fds, timeout.as_ref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::super::file::FileState;
    use super::super::problem::FileProblem;
    use super::*;

    /// What has been told last of each file.
    struct Followed {
        files: FollowedFiles,
        woken: Receiver<()>,
        states: BTreeMap<PathBuf, FileState>,
    }

    impl Followed {
        fn new(path: &Path) -> Self {
            let (sender, woken) = channel();
            let followed = FollowedPath::file_or_folder(path.to_owned(), &["yaml"], 1000);
            let wake = move || sender.send(()).unwrap_or_default();
            let mut followed = Self {
                files: FollowedFiles::start(vec![followed], wake).unwrap(),
                woken,
                states: BTreeMap::new(),
            };
            while !followed.files.is_complete() {
                followed.woken.recv().unwrap();
            }
            followed.take_in();
            followed
        }

        fn take_in(&mut self) {
            let news = self.files.poll();
            self.states.extend(news.map(|news| (news.path, news.state)));
        }

        /// Waits until it is told so.
        fn until(&mut self, path: &Path, is_it: impl Fn(&FileState) -> bool) {
            while !self.states.get(path).is_some_and(&is_it) {
                self.woken.recv().unwrap();
                self.take_in();
            }
        }

        fn until_contents(&mut self, path: &Path, text: &str) {
            let wanted = FileState::Contents(text.as_bytes().into());
            self.until(path, |state| *state == wanted);
        }
    }

    fn replace(path: &Path, text: &str) {
        let other = path.with_extension("tmp");
        fs::write(&other, text).unwrap();
        fs::rename(other, path).unwrap();
    }

    #[test]
    fn files_are_followed_through_writes_renames_and_removals() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        replace(&a, "one");
        let mut followed = Followed::new(folder.path());
        followed.until_contents(&a, "one");
        fs::write(&a, "one two").unwrap();
        followed.until_contents(&a, "one two");
        replace(&b, "");
        followed.until_contents(&b, "");
        fs::remove_file(&a).unwrap();
        followed.until(&a, |state| *state == FileState::Gone);
    }

    /// As the kubelet changes what a ConfigMap mounts.
    #[test]
    fn links_are_followed_when_what_they_lead_to_is_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let version = |name: &str, text: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("a.yaml"), text).unwrap();
            symlink(name, at("..tmp")).unwrap();
            fs::rename(at("..tmp"), at("..data")).unwrap();
        };
        version("..1", "one");
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let mut followed = Followed::new(folder.path());
        followed.until_contents(&at("a.yaml"), "one");
        version("..2", "");
        followed.until_contents(&at("a.yaml"), "");
        fs::write(at("..2").join("a.yaml"), "by another name").unwrap();
        followed.until_contents(&at("a.yaml"), "by another name");
        fs::remove_dir_all(at("..2")).unwrap();
        let is_lost = |state: &FileState| matches!(state, FileState::Unusable(_));
        followed.until(&at("a.yaml"), is_lost);
        fs::remove_file(at("..data")).unwrap();
        version("..3", "three");
        followed.until_contents(&at("a.yaml"), "three");
    }

    #[test]
    fn a_folder_that_vanishes_and_comes_again_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = (folder.path().join("m"), folder.path().join("m/a.yaml"));
        fs::create_dir(&path).unwrap();
        replace(&file, "one");
        let mut followed = Followed::new(&path);
        fs::rename(&path, folder.path().join("other")).unwrap();
        let is_lost = |state: &FileState| {
            matches!(
                state,
                FileState::Unusable(FileProblem::Io { errno: Some(2), .. })
            )
        };
        followed.until(&path, is_lost);
        fs::create_dir(&path).unwrap();
        let empty = FileState::Unusable(FileProblem::EmptyFolder { files: 1 });
        followed.until(&path, |state| *state == empty);
        followed.until_contents(&file, "one");
        replace(&file, "two");
        followed.until_contents(&file, "two");
        followed.until(&path, |state| *state == FileState::AsBefore);
    }

    /// It would wait for a writer, or read for ever.
    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo.yaml"), kind, mode, 0).unwrap();
        symlink("/dev/zero", at("zero.yaml")).unwrap();
        symlink("/proc/self/mem", at("endless.yaml")).unwrap();
        symlink("nowhere", at("nowhere.yaml")).unwrap();
        fs::File::create(at("large.yaml"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        fs::create_dir(at("folder.yaml")).unwrap();
        let followed = Followed::new(folder.path());
        let kinds: Vec<_> = followed.states.into_iter().collect();
        let is_refused = |(_, state): &(_, _)| matches!(state, FileState::Unusable(_));
        assert!(
            kinds.len() == 5 && kinds.iter().all(is_refused),
            "{kinds:?}"
        );
    }
}
