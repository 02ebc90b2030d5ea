//! Which files there are, when each is looked at, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::disk::{Disk, Look, Seen};
use super::file::{Decision, FileRules, FileState, Next, PERIOD, SETTLE, Sighting, Touch};
use super::other_folder::OtherFolder;
use super::problem::FileProblem;
use super::stamp::Identity;
use crate::clock::Moment;

/// A file that changes between a look and its read is read so often before it is looked at later.
const READS: usize = 3;

/// A file, or a folder whose files are followed: a path given by somebody, so that it should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedPath {
    pub(super) path: PathBuf,
    /// How names of files in a folder end; none where the path may not be a folder.
    pub(super) extensions: Option<&'static [&'static str]>,
    pub(super) at_most: u64,
}

impl FollowedPath {
    /// A file of at most so many bytes.
    #[must_use]
    pub const fn file(path: PathBuf, at_most: u64) -> Self {
        Self {
            path,
            extensions: None,
            at_most,
        }
    }

    /// A file, or a folder whose files with one of these extensions are followed, each of at most so many bytes. Names that
    /// begin with a dot do not count, as with the kubelet: editors and copying programs put half files there. Neither do
    /// folders in the folder.
    #[must_use]
    pub const fn file_or_folder(
        path: PathBuf,
        extensions: &'static [&'static str],
        at_most: u64,
    ) -> Self {
        Self {
            path,
            extensions: Some(extensions),
            at_most,
        }
    }

    fn is_followed(&self, name: &Path) -> bool {
        let is_hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
        let extension = name.extension().and_then(|extension| extension.to_str());
        let extensions = self.extensions.unwrap_or_default();
        !is_hidden && extension.is_some_and(|extension| extensions.contains(&extension))
    }
}

/// What is new about a file, or about a path that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNews {
    /// The file.
    pub path: PathBuf,
    /// How it stands now.
    pub state: FileState,
}

/// What may have changed since the last step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Touched {
    /// Anything: everything is looked at.
    pub(super) everything: bool,
    /// Where paths lead: a volume came or went.
    pub(super) mounts: bool,
    /// Somebody wants everything read again.
    pub(super) reload: bool,
    /// These.
    pub(super) paths: Vec<(PathBuf, Touch)>,
}

/// What a step leads to.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) news: Vec<FileNews>,
    /// When the next one is due though nothing is touched.
    pub(super) due: Option<Instant>,
    /// Whether everything that was there at the start has been told.
    pub(super) is_complete: bool,
}

#[derive(Debug)]
struct Root {
    followed: FollowedPath,
    /// The folder whose files these are.
    folder: Option<Identity>,
    files: BTreeSet<PathBuf>,
    /// Whether the kernel tells of its changes.
    is_watched: bool,
    /// What is in its place.
    other: OtherFolder,
    problem: RootProblem,
}

/// What is wrong with a path that was given.
#[derive(Debug, Default)]
struct RootProblem {
    seen: Option<(FileProblem, Instant)>,
    told: Option<FileProblem>,
}

/// Follows files. It decides; time, changes and the disk come in by parameters.
#[derive(Debug)]
pub(super) struct Follower<D> {
    roots: Vec<Root>,
    files: BTreeMap<PathBuf, (FileRules, u64)>,
    /// What is to be looked at though nothing happens to it. At rest it is empty.
    due: BTreeMap<PathBuf, Instant>,
    is_first: bool,
    is_complete: bool,
    pub(super) disk: D,
}

impl<D: Disk> Follower<D> {
    pub(super) fn new(paths: Vec<FollowedPath>, disk: D) -> Self {
        let root = |followed| Root {
            followed,
            folder: None,
            files: BTreeSet::new(),
            is_watched: false,
            other: OtherFolder::default(),
            problem: RootProblem::default(),
        };
        Self {
            roots: paths.into_iter().map(root).collect(),
            files: BTreeMap::new(),
            due: BTreeMap::new(),
            is_first: true,
            is_complete: false,
            disk,
        }
    }

