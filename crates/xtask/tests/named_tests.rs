//! The tables of the READMEs name tests: each of them exists.

use std::fs;
use std::path::Path;

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_a_table_names_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    sources(crates, &mut text);
    let readme = fs::read_to_string(crates.join("ipvs-codec/README.md")).unwrap();
    let mut named = 0;
    for row in readme.lines().filter(|line| line.ends_with("` |")) {
        let name = row.rsplit('`').nth(1).unwrap();
        assert!(
            text.contains(&format!("fn {name}(")),
            "no test {name}: {row}"
        );
        named += 1;
    }
    assert!(named > 15, "{named} tests are named");
}
