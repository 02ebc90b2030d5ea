//! Putting right what can be put right: modules, sysctls, and the files that make both last.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use crate::{
    Facts, ModuleState, Modules, Need, Needs, Profile, Programs, Remedy, Report, Root, SysctlError,
    Sysctls,
    modules_of_1_8::modules_of_1_8,
    rules::{RULES, find_rule, set_at_start},
};

/// One step of a mending.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Load a module with those that it needs.
    Load(String),
    /// Set a sysctl that has another value.
    Set {
        /// Its name, as `sysctl` prints it.
        name: &'static str,
        /// The value that it has; `None` where it comes with a module that is not loaded yet.
        from: Option<String>,
        /// The value that it gets.
        to: &'static str,
    },
    /// Write a file, so that it is the same after a reboot.
    Write {
        /// Where on the system.
        path: String,
        /// Its content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(name) => write!(f, "load module {name}"),
            Self::Set {
                name,
                from: Some(from),
                to,
            } => write!(f, "sysctl {name}: {from} -> {to}"),
            Self::Set {
                name,
                from: None,
                to,
            } => write!(f, "sysctl {name} = {to}"),
            Self::Write { path, content, .. } => {
                write!(f, "write {path}")?;
                content
                    .lines()
                    .try_for_each(|line| write!(f, "\n    {line}"))
            }
        }
    }
}

