//! The machine that the lab runs on: its files are the lab's too, but what is written to its own folders does not reach it.

use std::path::Path;
use std::process::Command;

use ipvs_test_support::{NetNs, example};

/// A file as the machine has it, below what covers it; nothing if it has none.
fn on_the_machine(file: &Path) -> Option<Vec<u8>> {
    let place = tempfile::tempdir().unwrap();
    // Only the root itself, not what is mounted in it.
    let script = "mount --bind / \"$1\" && if [ -e \"$1$2\" ]; then cat \"$1$2\"; else exit 9; fi";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([place.path(), file])
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Some(output.stdout),
        Some(9) => None,
        _ => panic!("{output:?}"),
    }
}

#[test]
fn what_is_written_to_its_folders_does_not_reach_it() {
    assert!(on_the_machine(Path::new("/etc/passwd")).is_some());
    let name = format!("ipvs-lab-{}", std::process::id());
    for folder in ["/etc", "/lib", "/usr/lib", "/var/lib"] {
        let file = Path::new(folder).join(&name);
        std::fs::write(&file, "of the lab").unwrap();
        assert_eq!(on_the_machine(&file), None, "{}", file.display());
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn preflight_fixes_the_lab_and_not_it() {
    let namespace = NetNs::new("machine").unwrap();
    let files = [
        "/etc/modules-load.d/ipvs.conf",
        "/etc/sysctl.d/90-ipvs.conf",
    ];
    let read = || files.map(|file| on_the_machine(Path::new(file)));
    let before = read();
    let preflight = example("preflight").display().to_string();
    let text = namespace.output(&preflight, &["--fix"]).unwrap();
    for file in files {
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written.contains("preflight --fix"), "{text}: {written}");
    }
    assert_eq!(read(), before);
}
