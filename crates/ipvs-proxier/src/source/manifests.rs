//! Manifest files and folders as a source of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipvs_model::input::{Change, ObjectName};

use super::document::{ManifestError, parse};
use super::polled::{Polled, Source};

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

const READ_ATTEMPTS: usize = 5;

/// Kind and name of an object.
type Identity = (&'static str, ObjectName);

#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    objects: BTreeSet<Identity>,
}

/// Kubernetes manifests in files and folders (their `.yaml`, `.yml` and `.json` files, not those of folders below).
///
/// [`poll`](Self::poll) looks for changes by the files' times, lengths and inodes, so it also sees files that are
/// replaced, as editors and ConfigMaps do. It costs a system call for each file, and reads only what changed.
///
/// ```
/// use ipvs_proxier::Manifests;
///
/// let folder = tempfile::tempdir()?;
/// let manifest = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}}"#;
/// std::fs::write(folder.path().join("web.json"), manifest)?;
/// let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
/// assert_eq!(manifests.poll().unwrap().len(), 1);
/// assert_eq!(manifests.poll().unwrap().len(), 0);
/// std::fs::remove_file(folder.path().join("web.json"))?;
/// assert_eq!(manifests.poll().unwrap().len(), 1); // the Service is gone
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Manifests {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// The files as they were when they could not be used: while they stay so, that is reported once.
    refused: Option<Listing>,
    complete: bool,
}

/// The files that there are; a path that cannot be listed has no stamp.
type Listing = BTreeMap<PathBuf, Option<Stamp>>;

impl Manifests {
    /// Files and folders to follow.
    #[must_use]
    pub const fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            files: BTreeMap::new(),
            refused: None,
            complete: false,
        }
    }

    /// What changed since the last call that succeeded; at first, everything.
    ///
    /// # Errors
    /// Every problem of every file that changed; again only when a file changes. Nothing is then taken over, also not
    /// from other files: the last good state stays in force until all of them can be used.
    pub fn poll(&mut self) -> Result<Vec<Change>, Vec<ManifestError>> {
        let (found, mut errors) = self.list();
        if self.refused.as_ref() == Some(&found) {
            return Ok(Vec::new());
        }
        let mut fresh = BTreeMap::new();
        for (path, stamp) in found.iter().filter(|(_, stamp)| stamp.is_some()) {
            if self
                .files
                .get(path)
                .is_some_and(|file| file.stamp == *stamp)
            {
                continue;
            }
            match read_whole(path) {
                Ok(changes) => {
                    fresh.insert(path.clone(), changes);
                }
                Err(mut problems) => errors.append(&mut problems),
            }
        }
        if errors.is_empty() {
            errors = self.duplicates(&found, &fresh);
        }
        if !errors.is_empty() {
            self.refused = Some(found);
            return Err(errors);
        }
        self.refused = None;
        self.complete = true;
        Ok(self.take_over(&found, fresh))
    }

    fn take_over(&mut self, found: &Listing, fresh: BTreeMap<PathBuf, Vec<Change>>) -> Vec<Change> {
        let mut gone: BTreeSet<Identity> = BTreeSet::new();
        self.files.retain(|path, file| {
            let stays = found.contains_key(path);
            if !stays {
                gone.append(&mut file.objects);
            }
            stays
        });
        let mut changes = Vec::new();
        for (path, mut objects) in fresh {
            let identities = objects.iter().filter_map(identity).collect();
            let stamp = found.get(&path).copied().flatten();
            let before = self.files.insert(
                path,
                File {
                    stamp,
                    objects: identities,
                },
            );
            gone.extend(before.unwrap_or_default().objects);
            changes.append(&mut objects);
        }
        // An object may have moved to another file.
        for file in self.files.values() {
            gone.retain(|identity| !file.objects.contains(identity));
        }
        changes.extend(gone.into_iter().map(|(kind, name)| match kind {
            "Service" => Change::ServiceGone(name),
            _ => Change::EndpointSliceGone(name),
        }));
        changes
    }

    /// Objects that stand twice: which one counts would be chance.
    fn duplicates(
        &self,
        found: &Listing,
        fresh: &BTreeMap<PathBuf, Vec<Change>>,
    ) -> Vec<ManifestError> {
        let mut seen: BTreeMap<Identity, &Path> = BTreeMap::new();
        for (path, file) in &self.files {
            if found.contains_key(path) && !fresh.contains_key(path) {
                seen.extend(
                    file.objects
                        .iter()
                        .map(|identity| (identity.clone(), path.as_path())),
                );
            }
        }
        let mut errors = Vec::new();
        for (path, changes) in fresh {
            for (kind, name) in changes.iter().filter_map(identity) {
                if let Some(other) = seen.insert((kind, name.clone()), path) {
                    let problem =
                        format!("{kind} {name} stands twice: also in {}", other.display());
                    errors.push(ManifestError {
                        path: path.clone(),
                        document: None,
                        problem,
                    });
                }
            }
        }
        errors
    }

    fn list(&self) -> (Listing, Vec<ManifestError>) {
        let mut found = Listing::new();
        let mut errors = Vec::new();
        for path in &self.paths {
            match list_path(path) {
                Ok(files) => found.extend(files),
                Err(error) => {
                    found.insert(path.clone(), None);
                    errors.push(ManifestError {
                        path: path.clone(),
                        document: None,
                        problem: error.to_string(),
                    });
                }
            }
        }
        (found, errors)
    }
}

