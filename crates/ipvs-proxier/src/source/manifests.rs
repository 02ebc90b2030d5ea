//! Manifest files and folders as a source of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ipvs_model::input::{Change, ObjectName};

use super::document::{ManifestError, read_manifest};
use super::polled::{Polled, Source};
use crate::files::{FileNews, FileState, FollowedFiles, FollowedPath};

/// How names of manifests end.
const EXTENSIONS: &[&str] = &["yaml", "yml", "json"];
/// A list of 100,000 Services with their endpoints has half of it.
const AT_MOST: u64 = 256 << 20;

/// Kubernetes manifests in files and folders (their `.yaml`, `.yml` and `.json` files, not those of folders below, nor such
/// whose names begin with a dot), [followed](FollowedFiles) as they are written, replaced and removed.
///
/// Either all of them are good, or nothing of what is new is taken over: the last good state stays in force, and
/// [`problems`](Source::problems) says why. A file that is being written holds up nobody but the objects that move to or from
/// it.
///
/// ```
/// use ipvs_proxier::{Control, Manifests, load};
///
/// let folder = tempfile::tempdir()?;
/// let manifest = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}}"#;
/// std::fs::write(folder.path().join("web.json"), manifest)?;
/// let control = Control::new();
/// let mut manifests = Manifests::follow(vec![folder.path().to_owned()], control.waker())?;
/// assert_eq!(load(&mut manifests, &control)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Manifests {
    files: FollowedFiles,
    objects: Objects,
    /// What cannot be used now.
    problems: Vec<String>,
    /// What of it the log has.
    logged: Vec<String>,
    is_complete: bool,
}

impl Manifests {
    /// Follows files and folders. `wake` is called whenever there is something to poll.
    ///
    /// # Errors
    /// When there is no thread or no file descriptor left for it.
    pub fn follow(
        paths: Vec<PathBuf>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let followed = |path| FollowedPath::file_or_folder(path, EXTENSIONS, AT_MOST);
        let paths = paths.into_iter().map(followed).collect();
        Ok(Self {
            files: FollowedFiles::start(paths, wake)?,
            objects: Objects::default(),
            problems: Vec::new(),
            logged: Vec::new(),
            is_complete: false,
        })
    }
}