    /// Looks at what may have changed and at what is due. O(that), and a listing for each folder that it concerns.
    pub(super) fn step(&mut self, now: Moment, touched: Touched) -> Step {
        let mut news = Vec::new();
        let everything = touched.everything || touched.reload || self.is_first;
        if touched.reload {
            self.files.values_mut().for_each(|(file, _)| file.reload());
            self.roots
                .iter_mut()
                .for_each(|root| root.problem.told = None);
        }
        let mut looks = self.take_due(now);
        let mut listings: BTreeSet<PathBuf> = looks.clone();
        // What seemed gone is so if another listing says it too.
        let unlisted = looks.iter().filter(|path| !self.is_listed(path));
        let folders = unlisted.filter_map(|path| path.parent());
        listings.extend(folders.map(Path::to_owned));
        for (path, touch) in &touched.paths {
            let is_new = !self.files.contains_key(path);
            if is_new && !self.may_be_followed(path) {
                continue;
            }
            if is_new || *touch == Touch::Named {
                listings.extend(path.parent().map(Path::to_owned));
            }
            listings.insert(path.clone());
            looks.insert(path.clone());
        }
        for index in 0..self.roots.len() {
            let is_touched = self.roots.get(index).is_some_and(|root| {
                root.problem.seen.is_some() || listings.contains(&root.followed.path)
            });
            if everything || touched.mounts || is_touched {
                self.look_at_root(index, everything, now, &mut looks, &mut news);
            }
        }
        // Also those of files that have just been found.
        for (path, touch) in touched.paths {
            if let Some((file, _)) = self.files.get_mut(&path) {
                file.touched(touch);
            }
        }
        for path in looks {
            self.look_at(&path, now, &mut news);
        }
        if !self.is_complete {
            self.is_complete = !self.files.values().any(|(file, _)| file.is_new());
        }
        self.is_first &= !self.is_complete;
        Step {
            news,
            due: self.due.values().min().copied(),
            is_complete: self.is_complete,
        }
    }

    fn take_due(&mut self, now: Moment) -> BTreeSet<PathBuf> {
        let is_due = |(_, at): &(&PathBuf, &Instant)| **at <= now.steady;
        let due = self.due.iter().filter(is_due).map(|(path, _)| path.clone());
        let due: BTreeSet<PathBuf> = due.collect();
        self.due.retain(|path, _| !due.contains(path));
        due
    }

    /// Whether a path was given, or is a file of a folder that was. What else is in a folder may change all the time.
    fn may_be_followed(&self, path: &Path) -> bool {
        self.roots.iter().any(|Root { followed, .. }| {
            let is_inside = path.parent() == Some(&followed.path);
            let name = path.file_name().map(Path::new);
            path == followed.path
                || is_inside && name.is_some_and(|name| followed.is_followed(name))
        })
    }

    /// Finds out which files a root has, and adds those that are to be looked at.
    fn look_at_root(
        &mut self,
        index: usize,
        everything: bool,
        now: Moment,
        looks: &mut BTreeSet<PathBuf>,
        news: &mut Vec<FileNews>,
    ) {
        let Some(root) = self.roots.get_mut(index) else {
            return;
        };
        let path = root.followed.path.clone();
        let Look { seen, is_watched } = self.disk.look(&path);
        root.is_watched = is_watched;
        if !is_watched {
            at(&mut self.due, &path, now.steady.checked_add(PERIOD));
        }
        let found = match seen {
            Ok(Seen::Folder(identity)) if root.followed.extensions.is_some() => {
                let names = self.disk.list(&path);
                let names = names.map_err(|error| FileProblem::io("list", &error));
                names.and_then(|names| {
                    let followed = |name: &_| root.followed.is_followed(Path::new(name));
                    let names = names.into_iter().filter(followed);
                    let files: BTreeSet<PathBuf> = names.map(|name| path.join(name)).collect();
                    let is_other = root.folder.is_some_and(|before| before != identity);
                    if is_other && files.is_empty() && !root.files.is_empty() {
                        let files = root.files.len();
                        return Err(FileProblem::EmptyFolder { files });
                    }
                    Ok((Some(identity), files))
                })
            }
            Ok(_) => Ok((None, BTreeSet::from([path.clone()]))),
            Err(error) => Err(FileProblem::io("find", &error)),
        };
        let was_lost = root.problem.seen.is_some();
        let kept = root.keeps(found.as_ref().ok(), was_lost, now.steady);
        let problem = found.as_ref().err().or(kept.as_ref());
        let tell = root.problem.saw(problem, now, self.is_first);
        let is_over = matches!(tell, Some(FileState::AsBefore));
        news.extend(tell.map(|state| FileNews {
            path: path.clone(),
            state,
        }));
        if root.problem.seen.is_some() {
            let next = if root.problem.told.is_some() {
                PERIOD
            } else {
                SETTLE
            };
            at(&mut self.due, &path, now.steady.checked_add(next));
        }
        let Ok((folder, mut files)) = found else {
            // Nothing can be said of them.
            looks.retain(|file| !root.files.contains(file) && *file != path);
            return;
        };
        if is_over && let Some((file, _)) = self.files.get_mut(&path) {
            file.tell_again();
        }
        let is_other = folder != root.folder;
        let at_most = root.followed.at_most;
        for file in &files {
            if !self.files.contains_key(file) {
                let entry = (FileRules::default(), at_most);
                self.files.insert(file.clone(), entry);
                looks.insert(file.clone());
            } else if everything || is_other || was_lost || !is_watched {
                looks.insert(file.clone());
            }
        }
        if kept.is_some() {
            // Nothing can be said of those that it lacks.
            looks.retain(|file| files.contains(file) || !root.files.contains(file));
            files.extend(root.files.iter().cloned());
        } else {
            root.folder = folder;
            root.other.is_over();
        }
        let before = std::mem::replace(&mut root.files, files);
        let gone: Vec<PathBuf> = before
            .into_iter()
            .filter(|file| !self.is_listed(file))
            .collect();
        looks.extend(gone);
    }

