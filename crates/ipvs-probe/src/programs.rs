use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::{Evidence, Root};

/// A program and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Where it is; `None` where it is nowhere.
    pub path: Option<String>,
    /// What it says of its version; `None` where it could not be asked.
    pub version: Option<String>,
}

/// Runs programs. [`HostPrograms`] runs those of this machine; a test can answer itself.
pub trait Programs {
    /// The output of a program that is given some text, both streams, if it succeeded.
    ///
    /// # Errors
    /// Whatever kept it from running; [`io::ErrorKind::Other`] with its output when it failed.
    fn run(&mut self, program: &str, arguments: &[&str], input: &str) -> io::Result<String>;
}

/// The programs of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostPrograms;

impl Programs for HostPrograms {
    fn run(&mut self, program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // A few lines, which a pipe holds. One that does not read them says itself why.
        let written = child
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        match written {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(text)
        } else {
            Err(io::Error::other(text.trim().to_owned()))
        }
    }
}

/// No program at all: for facts that are read often, and for systems that are not this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrograms;

impl Programs for NoPrograms {
    fn run(&mut self, _: &str, _: &[&str], _: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Where programs for administrators are.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Looks for a program, and asks it for its version where it can be run.
pub(crate) fn find(root: &Root, programs: &mut dyn Programs, name: &'static str) -> Program {
    // Where this process looks for programs counts too, for those of this machine.
    let own = root.is_host().then(|| std::env::var("PATH").ok()).flatten();
    let own = own.unwrap_or_default();
    let path = FOLDERS
        .into_iter()
        .chain(own.split(':').filter(|folder| folder.starts_with('/')))
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| root.path(path).symlink_metadata().is_ok());
    let version = path.as_ref().and_then(|path| {
        let text = root
            .is_host()
            .then(|| programs.run(path, &["--version"], "").ok())??;
        Some(text.lines().next()?.trim().to_owned())
    });
    Program {
        name,
        path,
        version,
    }
}

impl Program {
    pub(crate) fn evidence(&self) -> Evidence {
        match (&self.path, &self.version) {
            (Some(path), Some(version)) => Evidence::new(path, version),
            (Some(path), None) => Evidence::new(path, "present"),
            (None, _) => Evidence::new(self.name, "not in any folder for programs"),
        }
    }
}