impl Source for Manifests {
    fn poll(&mut self) -> Polled {
        // Both asked first: what was told before is in the channel then.
        let ended = self.files.ended();
        let mut polled = Polled {
            ended: ended.map(|why| format!("nobody follows the manifests any more: {why}")),
            ..Polled::default()
        };
        let is_complete = self.files.is_complete();
        let mut news = self.files.poll().peekable();
        if news.peek().is_none() && is_complete == self.is_complete {
            return polled;
        }
        for news in news {
            self.objects.news(news);
        }
        polled.changes = self.objects.take_over();
        let problems = self.objects.problems();
        self.problems = problems.map(ToString::to_string).collect();
        let is_new = |problem: &&String| !self.logged.contains(problem);
        polled.problems = self.problems.iter().filter(is_new).cloned().collect();
        self.logged.clone_from(&self.problems);
        self.is_complete |= is_complete && self.problems.is_empty();
        polled
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn wakes(&self) -> bool {
        true
    }

    /// Reads every file again, also one that looks unchanged, and says again what is wrong.
    fn reload(&mut self) {
        self.logged.clear();
        self.files.reload();
    }

    fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Kind and name of an object.
type Identity = (&'static str, ObjectName);

/// What is in force of each file, and what is to be.
#[derive(Debug, Default)]
struct Objects {
    in_force: BTreeMap<PathBuf, BTreeSet<Identity>>,
    /// The file that has an object in force.
    holders: BTreeMap<Identity, PathBuf>,
    /// Good contents that are not in force yet; none where the file is gone.
    pending: BTreeMap<PathBuf, Option<Vec<Change>>>,
    unsettled: BTreeSet<PathBuf>,
    unusable: BTreeMap<PathBuf, ManifestError>,
    bad: BTreeMap<PathBuf, Vec<ManifestError>>,
    duplicates: Vec<ManifestError>,
}

impl Objects {
    /// Takes note of what is new about a file.
    fn news(&mut self, FileNews { path, state }: FileNews) {
        self.unsettled.remove(&path);
        self.unusable.remove(&path);
        match state {
            FileState::Contents(bytes) => match read_manifest(&path, &bytes) {
                Ok(changes) => {
                    self.bad.remove(&path);
                    self.pending.insert(path, Some(changes));
                }
                Err(errors) => {
                    self.pending.remove(&path);
                    self.bad.insert(path, errors);
                }
            },
            FileState::AsBefore => {}
            FileState::Unsettled => {
                self.unsettled.insert(path);
            }
            FileState::Gone => {
                self.bad.remove(&path);
                self.pending.insert(path, None);
            }
            FileState::Unusable(problem) => {
                let error = ManifestError::new(&path, &problem);
                self.unusable.insert(path, error);
            }
        }
    }

    /// What is wrong now.
    fn problems(&self) -> impl Iterator<Item = &ManifestError> {
        let bad = self.bad.values().flatten();
        self.unusable.values().chain(bad).chain(&self.duplicates)
    }

    /// What changes, if everything is good. O(objects in the files that changed).
    fn take_over(&mut self) -> Vec<Change> {
        self.duplicates.clear();
        if !self.unusable.is_empty() || !self.bad.is_empty() {
            return Vec::new();
        }
        let (ready, duplicates) = self.ready();
        self.duplicates = duplicates;
        if !self.duplicates.is_empty() {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let mut gone: BTreeSet<Identity> = BTreeSet::new();
        for path in &ready {
            for identity in self.in_force.remove(path).unwrap_or_default() {
                self.holders.remove(&identity);
                gone.insert(identity);
            }
        }
        for path in ready {
            let Some(Some(mut objects)) = self.pending.remove(&path) else {
                continue;
            };
            let identities: BTreeSet<Identity> = objects.iter().filter_map(identity).collect();
            for identity in &identities {
                gone.remove(identity);
                self.holders.insert(identity.clone(), path.clone());
            }
            self.in_force.insert(path, identities);
            changes.append(&mut objects);
        }
        changes.extend(gone.into_iter().map(|(kind, name)| match kind {
            "Service" => Change::ServiceGone(name),
            _ => Change::EndpointSliceGone(name),
        }));
        changes
    }

    /// The files whose contents can come into force, and the objects that stand twice: which one counts would be chance. A
    /// file waits for one that has an object of it and is changing: the object may be on its way from one to the other.
    fn ready(&self) -> (Vec<PathBuf>, Vec<ManifestError>) {
        let is_settled = |(path, _): &(&PathBuf, _)| !self.unsettled.contains(*path);
        let settled = self.pending.iter().filter(is_settled);
        let mut ready: BTreeSet<&Path> = settled.clone().map(|(path, _)| path.as_path()).collect();
        let mut wanted: BTreeMap<Identity, &Path> = BTreeMap::new();
        let mut errors = Vec::new();
        // Files that want what others have.
        let mut waits: Vec<(&Path, &Path)> = Vec::new();
        for (path, objects) in settled {
            for identity in objects.iter().flatten().filter_map(identity) {
                let holder = self.holders.get(&identity).map(PathBuf::as_path);
                let holder = holder.filter(|holder| holder != path);
                let stays = |holder: &&Path| {
                    !self.pending.contains_key(*holder) && !self.unsettled.contains(*holder)
                };
                let (kind, name) = identity.clone();
                if let Some(other) = wanted
                    .insert(identity, path)
                    .or_else(|| holder.filter(stays))
                {
                    let other = other.display();
                    let problem = format!("{kind} {name} stands twice: also in {other}");
                    errors.push(ManifestError::new(path, &problem));
                }
                waits.extend(holder.map(|holder| (path.as_path(), holder)));
            }
        }
        // Whoever waits for one that waits, waits too.
        let mut is_first = true;
        let mut before = 0;
        while is_first || ready.len() != before {
            (is_first, before) = (false, ready.len());
            for (path, holder) in &waits {
                if !ready.contains(holder) {
                    ready.remove(path);
                }
            }
        }
        (ready.into_iter().map(Path::to_owned).collect(), errors)
    }
}

fn identity(change: &Change) -> Option<Identity> {
    match change {
        Change::Service(service) => Some(("Service", service.name.clone())),
        Change::EndpointSlice(slice) => Some(("EndpointSlice", slice.name.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::control::Control;
    use crate::files::FileProblem;
    use crate::run::{RunError, load};

    fn service(name: &str, ip: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 1}}]}}\n---\n"
        )
    }

    impl Objects {
        /// What changes after news of one file, in words.
        fn after(&mut self, path: &str, state: FileState) -> Vec<String> {
            self.news(FileNews {
                path: path.into(),
                state,
            });
            let changes = self.take_over();
            let words = changes.iter().map(|change| match change {
                Change::Service(service) => format!("{} {:?}", service.name, service.cluster_ips),
                Change::ServiceGone(name) => format!("{name} gone"),
                other => format!("{other:?}"),
            });
            words.collect()
        }

        fn text(&mut self, path: &str, text: &str) -> Vec<String> {
            self.after(path, FileState::Contents(text.as_bytes().into()))
        }

        fn wrong(&self) -> Vec<String> {
            self.problems().map(ToString::to_string).collect()
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn what_moved_is_not_gone_and_what_left_its_file_is() {
        let mut objects = Objects::default();
        let both = service("web", "10.0.0.1") + &service("api", "10.0.0.2");
        assert_eq!(objects.text("a.yaml", &both).len(), 2);
        let one = objects.text("a.yaml", &service("web", "10.0.0.1"));
        assert_eq!(one, ["default/web [10.0.0.1]", "default/api gone"]);
        objects.news(FileNews {
            path: "a.yaml".into(),
            state: FileState::Gone,
        });
        let moved = objects.text("b.yaml", &service("web", "10.0.0.1"));
        assert_eq!(moved, ["default/web [10.0.0.1]"]);
        assert_eq!(
            objects.after("b.yaml", FileState::Gone),
            ["default/web gone"]
        );
        assert!(objects.holders.is_empty() && objects.in_force.is_empty());
    }

    /// The new file is whole before the old one is known to be gone.
    #[test]
    fn an_object_on_its_way_to_another_file_is_waited_for() {
        let mut objects = Objects::default();
        objects.text("a.yaml", &service("web", "10.0.0.1"));
        objects.text("c.yaml", &service("api", "10.0.0.3"));
        assert_eq!(objects.after("a.yaml", FileState::Unsettled), NOTHING);
        let both = service("web", "10.0.0.2") + &service("new", "10.0.0.9");
        assert_eq!(
            objects.text("b.yaml", &both),
            NOTHING,
            "it waits for a.yaml"
        );
        assert_eq!(objects.wrong(), NOTHING);
        let other = objects.text("c.yaml", &service("api", "10.0.0.4"));
        assert_eq!(other, ["default/api [10.0.0.4]"], "the rest does not wait");
        assert_eq!(objects.text("c.yaml", ""), ["default/api gone"]);
        assert_eq!(objects.after("a.yaml", FileState::AsBefore), NOTHING);
        let twice = "b.yaml: Service default/web stands twice: also in a.yaml";
        assert_eq!(objects.wrong(), [twice]);
        let moved = objects.after("a.yaml", FileState::Gone);
        assert_eq!(moved, ["default/web [10.0.0.2]", "default/new [10.0.0.9]"]);
        assert_eq!(objects.wrong(), NOTHING);
    }

    #[test]
    fn a_chain_of_moves_waits_for_its_first_link() {
        let mut objects = Objects::default();
        objects.text("a.yaml", &service("one", "10.0.0.1"));
        objects.text("b.yaml", &service("two", "10.0.0.2"));
        objects.after("a.yaml", FileState::Unsettled);
        objects.after("b.yaml", FileState::Unsettled);
        // One goes from a to b, two from b to c.
        assert_eq!(objects.text("c.yaml", &service("two", "10.0.0.2")), NOTHING);
        assert_eq!(objects.text("b.yaml", &service("one", "10.0.0.1")), NOTHING);
        assert_eq!(objects.wrong(), NOTHING);
        let all = objects.text("a.yaml", "");
        assert_eq!(all, ["default/one [10.0.0.1]", "default/two [10.0.0.2]"]);
        assert_eq!(
            objects.after("b.yaml", FileState::Gone),
            ["default/one gone"]
        );
    }

    #[test]
    fn a_bad_file_holds_up_the_others_and_keeps_what_is_in_force() {
        let mut objects = Objects::default();
        objects.text("a.yaml", &service("web", "10.0.0.1"));
        assert_eq!(objects.text("a.yaml", &service("web", "x")), NOTHING);
        assert_eq!(objects.text("b.yaml", &service("api", "10.0.0.2")), NOTHING);
        assert_eq!(objects.after("c.yaml", FileState::Gone), NOTHING);
        let wrong = ["a.yaml, document 1: spec.clusterIP: x: not an IP address"];
        assert_eq!(objects.wrong(), wrong);
        let well = objects.text("a.yaml", &service("web", "10.0.0.3"));
        assert_eq!(well, ["default/web [10.0.0.3]", "default/api [10.0.0.2]"]);
        let lost = FileState::Unusable(FileProblem::EmptyFolder { files: 2 });
        assert_eq!(objects.after("m", lost), NOTHING);
        assert_eq!(objects.text("b.yaml", ""), NOTHING);
        let back = objects.after("m", FileState::AsBefore);
        assert_eq!(back, ["default/api gone"]);
        assert_eq!(objects.wrong(), NOTHING);
    }

    #[test]
    fn an_object_that_stands_twice_is_refused_until_one_of_them_goes() {
        let mut objects = Objects::default();
        objects.text("a.yaml", &service("web", "10.0.0.1"));
        assert_eq!(objects.text("b.yaml", &service("web", "10.0.0.2")), NOTHING);
        let twice = "b.yaml: Service default/web stands twice: also in a.yaml";
        assert_eq!(objects.wrong(), [twice]);
        let one = objects.after("a.yaml", FileState::Gone);
        assert_eq!(one, ["default/web [10.0.0.2]"]);
        let twice = service("api", "10.0.0.1") + &service("api", "10.0.0.1");
        assert_eq!(objects.text("c.yaml", &twice), NOTHING);
        assert_eq!(objects.wrong().len(), 1, "also in one file");
    }

    fn old(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH))
            .unwrap();
    }

    /// The next poll in which something is said.
    fn next(manifests: &mut Manifests, control: &Control) -> Polled {
        loop {
            let polled = manifests.poll();
            if !polled.changes.is_empty() || !polled.problems.is_empty() {
                return polled;
            }
            control.wait(std::time::Duration::MAX);
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later.yaml");
        let control = Control::new();
        let follow = || Manifests::follow(vec![path.clone()], control.waker()).unwrap();
        let mut manifests = follow();
        let Err(RunError::Source(problems)) = load(&mut manifests, &control) else {
            panic!("it is not there")
        };
        assert!(
            problems[0].contains("later.yaml: cannot find it: No such file"),
            "{problems:?}"
        );
        assert!(!manifests.is_complete() && manifests.problems() == problems);
        old(&path, &service("web", "10.0.0.1"));
        assert_eq!(next(&mut manifests, &control).changes.len(), 1);
        assert!(manifests.is_complete() && manifests.problems().is_empty());
        fs::remove_file(&path).unwrap();
        let lost = next(&mut manifests, &control);
        assert!(
            lost.changes.is_empty(),
            "nothing is gone for a file that cannot be read"
        );
        assert_eq!(manifests.problems(), lost.problems);
    }

    #[test]
    fn a_reload_reads_what_looks_unchanged_and_says_again_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        old(&path, "no manifest: [");
        let control = Control::new();
        let paths = vec![folder.path().to_owned()];
        let mut manifests = Manifests::follow(paths, control.waker()).unwrap();
        let first = next(&mut manifests, &control).problems;
        assert_eq!(first.len(), 1);
        manifests.reload();
        assert_eq!(next(&mut manifests, &control).problems, first);
        old(&path, &service("web", "10.0.0.1"));
        assert_eq!(next(&mut manifests, &control).changes.len(), 1);
        manifests.reload();
        assert_eq!(next(&mut manifests, &control).changes.len(), 1);
    }
}
