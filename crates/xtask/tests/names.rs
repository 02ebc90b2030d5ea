//! Names of tests: those that the tables of the READMEs give exist, and every row of the acceptance table (kube-proxy's
//! behaviour in 156 rows) has a test that is named after it.

use std::collections::BTreeSet;
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

/// `row_069_and_079_…`, `row_042_043_044_…`, `row_081_to_083_…`.
fn rows_of(name: &str) -> BTreeSet<u16> {
    let mut rows = BTreeSet::new();
    let mut last = None;
    let mut to = false;
    for word in name.split('_') {
        let number = (word.len() == 3)
            .then(|| word.parse::<u16>().ok())
            .flatten();
        match (word, number, last) {
            (_, Some(number), Some(from)) if to => rows.extend(from..=number),
            (_, Some(number), _) => {
                rows.insert(number);
            }
            ("to", ..) => {}
            ("and", ..) => {}
            _ => break,
        }
        to = word == "to";
        last = number.or(last);
    }
    rows
}

#[test]
fn names_tell_their_rows() {
    let rows = |name| rows_of(name).into_iter().collect::<Vec<_>>();
    assert_eq!(rows("069_and_079_a_node_port"), [69, 79]);
    assert_eq!(rows("042_043_044_affinity"), [42, 43, 44]);
    assert_eq!(rows("081_to_083_internal"), [81, 82, 83]);
    assert_eq!(rows("122_a_connection_lives_to_100"), [122]);
}

fn crates() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Of all crates and examples.
fn all_sources() -> String {
    let mut text = String::new();
    sources(crates(), &mut text);
    sources(&crates().with_file_name("examples"), &mut text);
    text
}

#[test]
fn every_row_has_a_test() {
    let text = all_sources();
    let mut tested = BTreeSet::new();
    for line in text.lines().map(str::trim_start) {
        let name = line.strip_prefix("fn row_").or_else(|| {
            // the cases of the recorded states: `row_055_load_balancer = "06-lb-ingress",`
            line.strip_prefix("row_")
                .filter(|rest| rest.contains(" = \""))
        });
        if let Some(name) = name {
            tested.extend(rows_of(name.split(['(', ' ']).next().unwrap()));
        }
    }
    let missing: Vec<u16> = (1..=156).filter(|row| !tested.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "no test is named after rows {missing:?}"
    );
}

/// `…_at_a_list` and fuzz targets have no whole name.
#[test]
fn every_test_that_the_page_of_the_sources_names_exists() {
    let text = all_sources();
    let page = fs::read_to_string(crates().join("ipvs-proxier/SOURCES.md")).unwrap();
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let shown = row.split('|').nth(2).unwrap();
        let names = shown.split('`').skip(1).step_by(2);
        for name in names.filter(|name| name.len() > 20 && !name.contains('…')) {
            assert!(text.contains(&format!("fn {name}(")), "no test {name}");
            named += 1;
        }
    }
    assert!(named > 20, "{named} tests are named");
}

#[test]
fn every_test_that_a_table_names_exists() {
    let text = all_sources();
    let readme = fs::read_to_string(crates().join("ipvs-codec/README.md")).unwrap();
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
