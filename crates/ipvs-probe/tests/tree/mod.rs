//! Whole systems as text: `=== /path`, then the content of that file.

use std::fs;
use std::path::Path;

use ipvs_probe::{Facts, NoPrograms, Root};

/// A system that is recorded in `trees/`.
pub(crate) fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap()
}

/// Below a folder that goes with the first of the two.
pub(crate) fn unpack(text: &str) -> (tempfile::TempDir, Root) {
    let tree = tempfile::tempdir().unwrap();
    for file in text.split("=== ").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        let path = tree.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = Root::below(tree.path());
    (tree, root)
}

/// What is known of a system.
pub(crate) fn facts(text: &str) -> Facts {
    let (_tree, root) = unpack(text);
    Facts::gather(&root, &mut NoPrograms)
}

/// Without some modules.
pub(crate) fn without(text: &str, modules: &[&str]) -> String {
    let names = |line: &str| {
        modules.iter().any(|name| {
            line.split(':')
                .next()
                .is_some_and(|path| path.contains(&format!("/{name}.ko")))
        })
    };
    let lines = text.lines().filter(|line| !names(line));
    lines.map(|line| format!("{line}\n")).collect()
}
