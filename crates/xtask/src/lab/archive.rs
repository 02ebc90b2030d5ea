//! Packages of any Debian suite, by an apt that has its own lists and settings and installs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::install::{Need, need};

/// Where packages are if this machine says nothing better.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Where Debian moves suites that nobody supports any more; their signatures have run out.
const OLD_SUITES: &str = "http://archive.debian.org/debian";
/// Where the keys are that sign Debian's packages, on Debian itself always.
pub(super) const PACKAGE: Need = need(
    "Debian's keyring",
    "debian-archive-keyring",
    "shows that packages are Debian's",
);
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package that could be downloaded.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) bytes: u64,
}

/// One suite, its lists read.
#[derive(Debug)]
pub(super) struct Archive {
    suite: &'static str,
    mirror: String,
    list_size: String,
    folder: PathBuf,
}

impl Archive {
    /// Reads the lists of `suite` into `folder`.
    ///
    /// # Errors
    /// With what apt says, for example that there is no network.
    pub(super) fn open(suite: &'static str, folder: &Path) -> Result<Self> {
        let mut problems = Vec::new();
        for (mirror, is_old) in [(configured_mirror(), false), (OLD_SUITES.to_owned(), true)] {
            let mut archive = Self {
                suite,
                mirror,
                list_size: String::new(),
                folder: folder.to_owned(),
            };
            archive.write_settings(is_old)?;
            match archive.apt(&["update", "-q", "-o", "APT::Update::Error-Mode=any"]) {
                Ok(said) => {
                    archive.list_size = fetched(&said);
                    return Ok(archive);
                }
                Err(error) => problems.push(format!("{}: {error:#}", archive.mirror)),
            }
        }
        bail!("{}", problems.join("\n"))
    }

    pub(super) fn mirror(&self) -> &str {
        &self.mirror
    }

    /// How much the lists were, as apt says: `9,8 MB`.
    pub(super) fn list_size(&self) -> &str {
        &self.list_size
    }

    /// What would be installed for `package` on an empty machine, as far as `wanted` says.
    ///
    /// # Errors
    /// If the suite does not have it.
    pub(super) fn packages_of(
        &self,
        package: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Package>> {
        let lines = self.apt(&[
            "install",
            "-qq",
            "--yes",
            "--print-uris",
            "--no-install-recommends",
            "-t",
            self.suite,
            package,
        ])?;
        let packages = lines.lines().filter_map(uri_line);
        Ok(packages.filter(|package| wanted(&package.name)).collect())
    }

    /// Downloads packages and unpacks them into a folder.
    ///
    /// # Errors
    /// With what apt or dpkg says.
    pub(super) fn unpack(&self, packages: &[Package], into: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        fs::create_dir_all(&downloads).context("cannot make a folder for packages")?;
        let mut words = vec!["download", "-qq", "-t", self.suite];
        words.extend(packages.iter().map(|package| package.name.as_str()));
        self.apt(&words)?;
        fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        for entry in fs::read_dir(&downloads).context("cannot read the packages")? {
            let file = entry?.path();
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&file).arg(into);
            output(unpack)?;
            fs::remove_file(&file).context("cannot remove a package")?;
        }
        Ok(())
    }

    fn write_settings(&self, is_old: bool) -> Result<()> {
        for folder in ["lists/partial", "cache/archives/partial", "downloads"] {
            fs::create_dir_all(self.folder.join(folder))
                .with_context(|| format!("cannot make {}", self.folder.display()))?;
        }
        let write = |name: &str, text: &str| {
            let file = self.folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        // Backports build on their suite.
        let suites = [self.suite.strip_suffix("-backports"), Some(self.suite)];
        let mirror = &self.mirror;
        let sources: String = suites
            .into_iter()
            .flatten()
            .map(|suite| format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        write("sources.list", &sources)?;
        // Nothing is installed.
        write("status", "")?;
        write("apt.conf", &self.settings(is_old))
    }

    /// How this machine reaches the network (proxies and the like) is kept; all else, hooks above all, is not.
    fn settings(&self, is_old: bool) -> String {
        let folder = self.folder.display();
        let mut settings: String = configuration()
            .lines()
            .filter(|line| line.starts_with("Acquire::"))
            .flat_map(|line| [line, "\n"])
            .collect();
        settings += &format!(
            r#"
Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "2";
"#
        );
        if is_old {
            settings += "Acquire::Check-Valid-Until \"false\";\n";
        }
        settings
    }

    fn apt(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("apt-get");
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C")
            .current_dir(self.folder.join("downloads"))
            .args(words);
        output(command)
    }
}

/// `Fetched 9,8 MB in 2s (5,1 MB/s)`
fn fetched(said: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix("Fetched "));
    let size = line.and_then(|line| line.split_once(" in "));
    size.map_or_else(|| "some MB".to_owned(), |(size, _)| size.to_owned())
}

/// `'URI' NAME_VERSION_ARCHITECTURE.deb BYTES …`
fn uri_line(line: &str) -> Option<Package> {
    let mut words = line.split_whitespace();
    let (_, file, bytes) = (words.next()?, words.next()?, words.next()?);
    let mut parts = file.split('_');
    Some(Package {
        name: parts.next()?.to_owned(),
        version: parts.next()?.replace("%3a", ":"),
        bytes: bytes.parse().ok()?,
    })
}

/// Where this machine gets Debian's packages from.
fn configured_mirror() -> String {
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Identifier: Packages",
    ]);
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = (os.lines().any(|line| line == "ID=debian"))
        .then(|| {
            os.lines()
                .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        })
        .flatten();
    let targets = output(targets).unwrap_or_default();
    let mirror = targets.lines().find_map(|line| {
        let (uri, release) = line.split_once(' ')?;
        (Some(release) == codename).then(|| uri.trim_end_matches('/').to_owned())
    });
    mirror.unwrap_or_else(|| MIRROR.to_owned())
}

/// This machine's settings of apt; empty if there are none.
fn configuration() -> String {
    let mut dump = Command::new("apt-config");
    dump.arg("dump");
    output(dump).unwrap_or_default()
}

fn output(mut command: Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_apt_names_package_version_and_size() {
        let line = "'http://deb.debian.org/debian/pool/main/b/busybox/busybox-static_1.37.0-6%2bb9_amd64.deb' \
                    busybox-static_1%3a1.37.0-6+b9_amd64.deb 955316 MD5Sum:608b";
        let package = uri_line(line).unwrap();
        assert_eq!(package.name, "busybox-static");
        assert_eq!(package.version, "1:1.37.0-6+b9");
        assert_eq!(package.bytes, 955_316);
        assert!(uri_line("Reading package lists...").is_none());
    }
}
