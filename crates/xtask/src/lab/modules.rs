//! A kernel's modules, all of them or without some.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::find_program;

/// What modules there are, and what each needs, as `modules.dep` says.
#[derive(Debug)]
pub(super) struct ModuleList {
    /// By name: the file, and the files that it needs, the nearest first.
    modules: BTreeMap<String, Vec<String>>,
}

impl ModuleList {
    /// Reads it from a kernel's folder of modules.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn read(modules: &Path) -> Result<Self> {
        let file = modules.join("modules.dep");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let modules = lines.map(|(file, needs)| {
            let files = [file].into_iter().chain(needs.split_whitespace());
            (name_of(file), files.map(str::to_owned).collect())
        });
        Self {
            modules: modules.collect(),
        }
    }

    /// The files to load for a module, in the order of loading; none for what is no module.
    pub(super) fn with_needs(&self, name: &str) -> impl Iterator<Item = &str> {
        let files = self.modules.get(name).map_or(&[][..], Vec::as_slice);
        files.iter().rev().map(String::as_str)
    }

    /// The files that are gone if `hidden` are: theirs, and of what needs one of them.
    fn files_with(&self, hidden: &BTreeSet<String>) -> BTreeSet<&str> {
        let is_gone =
            |files: &&Vec<String>| files.iter().any(|file| hidden.contains(&name_of(file)));
        let gone = self.modules.values().filter(is_gone);
        gone.filter_map(|files| files.first().map(String::as_str))
            .collect()
    }
}

/// The name of a module by its file, or as people write it: `-` and `_` are the same.
pub(super) fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.split(".ko").next().unwrap_or(name);
    name.trim().replace('-', "_")
}

/// Makes a folder like `modules` in `into/lib/modules`, without the modules of these names and what needs them; returns it.
///
/// # Errors
/// If a name is no module of this kernel, or the folder cannot be made.
pub(super) fn without(
    modules: &Path,
    release: &str,
    hidden: &[String],
    into: &Path,
) -> Result<PathBuf> {
    let source = modules.join(release);
    let list = ModuleList::read(&source)?;
    let builtin = fs::read_to_string(source.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin.lines().map(name_of).collect();
    let hidden: BTreeSet<String> = hidden.iter().map(|name| name_of(name)).collect();
    if let Some(name) = hidden.iter().find(|name| builtin.contains(*name)) {
        bail!("Linux {release} has {name} built in: it cannot be hidden");
    }
    if let Some(name) = hidden.iter().find(|name| !list.modules.contains_key(*name)) {
        bail!("Linux {release} has no module {name}: there is nothing to hide");
    }
    let gone = list.files_with(&hidden);
    let copy = into.join("lib/modules");
    link_tree(&source, &copy.join(release), &gone, "")?;
    depmod(into, release)?;
    Ok(copy)
}

fn link_tree(source: &Path, copy: &Path, gone: &BTreeSet<&str>, prefix: &str) -> Result<()> {
    fs::create_dir_all(copy).with_context(|| format!("cannot make {}", copy.display()))?;
    for entry in
        fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?
    {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{prefix}{}", name.to_string_lossy());
        let to = copy.join(&name);
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &to, gone, &format!("{path}/"))?;
        } else if !gone.contains(path.as_str()) {
            // `depmod` replaces its lists, and must not write into those of the original.
            let is_list = prefix.is_empty();
            if is_list || fs::hard_link(entry.path(), &to).is_err() {
                fs::copy(entry.path(), &to)
                    .with_context(|| format!("cannot make {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// The name of the one folder in `modules`.
pub(super) fn release(modules: &Path) -> Result<String> {
    let mut entries =
        fs::read_dir(modules).with_context(|| format!("cannot read {}", modules.display()))?;
    let entry = entries
        .next()
        .with_context(|| format!("no modules in {}", modules.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Writes the lists by which `modprobe` finds modules below `root`.
pub(super) fn depmod(root: &Path, release: &str) -> Result<()> {
    let depmod = find_program("depmod").context("depmod is missing (package kmod)")?;
    let output = Command::new(depmod)
        .arg("-b")
        .arg(root)
        .arg(release)
        .output()
        .context("cannot run depmod")?;
    if !output.status.success() {
        bail!(
            "depmod failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/a/ip_set.ko.xz: kernel/b/nfnetlink.ko.xz\n\
                       kernel/b/nfnetlink.ko.xz:\n\
                       kernel/a/xt_set.ko.xz: kernel/a/ip_set.ko.xz kernel/b/nfnetlink.ko.xz\n\
                       kernel/c/nft-compat.ko.xz: kernel/b/nfnetlink.ko.xz\n";

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let list = ModuleList::parse(DEP);
        let files: Vec<&str> = list.with_needs("xt_set").collect();
        let order = ["b/nfnetlink", "a/ip_set", "a/xt_set"];
        assert_eq!(files, order.map(|name| format!("kernel/{name}.ko.xz")));
        assert_eq!(list.with_needs("nothing").count(), 0);
    }

    #[test]
    fn what_needs_a_hidden_module_is_hidden_too() {
        let list = ModuleList::parse(DEP);
        let gone = list.files_with(&["ip_set".to_owned()].into());
        let files = ["kernel/a/ip_set.ko.xz", "kernel/a/xt_set.ko.xz"];
        assert_eq!(gone, files.into());
    }

    #[test]
    fn the_copy_lacks_what_is_hidden_and_leaves_the_original_alone() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("modules");
        let kernel = modules.join("9.9/kernel");
        fs::create_dir_all(&kernel).unwrap();
        for name in ["a.ko", "b.ko"] {
            fs::write(kernel.join(name), "").unwrap();
        }
        fs::write(
            modules.join("9.9/modules.dep"),
            "kernel/a.ko:\nkernel/b.ko:\n",
        )
        .unwrap();
        fs::write(modules.join("9.9/modules.builtin"), "kernel/c.ko\n").unwrap();
        fs::write(modules.join("9.9/modules.order"), "").unwrap();
        let without = |name: &str| {
            without(
                &modules,
                "9.9",
                &[name.to_owned()],
                &folder.path().join("copy"),
            )
        };
        let copy = without("a").unwrap();
        assert!(!copy.join("9.9/kernel/a.ko").exists());
        assert!(copy.join("9.9/kernel/b.ko").exists());
        let original = fs::read_to_string(modules.join("9.9/modules.dep")).unwrap();
        assert!(original.contains("a.ko"), "{original}");
        assert!(without("c").unwrap_err().to_string().contains("built in"));
        assert!(
            without("d")
                .unwrap_err()
                .to_string()
                .contains("no module d")
        );
    }
}