    fn is_listed(&self, file: &Path) -> bool {
        self.roots.iter().any(|root| root.files.contains(file))
    }

    fn look_at(&mut self, path: &Path, now: Moment, news: &mut Vec<FileNews>) {
        let is_listed = self.is_listed(path);
        // What its folder does not tell, nobody does.
        let mut roots = self.roots.iter().filter(|root| root.files.contains(path));
        let are_roots_watched = roots.all(|root| root.is_watched);
        let Some((file, at_most)) = self.files.get_mut(path) else {
            return;
        };
        let mut is_watched = true;
        let sighting = if is_listed {
            let is_named = self.roots.iter().any(|root| root.followed.path == path);
            let look = if is_named {
                self.disk.look(path)
            } else {
                self.disk.look_in_folder(path)
            };
            is_watched = look.is_watched;
            file.watched(is_watched && are_roots_watched);
            sighting(look)
        } else {
            Sighting::Gone
        };
        let mut decision = file.saw(sighting, now, self.is_first);
        for _ in 0..READS {
            if decision.next != Next::Read {
                break;
            }
            news.extend(told(path, decision.tell.take()));
            decision = file.read(self.disk.read(path, *at_most), now);
        }
        let Decision { tell, next } = decision;
        let is_gone = matches!(tell, Some(FileState::Gone));
        news.extend(told(path, tell));
        if is_gone {
            self.files.remove(path);
            self.disk.forget(path);
            return;
        }
        let later = |time| now.steady.checked_add(time);
        let next = match next {
            Next::Rest => None,
            Next::Look(at) => Some(at),
            Next::Read => later(SETTLE),
        };
        at(&mut self.due, path, next);
        if !is_watched {
            at(&mut self.due, path, later(PERIOD));
        }
    }
}

impl Root {
    /// Why files that were there and are not found now stay in force, if they do.
    fn keeps(
        &mut self,
        found: Option<&(Option<Identity>, BTreeSet<PathBuf>)>,
        was_lost: bool,
        now: Instant,
    ) -> Option<FileProblem> {
        let (Some(before), Some((Some(identity), files))) = (self.folder, found) else {
            return None;
        };
        if before == *identity || files.is_superset(&self.files) {
            return None;
        }
        self.other.keeps(*identity, files, was_lost, now)
    }
}

impl RootProblem {
    /// What to tell after a look that showed a problem, or none.
    fn saw(
        &mut self,
        problem: Option<&FileProblem>,
        now: Moment,
        is_first: bool,
    ) -> Option<FileState> {
        let Some(problem) = problem else {
            self.seen = None;
            return self.told.take().map(|_| FileState::AsBefore);
        };
        let since = match &self.seen {
            Some((before, since)) if before == problem => *since,
            _ => now.steady,
        };
        self.seen = Some((problem.clone(), since));
        let is_settled = now.steady.saturating_duration_since(since) >= SETTLE;
        if !(is_first || is_settled) || self.told.as_ref() == Some(problem) {
            return None;
        }
        self.told = Some(problem.clone());
        Some(FileState::Unusable(problem.clone()))
    }
}

/// What a look at a file says of it.
fn sighting(look: Look) -> Sighting {
    let kind = match look.seen {
        Ok(Seen::File(stamp)) => return Sighting::File(stamp),
        Ok(Seen::Folder(_)) => "a folder",
        Ok(Seen::Other(kind)) => kind,
        Err(error) => return Sighting::Problem(FileProblem::io("find", &error)),
    };
    Sighting::Problem(FileProblem::NotAFile { kind })
}

fn told(path: &Path, state: Option<FileState>) -> Option<FileNews> {
    let path = path.to_owned();
    state.map(|state| FileNews { path, state })
}

/// Something is to be looked at then, if not earlier.
fn at(due: &mut BTreeMap<PathBuf, Instant>, path: &Path, next: Option<Instant>) {
    if let Some(next) = next {
        let due = due.entry(path.to_owned()).or_insert(next);
        *due = next.min(*due);
    }
}
