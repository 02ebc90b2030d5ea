//! No two files of a crate use each other, nor do more of them in a circle.
//!
//! A file uses another one if a path in it (`use` or not) leads to something that is defined there; what a module hands
//! out again (`pub use`) is where it is defined. Below a module files may use what the module defines and the module what
//! they define: such a family counts as circle-free, while siblings that use each other do not. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file as a module: `a::b` is `["a", "b"]`, and the root of the crate nothing.
type Module = Vec<String>;

struct Source {
    text: String,
    /// What it hands out again: the name, and the path that it stands for.
    handed_out: BTreeMap<String, Vec<String>>,
    /// Whole modules that it hands out.
    globs: Vec<Vec<String>>,
}

struct Crate {
    files: BTreeMap<Module, Source>,
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// Without comments and tests: a module of tests ends its file.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut at = line.find("//");
        while let Some(found) = at
            && line[..found].matches('"').count() % 2 == 1
        {
            at = line[found + 2..].find("//").map(|next| found + 2 + next);
        }
        at.map_or(line, |at| &line[..at])
    });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let tests = text.find("#[cfg(test)]\nmod tests {");
    text[..tests.unwrap_or(text.len())].to_owned()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The paths of a tree of uses, `{…}` taken apart, each with the name that it gets.
fn leaves(tree: &str, before: &[String], into: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut path = before.to_vec();
        let front = tree[..open].split("::").map(str::trim);
        path.extend(front.filter(|word| !word.is_empty()).map(str::to_owned));
        let inner = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or("");
        let (mut depth, mut start) = (0_u32, 0);
        for (at, letter) in inner.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    leaves(&inner[start..at], &path, into);
                    start = at + 1;
                }
                _ => {}
            }
        }
        leaves(&inner[start..], &path, into);
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (words, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path = before.to_vec();
    path.extend(words.split("::").map(|word| word.trim().to_owned()));
    if path.last().is_some_and(|word| word == "self") {
        path.pop();
    }
    let name = match name.trim() {
        "" => path.last().cloned().unwrap_or_default(),
        name => name.to_owned(),
    };
    into.push((path, name));
}

/// `use` statements: whether they are public in some way, and their trees.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut all = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let line = rest[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = rest[line..at].trim();
        let is_statement =
            before.is_empty() || (before.starts_with("pub") && !before.contains(' '));
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        if is_statement {
            all.push((!before.is_empty(), rest[at + 4..end].to_owned()));
            rest = &rest[end..];
        } else {
            rest = &rest[at + 4..];
        }
    }
    all
}