/// A step that failed. Its text has the cause: it is no source besides, which would be said twice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MendError {
    /// A module could not be loaded.
    #[error("cannot load module {name}: {cause}")]
    Load {
        /// Its name.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// A sysctl could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A file could not be written.
    #[error("cannot write {path}: {cause}")]
    Write {
        /// Where on the system.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

const MODULES_LOAD: &str = "/etc/modules-load.d/ipvs.conf";
const SYSCTL_D: &str = "/etc/sysctl.d/90-ipvs.conf";
/// Systems before systemd run every script of this folder.
const SYSCONFIG_MODULES: &str = "/etc/sysconfig/modules";

/// What would put a node right, as far as a program may: never SELinux, never a firewall. Empty when nothing is left to do.
#[must_use]
pub fn steps(root: &Root, facts: &Facts, needs: &Needs, report: &Report) -> Vec<Step> {
    let mut steps = Vec::new();
    for finding in &report.findings {
        let Remedy::LoadModule(names) = &finding.remedy else {
            continue;
        };
        for name in names.split(' ') {
            let step = Step::Load(name.to_owned());
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    let needs = &Needs {
        filter: report.filter,
        ..needs.clone()
    };
    let sysctls = wanted_sysctls(facts, needs);
    for (name, to) in &sysctls {
        let found = facts.sysctl(name);
        let comes_with_module = found.is_none()
            && module_of(name).is_some_and(|module| steps.contains(&Step::Load(module.to_owned())));
        let is_missed = report.findings.iter().any(
            |finding| matches!(&finding.remedy, Remedy::Sysctl { name: missed, .. } if missed == name),
        );
        if is_missed || comes_with_module {
            steps.push(Step::Set {
                name,
                from: found.map(str::to_owned),
                to,
            });
        }
    }
    steps.extend(files(root, facts, needs, &sysctls));
    steps
}

/// The module that brings a sysctl.
fn module_of(sysctl: &str) -> Option<&'static str> {
    [("net.ipv4.vs.", "ip_vs"), ("net.bridge.", "br_netfilter")]
        .into_iter()
        .find_map(|(start, module)| sysctl.starts_with(start).then_some(module))
}

/// What kube-proxy's ipvs mode does at its start, in its order: the sysctls that differ, each with the reason.
///
/// ```
/// use ipvs_probe::{Facts, Needs, NoPrograms, Root, steps_at_start};
/// let tree = tempfile::tempdir()?;
/// std::fs::create_dir_all(tree.path().join("proc/sys/net/ipv4"))?;
/// std::fs::write(tree.path().join("proc/sys/net/ipv4/ip_forward"), "0\n")?;
/// let facts = Facts::gather(&Root::below(tree.path()), &mut NoPrograms);
/// let steps = steps_at_start(&facts, &Needs::default());
/// assert!(steps.iter().any(|(step, _)| step.to_string() == "sysctl net.ipv4.ip_forward: 0 -> 1"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn steps_at_start(facts: &Facts, needs: &Needs) -> Vec<(Step, &'static str)> {
    let applying = set_at_start().filter(|rule| rule.when.applies(facts, needs));
    let differing = applying.filter_map(|rule| {
        let Need::Sysctl { name, value } = rule.need else {
            return None;
        };
        let found = facts.sysctl(name);
        let step = Step::Set {
            name,
            from: found.map(str::to_owned),
            to: value,
        };
        (found != Some(value)).then_some((step, rule.reason))
    });
    differing.collect()
}

/// Every sysctl of a rule that applies; one that is good as it is keeps its value.
fn wanted_sysctls(facts: &Facts, needs: &Needs) -> Vec<(&'static str, &'static str)> {
    let applying = RULES.iter().filter(|rule| rule.when.applies(facts, needs));
    let wanted = applying.filter_map(|rule| match rule.need {
        Need::Sysctl { name, value } => Some((name, value)),
        Need::SysctlNot { name, bad, value } => {
            let is_of_profile = needs.profile == Profile::Kube18 && name.starts_with("net.bridge.");
            (is_of_profile || facts.sysctl(name) == Some(bad)).then_some((name, value))
        }
        _ => None,
    });
    wanted.collect()
}

fn files(root: &Root, facts: &Facts, needs: &Needs, sysctls: &[(&str, &str)]) -> Vec<Step> {
    let mut modules: Vec<String> = vec!["ip_vs".to_owned(), format!("ip_vs_{}", needs.scheduler)];
    if needs.profile == Profile::Kube18 {
        modules.extend(modules_of_1_8(facts).map(str::to_owned));
    }
    modules.push("nf_conntrack".to_owned());
    if find_rule("br_netfilter").is_some_and(|rule| rule.when.applies(facts, needs)) {
        modules.push("br_netfilter".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    modules.retain(|name| {
        let state = facts.modules.get(name).map(|module| module.state);
        let can_load = matches!(state, Some(ModuleState::Loaded | ModuleState::Loadable));
        can_load && seen.insert(name.clone())
    });
    let head = "# What IPVS needs, written by preflight --fix.\n";
    let mut wanted = Vec::new();
    if !modules.is_empty() {
        if root.has("/etc/modules-load.d") || !root.has(SYSCONFIG_MODULES) {
            let content = format!("{head}{}\n", modules.join("\n"));
            wanted.push((MODULES_LOAD.to_owned(), content, 0o644));
        } else {
            let lines: String = modules
                .iter()
                .map(|name| format!("modprobe -- {name}\n"))
                .collect();
            let content = format!("#!/bin/bash\n{head}{lines}");
            wanted.push((format!("{SYSCONFIG_MODULES}/ipvs.modules"), content, 0o755));
        }
    }
    if !sysctls.is_empty() {
        let lines: String = sysctls
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        wanted.push((SYSCTL_D.to_owned(), format!("{head}{lines}"), 0o644));
    }
    let differs = |path: &str, content: &str| root.read(path).content().as_deref() != Some(content);
    wanted
        .into_iter()
        .filter(|(path, content, _)| differs(path, content))
        .map(|(path, content, mode)| Step::Write {
            path,
            content,
            mode,
        })
        .collect()
}

/// Takes a step. Doing it twice is the same as once.
///
/// # Errors
/// [`MendError`] names the module, sysctl or file; what was mended before stays.
pub fn mend(root: &Root, programs: &mut dyn Programs, step: &Step) -> Result<(), MendError> {
    match step {
        Step::Load(name) => load(root, programs, name).map_err(|cause| MendError::Load {
            name: name.clone(),
            cause,
        }),
        Step::Set { name, to, .. } => {
            Sysctls::below(root.path("/proc/sys")).ensure(name, to)?;
            Ok(())
        }
        Step::Write {
            path,
            content,
            mode,
        } => write(root, path, content, *mode).map_err(|cause| MendError::Write {
            path: path.clone(),
            cause,
        }),
    }
}

/// By `modprobe` where there is one and it is this machine's, else by the list of files.
fn load(root: &Root, programs: &mut dyn Programs, name: &str) -> io::Result<()> {
    if root.is_host() {
        match programs.run("modprobe", &["--", name], "") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done.map(drop),
        }
    }
    let release = root
        .read("/proc/sys/kernel/osrelease")
        .content()
        .unwrap_or_default();
    let modules = Modules::read(root, &release);
    let files = modules.files_to_load(root, name);
    if files.is_empty() && !modules.module(name).state.is_present() {
        let problem = format!(
            "there is no modprobe, and {}",
            modules.module(name).evidence
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    }
    for path in files {
        load_file(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`, since Linux 5.17.
const COMPRESSED: core::ffi::c_int = 4;

fn load_file(path: &std::path::Path) -> io::Result<()> {
    let is_plain = path.extension().is_some_and(|extension| extension == "ko");
    let flags = if is_plain { 0 } else { COMPRESSED };
    match rustix::system::finit_module(&fs::File::open(path)?, c"", flags) {
        // Somebody else was faster.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        done => Ok(done?),
    }
}

/// Through a new file beside it, so that nobody reads half of it.
fn write(root: &Root, path: &str, content: &str, mode: u32) -> io::Result<()> {
    let target = root.path(path);
    let folder = target
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(folder)?;
    let new = target.with_extension("new");
    fs::write(&new, content)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    fs::rename(&new, &target)
}
