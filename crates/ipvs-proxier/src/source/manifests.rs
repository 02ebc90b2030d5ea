//! Manifest files and folders as a source of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipvs_model::input::{Change, ObjectName};

use super::document::{ManifestError, parse};

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

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
    /// Stamps of what could not be used, so that it is reported once.
    refused: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Manifests {
    /// Files and folders to follow.
    #[must_use]
    pub const fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            files: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// What changed since the last call that succeeded; at first, everything.
    ///
    /// # Errors
    /// Every problem of every file that changed, each reported once. Nothing is then taken over, also not from other
    /// files: the last good state stays in force until all of them can be used.
    pub fn poll(&mut self) -> Result<Vec<Change>, Vec<ManifestError>> {
        let (found, mut errors) = self.list();
        let mut fresh = BTreeMap::new();
        let mut blocked = false;
        for (path, stamp) in &found {
            if self
                .files
                .get(path)
                .is_some_and(|file| file.stamp == *stamp)
            {
                continue;
            }
            if self.refused.get(path) == Some(stamp) {
                blocked = true;
                continue;
            }
            match read(path) {
                Ok(changes) => {
                    fresh.insert(path.clone(), changes);
                }
                Err(mut problems) => {
                    self.refused.insert(path.clone(), *stamp);
                    errors.append(&mut problems);
                }
            }
        }
        if errors.is_empty() {
            errors = self.duplicates(&found, &fresh);
            for error in &errors {
                self.refused.insert(
                    error.path.clone(),
                    found.get(&error.path).copied().flatten(),
                );
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if blocked {
            return Ok(Vec::new());
        }
        Ok(self.take_over(&found, fresh))
    }

    /// Whether something that was refused still stands.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    fn take_over(
        &mut self,
        found: &BTreeMap<PathBuf, Option<Stamp>>,
        fresh: BTreeMap<PathBuf, Vec<Change>>,
    ) -> Vec<Change> {
        self.refused.clear();
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
        found: &BTreeMap<PathBuf, Option<Stamp>>,
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

    /// The files that there are.
    fn list(&mut self) -> (BTreeMap<PathBuf, Option<Stamp>>, Vec<ManifestError>) {
        let mut found = BTreeMap::new();
        let mut errors = Vec::new();
        for path in &self.paths {
            match list_path(path) {
                Ok(files) => {
                    self.refused.remove(path);
                    found.extend(files);
                }
                // Reported once; its files stay as they were.
                Err(_) if self.refused.get(path) == Some(&None) => {
                    let ours = self.files.iter().filter(|(file, _)| file.starts_with(path));
                    found.extend(ours.map(|(file, known)| (file.clone(), known.stamp)));
                }
                Err(error) => {
                    self.refused.insert(path.clone(), None);
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

fn read(path: &Path) -> Result<Vec<Change>, Vec<ManifestError>> {
    let unreadable = |problem| {
        vec![ManifestError {
            path: path.to_owned(),
            document: None,
            problem,
        }]
    };
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    parse(path, &text)
}

fn identity(change: &Change) -> Option<Identity> {
    match change {
        Change::Service(service) => Some(("Service", service.name.clone())),
        Change::EndpointSlice(slice) => Some(("EndpointSlice", slice.name.clone())),
        _ => None,
    }
}
