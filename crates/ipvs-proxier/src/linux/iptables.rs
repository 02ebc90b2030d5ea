//! `iptables-save` and `iptables-restore`: one process to read, one to write, and only when the rules change.

use std::io::ErrorKind;
use std::thread::{self, JoinHandle};

use ipvs_codec::Family;
use ipvs_netfilter::iptables::SavedRules;
use rustix::process::nice;

use super::program::{failed, run};
use crate::error::PlaneError;

/// Which iptables programs the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IptablesBackend {
    /// The one that already has `KUBE-` chains, else the first that works: `iptables`, `iptables-legacy`,
    /// `iptables-nft`.
    #[default]
    Auto,
    /// `iptables-legacy`.
    Legacy,
    /// `iptables-nft`.
    Nft,
}

impl IptablesBackend {
    /// What follows `iptables` and `ip6tables` in the names of the programs that are looked at first.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Auto => "",
            Self::Legacy => "-legacy",
            Self::Nft => "-nft",
        }
    }
}

/// The programs of one back end, for both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Programs {
    /// What follows `iptables` and `ip6tables` in the programs' names.
    suffix: &'static str,
}

impl Programs {
    fn name(self, family: Family, action: &str) -> String {
        let name = match family {
            Family::Ipv4 => "iptables",
            Family::Ipv6 => "ip6tables",
        };
        format!("{name}{}{action}", self.suffix)
    }

    fn restore(self, family: Family, text: &str) -> Result<(), PlaneError> {
        let program = self.name(family, "-restore");
        run(&program, &["-w", "5", "--noflush"], text).map(|_| ())
    }

    fn has_kube_chains(self) -> bool {
        if self.suffix == IptablesBackend::Legacy.suffix() && !has_legacy_tables() {
            return false;
        }
        let text = run(&self.name(Family::Ipv4, "-save"), &[], "");
        text.is_ok_and(|text| text.contains("\n:KUBE-"))
    }
}

