use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::parse::{self, ModuleFile};
use crate::{Evidence, Root};

/// What is known of a kernel module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum ModuleState {
    /// Part of the kernel.
    BuiltIn,
    /// Loaded.
    Loaded,
    /// Not loaded; its file is there.
    Loadable,
    /// Not loaded, and a file of `modprobe.d` or the kernel's command line keeps it so.
    Blacklisted,
    /// Neither loaded nor there.
    Absent,
    /// Not loaded, and there is no list of what could be: a container without `/lib/modules`.
    Unknown,
}

impl ModuleState {
    /// Whether the kernel has it now.
    #[must_use]
    pub const fn is_present(self) -> bool {
        matches!(self, Self::BuiltIn | Self::Loaded)
    }

    /// Whether loading it may succeed.
    pub(crate) const fn may_be_loaded(self) -> bool {
        matches!(self, Self::Loadable | Self::Unknown)
    }
}

/// A module and how its state is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Module {
    /// Its name, with `_`.
    pub name: String,
    /// Its state.
    pub state: ModuleState,
    /// The line that shows it, or where it is missing.
    pub evidence: Evidence,
}

/// The modules of a kernel: those that it has, and those that can be loaded.
#[derive(Debug, Clone, Default)]
pub struct Modules {
    folder: String,
    loaded: BTreeSet<String>,
    built_in: BTreeSet<String>,
    /// With a folder in `/sys/module`: loaded, or built in with parameters.
    in_sys: BTreeSet<String>,
    loadable: Option<BTreeMap<String, ModuleFile>>,
    barred: BTreeMap<String, Evidence>,
}

/// Where the lines that keep modules from being loaded stand; the first file of a name hides those behind it.
const MODPROBE_D: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

impl Modules {
    /// Reads `/proc/modules`, `/sys/module`, and the lists of `/lib/modules` for a kernel release (the whole text of
    /// `kernel.osrelease`).
    ///
    /// ```
    /// use ipvs_probe::{ModuleState, Modules, Root};
    /// let tree = tempfile::tempdir()?;
    /// std::fs::create_dir(tree.path().join("proc"))?;
    /// std::fs::write(tree.path().join("proc/modules"), "ip_vs 192512 0 - Live 0x0\n")?;
    /// let modules = Modules::read(&Root::below(tree.path()), "6.1.0");
    /// assert_eq!(modules.module("ip_vs").state, ModuleState::Loaded);
    /// assert_eq!(modules.module("ip_vs_rr").state, ModuleState::Unknown);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn read(root: &Root, release: &str) -> Self {
        let folder = ["/lib/modules", "/usr/lib/modules"]
            .map(|folder| format!("{folder}/{}", release.trim()))
            .into_iter()
            .find(|folder| root.has(folder))
            .unwrap_or_else(|| format!("/lib/modules/{}", release.trim()));
        let content = |file: &str| root.read(file).content();
        let list = |name: &str| content(&format!("{folder}/{name}"));
        Self {
            loaded: parse::proc_modules(&content("/proc/modules").unwrap_or_default()),
            built_in: parse::modules_builtin(&list("modules.builtin").unwrap_or_default()),
            in_sys: root.list("/sys/module").into_iter().collect(),
            loadable: list("modules.dep").map(|text| parse::modules_dep(&text)),
            barred: barred(root),
            folder,
        }
    }

    /// The state of a module.
    #[must_use]
    pub fn module(&self, name: &str) -> Module {
        let list = |file: &str| format!("{}/{file}", self.folder);
        let file = self.loadable.as_ref().map(|files| files.get(name));
        let (state, evidence) = if self.loaded.contains(name) {
            (ModuleState::Loaded, Evidence::new("/proc/modules", name))
        } else if self.built_in.contains(name) {
            let evidence = Evidence::new(list("modules.builtin"), name);
            (ModuleState::BuiltIn, evidence)
        } else if self.in_sys.contains(name) {
            let evidence = Evidence::new(format!("/sys/module/{name}"), "present");
            (ModuleState::BuiltIn, evidence)
        } else if let (Some(line), None | Some(Some(_))) = (self.barred.get(name), file) {
            (ModuleState::Blacklisted, line.clone())
        } else {
            match file {
                Some(Some(file)) => {
                    let evidence = Evidence::new(list("modules.dep"), &file.path);
                    (ModuleState::Loadable, evidence)
                }
                Some(None) => {
                    let evidence = Evidence::new(list("modules.dep"), format!("no {name}"));
                    (ModuleState::Absent, evidence)
                }
                None => {
                    let evidence = Evidence::new(list("modules.dep"), "no such file");
                    (ModuleState::Unknown, evidence)
                }
            }
        };
        Module {
            name: name.to_owned(),
            state,
            evidence,
        }
    }

    /// Those that are loaded or can be, whose names begin like this.
    pub(crate) fn beginning_with(&self, start: &str) -> Vec<String> {
        let loadable = self.loadable.iter().flat_map(BTreeMap::keys);
        let names = self.loaded.iter().chain(&self.built_in).chain(loadable);
        let mut names: Vec<String> = names
            .filter(|name| name.starts_with(start))
            .cloned()
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The files to load for a module, those that it needs first, without those that are loaded. Empty where none is
    /// known.
    #[must_use]
    pub fn files_to_load(&self, root: &Root, name: &str) -> Vec<PathBuf> {
        let files = self.loadable.as_ref();
        let Some(file) = files.and_then(|files| files.get(name)) else {
            return Vec::new();
        };
        let is_there = |path: &str| {
            parse::module_name(path).is_some_and(|name| self.module(&name).state.is_present())
        };
        // modules.dep lists the last one to be loaded first.
        let needs = file.needs.iter().rev().chain([&file.path]);
        needs
            .filter(|path| !is_there(path))
            .map(|path| root.path(&self.folder).join(path))
            .collect()
    }
}

fn barred(root: &Root) -> BTreeMap<String, Evidence> {
    let mut barred = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for folder in MODPROBE_D {
        for name in root.list(folder) {
            if !name.ends_with(".conf") || !seen.insert(name.clone()) {
                continue;
            }
            let place = format!("{folder}/{name}");
            let text = root.read(&place).content().unwrap_or_default();
            for (module, line) in parse::modprobe_conf(&text) {
                barred
                    .entry(module)
                    .or_insert_with(|| Evidence::new(&place, line));
            }
        }
    }
    let text = root.read("/proc/cmdline").content().unwrap_or_default();
    for (module, option) in parse::command_line(&text) {
        barred.insert(module, Evidence::new("/proc/cmdline", option));
    }
    barred
}