impl Source for Manifests {
    fn poll(&mut self) -> Polled {
        match Self::poll(self) {
            Ok(changes) => Polled {
                changes,
                ..Polled::default()
            },
            Err(errors) => Polled {
                problems: errors.iter().map(ToString::to_string).collect(),
                ..Polled::default()
            },
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    /// Reads every file again, also one whose stamp is as it was, and says again what is wrong.
    fn reload(&mut self) {
        self.refused = None;
        self.files.values_mut().for_each(|file| file.stamp = None);
    }
}

fn list_path(path: &Path) -> std::io::Result<Vec<(PathBuf, Option<Stamp>)>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![(path.to_owned(), Some(stamp(path)?))]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file() {
            let stamp = stamp(&file).ok();
            files.push((file, stamp));
        }
    }
    Ok(files)
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path)?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    })
}

/// Reads a file that is not being written meanwhile: half a file may parse, and would let services go.
fn read_whole(path: &Path) -> Result<Vec<Change>, Vec<ManifestError>> {
    let failed = |problem: String| {
        vec![ManifestError {
            path: path.to_owned(),
            document: None,
            problem,
        }]
    };
    for _ in 0..READ_ATTEMPTS {
        let before = stamp(path).map_err(|error| failed(error.to_string()))?;
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        if stamp(path).ok() == Some(before) {
            let text = String::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
            return parse(path, &text);
        }
    }
    Err(failed("keeps changing while it is read".to_owned()))
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
    use std::fs::FileTimes;

    use super::*;

    fn service(name: &str, ip: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 1}}]}}\n"
        )
    }

    fn write(path: &Path, text: &str) {
        // Another inode each time, so that the stamp differs whatever the clock's steps.
        let _ = fs::remove_file(path);
        let other = path.with_extension("tmp");
        fs::write(&other, text).unwrap();
        fs::rename(other, path).unwrap();
    }

    #[test]
    fn only_what_changed_is_read_and_what_moved_is_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yml"));
        write(&a, &service("web", "10.0.0.1"));
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        assert_eq!(manifests.poll().unwrap().len(), 1);
        assert!(manifests.poll().unwrap().is_empty());
        fs::remove_file(&a).unwrap();
        write(&b, &service("web", "10.0.0.1"));
        assert!(
            matches!(manifests.poll().unwrap()[..], [Change::Service(_)]),
            "moved"
        );
        fs::remove_file(&b).unwrap();
        assert!(matches!(
            manifests.poll().unwrap()[..],
            [Change::ServiceGone(_)]
        ));
    }

    #[test]
    fn a_bad_file_is_reported_once_and_holds_up_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        write(&a, &service("web", "x"));
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        assert_eq!(manifests.poll().unwrap_err().len(), 1);
        assert!(manifests.poll().unwrap().is_empty() && manifests.refused.is_some());
        write(&b, &service("api", "10.0.0.2"));
        assert_eq!(manifests.poll().unwrap_err().len(), 1, "still bad");
        write(&a, &service("web", "10.0.0.1"));
        assert_eq!(manifests.poll().unwrap().len(), 2);
        assert!(manifests.refused.is_none());
    }

    #[test]
    fn an_object_that_stands_twice_is_refused_until_one_of_them_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        write(&a, &service("web", "10.0.0.1"));
        write(&b, &service("web", "10.0.0.2"));
        let mut manifests = Manifests::new(vec![folder.path().to_owned()]);
        let errors = manifests.poll().unwrap_err();
        assert!(
            errors[0]
                .to_string()
                .contains("Service default/web stands twice"),
            "{}",
            errors[0]
        );
        fs::remove_file(&a).unwrap();
        assert_eq!(manifests.poll().unwrap().len(), 1);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later.yaml");
        let mut manifests = Manifests::new(vec![file.clone()]);
        assert!(
            manifests.poll().unwrap_err()[0]
                .to_string()
                .contains("later.yaml")
        );
        assert!(manifests.poll().unwrap().is_empty());
        write(&file, &service("web", "10.0.0.1"));
        assert_eq!(manifests.poll().unwrap().len(), 1);
        fs::remove_file(&file).unwrap();
        assert!(
            manifests.poll().is_err(),
            "nothing is gone for a file that cannot be read"
        );
    }

    #[test]
    fn a_reload_reads_what_looks_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, service("web", "10.96.0.10")).unwrap();
        let mut manifests = Manifests::new(vec![path.clone()]);
        assert_eq!(manifests.poll().unwrap().len(), 1);
        // As where a clock steps coarsely: the same length, time and inode.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut &file, service("web", "10.96.0.11").as_bytes()).unwrap();
        let times = FileTimes::new().set_modified(modified);
        file.set_times(times).unwrap();
        assert!(manifests.poll().unwrap().is_empty());
        manifests.reload();
        let changes = manifests.poll().unwrap();
        assert!(
            matches!(&changes[..], [Change::Service(service)] if service.cluster_ips == ["10.96.0.11".parse::<std::net::IpAddr>().unwrap()])
        );
        assert!(manifests.poll().unwrap().is_empty());
        fs::write(&path, "no manifest: [").unwrap();
        assert!(manifests.poll().is_err());
        assert!(manifests.poll().is_ok(), "once");
        manifests.reload();
        assert!(manifests.poll().is_err(), "and again when asked");
    }
}