/// Whether legacy iptables has any table in this network namespace. One that cannot be asked is asked by its program.
fn has_legacy_tables() -> bool {
    match std::fs::read("/proc/thread-self/net/ip_tables_names") {
        Ok(names) => !names.is_empty(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// The back end of this node.
#[derive(Debug)]
pub(super) struct Iptables {
    programs: Programs,
    families: Vec<Family>,
    random_fully: bool,
}

/// The highest nice value.
const LEAST_URGENT: i32 = 19;
/// Makes and removes a chain in one transaction: leaves nothing, and shows that the kernel can do it.
const PROBE: &str = "*nat\n:KUBE-IPVS-PROBE - [0:0]\n-X KUBE-IPVS-PROBE\nCOMMIT\n";

impl Iptables {
    /// Finds the back end, and which of the families it can program. Every look is a process.
    pub(super) fn detect(
        backend: IptablesBackend,
        families: &[Family],
    ) -> Result<Self, PlaneError> {
        let first = format!("iptables{}", backend.suffix());
        let version = run(&first, &["--version"], "").unwrap_or_default();
        let mut candidates = candidates(backend, &version);
        // Rules in two back ends would both be followed.
        if candidates.len() > 1
            && let Some(used) = candidates
                .iter()
                .find(|programs| programs.has_kube_chains())
        {
            candidates = vec![*used];
        }
        let mut tried = Vec::new();
        for (index, family) in families.iter().enumerate() {
            for programs in &candidates {
                if let Err(error) = programs.restore(*family, PROBE) {
                    tried.push(error.to_string());
                    continue;
                }
                let others = families.iter().skip(index + 1).copied();
                let others = others.filter(|other| programs.restore(*other, PROBE).is_ok());
                return Ok(Self {
                    programs: *programs,
                    families: std::iter::once(*family).chain(others).collect(),
                    random_fully: takes_random_fully(&version),
                });
            }
        }
        Err(PlaneError::NoIptables {
            tried: tried.join("; "),
        })
    }

    /// The families whose rules can be programmed.
    pub(super) fn families(&self) -> &[Family] {
        &self.families
    }

    /// Whether `MASQUERADE` knows `--random-fully`.
    pub(super) const fn random_fully(&self) -> bool {
        self.random_fully
    }

    /// Starts to read the rules of a family. The process runs beside whatever else is done, and yields to it.
    pub(super) fn start_save(&self, family: Family) -> Result<Saving, PlaneError> {
        let program = self.programs.name(family, "-save");
        let failed = |error: std::io::Error| failed(&program, error.to_string());
        let name = program.clone();
        let save = move || {
            // Linux lowers this thread alone, and what it starts; where it may not, nothing is lost.
            let _ = nice(LEAST_URGENT);
            run(&name, &[], "").map(|text| SavedRules::parse(&text))
        };
        let thread = thread::Builder::new().spawn(save).map_err(failed)?;
        Ok(Saving { program, thread })
    }

    pub(super) fn restore(&self, family: Family, text: &str) -> Result<(), PlaneError> {
        self.programs.restore(family, text)
    }
}

/// The programs to look at, in order. `iptables` is one of the other two where its version says which.
fn candidates(backend: IptablesBackend, version: &str) -> Vec<Programs> {
    let others: &[&'static str] = match backend {
        IptablesBackend::Auto if version.contains("(legacy)") => &["-nft"],
        IptablesBackend::Auto if version.contains("(nf_tables)") => &["-legacy"],
        IptablesBackend::Auto => &["-legacy", "-nft"],
        IptablesBackend::Legacy | IptablesBackend::Nft => &[],
    };
    let suffixes = std::iter::once(backend.suffix()).chain(others.iter().copied());
    suffixes.map(|suffix| Programs { suffix }).collect()
}

/// `--random-fully` is there since 1.6.2. A version that cannot be read is a new one.
fn takes_random_fully(version: &str) -> bool {
    numbers(version).is_none_or(|numbers| numbers >= [1, 6, 2])
}

/// Rules that are being read.
#[derive(Debug)]
pub(super) struct Saving {
    program: String,
    thread: JoinHandle<Result<SavedRules, PlaneError>>,
}

impl Saving {
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The rules. Waits for them.
    pub(super) fn finish(self) -> Result<SavedRules, PlaneError> {
        let ended = |_panic| failed(&self.program, "its thread ended".to_owned());
        self.thread.join().map_err(ended)?
    }
}

/// `iptables v1.8.9 (legacy)`.
fn numbers(text: &str) -> Option<[u32; 3]> {
    let words = text.split_whitespace();
    let mut numbers = words
        .filter_map(|word| word.strip_prefix('v'))
        .next()?
        .split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_109_the_version_is_read_of_either_back_end() {
        assert_eq!(numbers("iptables v1.8.9 (legacy)\n"), Some([1, 8, 9]));
        assert_eq!(numbers("iptables v1.8.11 (nf_tables)\n"), Some([1, 8, 11]));
        assert_eq!(numbers("iptables"), None);
        assert!(!takes_random_fully("iptables v1.6.1"));
        assert!(takes_random_fully("iptables v1.6.2") && takes_random_fully(""));
    }

    #[test]
    fn no_back_end_is_looked_at_twice() {
        let suffixes = |version| {
            let candidates = candidates(IptablesBackend::Auto, version).into_iter();
            candidates
                .map(|programs| programs.suffix)
                .collect::<Vec<_>>()
        };
        assert_eq!(suffixes("iptables v1.8.9 (legacy)"), ["", "-nft"]);
        assert_eq!(suffixes("iptables v1.8.9 (nf_tables)"), ["", "-legacy"]);
        // Before 1.8 there was one; without any, those of a back end may be there.
        assert_eq!(suffixes("iptables v1.6.1"), ["", "-legacy", "-nft"]);
        assert_eq!(suffixes(""), ["", "-legacy", "-nft"]);
    }
}
