//! What the programs say of their own build: the commit, and the compiler.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    // Moves with each commit. Where there is no history there is no commit either.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = said("git", &["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let commit = said("git", &["rev-parse", "HEAD"]);
    // Of the commit, so that the same sources make the same program.
    let utc = "--date=format-local:%Y-%m-%dT%H:%M:%SZ";
    let date = said("git", &["log", "-1", utc, "--format=%cd"]);
    // As the programs of Kubernetes where theirs is not known.
    let date = date.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
    let compiler = env::var("RUSTC").ok();
    let compiler = compiler.and_then(|compiler| said(&compiler, &["--version"]));
    let version = compiler.and_then(|text| Some(text.split(' ').nth(1)?.to_owned()));
    for (name, value) in [
        ("BUILD_COMMIT", commit.unwrap_or_default()),
        ("BUILD_DATE", date),
        ("BUILD_COMPILER", version.unwrap_or_default()),
    ] {
        println!("cargo::rustc-env={name}={value}");
    }
}

/// What a program says, if it can.
fn said(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).env("TZ", "UTC").output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