/// Other paths from the root of the crate, from above or from here.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|letter| is_word(letter) || letter == ':') {
                continue;
            }
            let path = code[at..].split(|letter: char| !is_word(letter) && letter != ':');
            let words = path.into_iter().next().unwrap_or("").split("::");
            let words = words.filter(|word| !word.is_empty());
            all.push(words.map(str::to_owned).collect());
        }
    }
    all
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut paths = Vec::new();
        sources(folder, &mut paths);
        let mut files = BTreeMap::new();
        for path in paths {
            let relative = path.strip_prefix(folder).unwrap().with_extension("");
            let words = relative.iter().map(|word| word.to_str().unwrap());
            let mut module: Module = words.map(str::to_owned).collect();
            if matches!(
                module.last().map(String::as_str),
                Some("mod" | "lib" | "main")
            ) {
                module.pop();
            }
            if module.iter().any(|word| word == "tests") {
                continue;
            }
            let text = code(&std::fs::read_to_string(&path).unwrap());
            let source = Source {
                text,
                handed_out: BTreeMap::new(),
                globs: Vec::new(),
            };
            files.insert(module, source);
        }
        for source in files.values_mut() {
            let mut trees = Vec::new();
            for (_, tree) in uses(&source.text).iter().filter(|(public, _)| *public) {
                leaves(tree, &[], &mut trees);
            }
            for (path, name) in trees {
                if name == "*" {
                    source.globs.push(path[..path.len() - 1].to_vec());
                } else {
                    source.handed_out.insert(name, path);
                }
            }
        }
        Self { files }
    }

    /// The path from the root of the crate, if it is one within the crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            child => {
                let mut start = module.clone();
                start.push(child.to_owned());
                return self.files.contains_key(&start).then(|| {
                    start.extend(rest.iter().cloned());
                    start
                });
            }
        };
        let mut rest = rest;
        while let [word, further @ ..] = rest
            && word == "super"
        {
            start.pop()?;
            rest = further;
        }
        start.extend(rest.iter().cloned());
        Some(start)
    }

    /// The file in which what a path names is defined.
    fn defined_in(&self, module: &Module, path: &[String], depth: u32) -> Option<Module> {
        let path = self.absolute(module, path)?;
        let is_file = |length: &usize| self.files.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_file)?;
        let file: Module = path[..length].to_vec();
        let Some(name) = path.get(length) else {
            return Some(file);
        };
        if depth > 0 {
            let source = &self.files[&file];
            if let Some(target) = source.handed_out.get(name) {
                let mut target = target.clone();
                target.extend(path[length + 1..].iter().cloned());
                if let Some(found) = self.defined_in(&file, &target, depth - 1) {
                    return Some(found);
                }
            }
            for glob in &source.globs {
                let mut target = glob.clone();
                target.push(name.clone());
                if let Some(found) = self.defined_in(&file, &target, depth - 1)
                    && self.files[&found].text.contains(name.as_str())
                {
                    return Some(found);
                }
            }
        }
        Some(file)
    }

    /// Which files a file uses, but for those of its own line: modules that it is in, and that are in it.
    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let text = &self.files[module].text;
        let mut paths = inline_paths(text);
        for (is_public, tree) in uses(text) {
            let mut trees = Vec::new();
            leaves(&tree, &[], &mut trees);
            // What is only handed out is not used here.
            paths.extend(
                trees
                    .into_iter()
                    .filter(|_| !is_public)
                    .map(|(path, _)| path),
            );
        }
        let handed_out: BTreeSet<Vec<String>> =
            self.files[module].handed_out.values().cloned().collect();
        let used = paths.iter().filter(|path| !handed_out.contains(*path));
        let used = used.filter_map(|path| self.defined_in(module, path, 8));
        used.filter(|other| !other.starts_with(module) && !module.starts_with(other))
            .collect()
    }

    /// Files in circles.
    fn circles(&self) -> Vec<BTreeSet<Module>> {
        let uses: BTreeMap<&Module, BTreeSet<Module>> = self
            .files
            .keys()
            .map(|module| (module, self.used_by(module)))
            .collect();
        let reached = |from: &Module| {
            let mut reached = BTreeSet::new();
            let mut due: Vec<&Module> = uses[from].iter().collect();
            while let Some(next) = due.pop() {
                if reached.insert(next.clone()) {
                    due.extend(&uses[next]);
                }
            }
            reached
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> = self
            .files
            .keys()
            .map(|module| (module, reached(module)))
            .collect();
        let mut circles = Vec::new();
        for (module, reached) in &all {
            if reached.contains(*module) {
                let with: BTreeSet<Module> = reached
                    .iter()
                    .filter(|other| all[other].contains(*module))
                    .cloned()
                    .collect();
                if !circles.contains(&with) {
                    circles.push(with);
                }
            }
        }
        circles
    }
}

fn text(circle: &BTreeSet<Module>) -> String {
    let files = circle.iter().map(|module| module.join("::"));
    files.collect::<Vec<_>>().join(" ↔ ")
}

#[test]
fn no_files_of_a_crate_use_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeMap::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(crates).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if !folder.join("src").is_dir() {
            continue;
        }
        seen += 1;
        let circles = Crate::read(&folder.join("src")).circles();
        if !circles.is_empty() {
            found.insert(name, circles.iter().map(text).collect::<Vec<_>>());
        }
    }
    assert!(seen > 5, "the crates are not where they were");
    assert!(found.is_empty(), "files that use each other: {found:#?}");
}

/// A small crate, written down as file and text.
fn made_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder =
        std::env::temp_dir().join(format!("circles-{}-{}", std::process::id(), files.len()));
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let circles = Crate::read(&folder).circles();
    std::fs::remove_dir_all(folder).unwrap();
    circles.iter().map(text).collect()
}

#[test]
fn a_circle_is_found_through_what_is_handed_out_and_through_plain_paths() {
    let found = made_of(&[
        (
            "lib.rs",
            "mod a;\nmod b;\npub use a::A;\npub use b::{B as C, self};",
        ),
        ("a.rs", "use crate::{C};\npub struct A(C);"),
        (
            "b.rs",
            "// use crate::nothing;\npub struct B(Vec<crate::A>);",
        ),
    ]);
    assert_eq!(found, ["a ↔ b"]);
}

#[test]
fn a_module_and_its_own_files_are_no_circle_and_its_siblings_are() {
    let found = made_of(&[
        ("lib.rs", "mod a;"),
        (
            "a.rs",
            "mod one;\nmod two;\nmod three;\nuse one::One;\npub struct A(One);",
        ),
        ("a/one.rs", "use super::A;\npub struct One;\nimpl A {}"),
        ("a/two.rs", "use super::three::{Three};\npub struct Two;"),
        (
            "a/three.rs",
            "pub struct Three(super::two::Two);\n#[cfg(test)]\nmod tests {\nuse super::super::one::One;\n}",
        ),
    ]);
    assert_eq!(found, ["a::three ↔ a::two"]);
}
