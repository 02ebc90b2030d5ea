//! `iptables-save` and `iptables-restore`: one process to read, one to write, and only when the rules change.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use ipvs_codec::Family;
use ipvs_filter::iptables::{recognise, ruleset};
use ipvs_model::{FilterShape, KnownFilter};
use ipvs_netfilter::iptables::SavedRules;
use ipvs_probe::{Filter, sample_rules};
use tracing::warn;

use super::of_probe;
use super::program::run;
use super::saving::{Saved, Saving};
use crate::control::Control;
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
    pub(super) const fn suffix(self) -> &'static str {
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

    /// Whether they are iptables-legacy, by the version of the first that was looked at: before 1.8 there was no other.
    fn is_legacy(self, version: &str) -> bool {
        match self.suffix {
            "" => !version.contains("(nf_tables)"),
            suffix => suffix == IptablesBackend::Legacy.suffix(),
        }
    }

    /// Where others hold the lock it waits for a second, and no longer: whoever asks has other work.
    fn restore(self, family: Family, text: &str, control: &Control) -> Result<(), PlaneError> {
        let program = self.name(family, "-restore");
        run(&program, &["-w", "1", "--noflush"], text, control).map(|_| ())
    }

    fn has_kube_chains(self, control: &Control) -> Result<bool, PlaneError> {
        if self.suffix == IptablesBackend::Legacy.suffix() && !has_legacy_tables() {
            return Ok(false);
        }
        match run(&self.name(Family::Ipv4, "-save"), &[], "", control) {
            Ok(text) => Ok(text.contains("\n:KUBE-")),
            Err(error) if error.is_passing() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Whether rules can be programmed. Without `nft_compat`, say, chains can be made and no rule can be written.
    fn is_usable(
        self,
        family: Family,
        control: &Control,
    ) -> Result<Result<(), PlaneError>, PlaneError> {
        match self.restore(family, &sample_rules(of_probe(family), None), control) {
            Err(error) if error.is_passing() => Err(error),
            tried => Ok(tried),
        }
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
    is_legacy: bool,
    /// The rules of each family as they were read, and as they were written since.
    saved: BTreeMap<Family, SavedRules>,
    /// How many of the next processes read rules with the usual urgency; those behind them yield to everything else.
    usual: usize,
}

/// On a node so busy the next ones do not yield: a resync is over when the last of them is.
const USUAL_WHEN_STARVED: usize = 20;

impl Iptables {
    /// Finds the back end, and which of the families it can program. Every look is a process.
    ///
    /// A lock that others hold says nothing of what is usable: to go on without the back end or the family that was asked
    /// would be to take the wrong one. It is an error that passes.
    pub(super) fn detect(
        backend: IptablesBackend,
        families: &[Family],
        control: &Control,
    ) -> Result<Self, PlaneError> {
        let first = format!("iptables{}", backend.suffix());
        let version = match run(&first, &["--version"], "", control) {
            Err(error) if error.is_passing() => return Err(error),
            version => version.unwrap_or_default(),
        };
        let mut candidates = candidates(backend, &version);
        // Rules in two back ends would both be followed.
        if candidates.len() > 1 {
            for programs in candidates.clone() {
                if programs.has_kube_chains(control)? {
                    candidates = vec![programs];
                    break;
                }
            }
        }
        let mut tried = Vec::new();
        for (index, family) in families.iter().enumerate() {
            for programs in &candidates {
                if let Err(error) = programs.is_usable(*family, control)? {
                    tried.push(error.to_string());
                    continue;
                }
                let mut usable = vec![*family];
                for family in families.iter().take(index) {
                    left_out(*family, &tried.join("; "));
                }
                for other in families.iter().skip(index.saturating_add(1)) {
                    match programs.is_usable(*other, control)? {
                        Ok(()) => usable.push(*other),
                        Err(error) => left_out(*other, &error.to_string()),
                    }
                }
                return Ok(Self {
                    programs: *programs,
                    // The first time everything waits for them.
                    usual: usable.len(),
                    families: usable,
                    random_fully: takes_random_fully(&version),
                    is_legacy: programs.is_legacy(&version),
                    saved: BTreeMap::new(),
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

    /// Whether it is iptables-legacy, of whose rules the kernel tells nothing.
    pub(super) const fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// The next processes, one for each family, do not yield to everything else.
    pub(super) fn hurry(&mut self) {
        self.usual = self.usual.max(self.families.len());
    }

    /// Starts to read the rules of a family, beside whatever else is done. The first time everything waits for it; later it
    /// yields to changes.
    pub(super) fn start_save(
        &mut self,
        family: Family,
        control: &Control,
    ) -> Result<Saving, PlaneError> {
        let is_least_urgent = self.usual == 0;
        self.usual = self.usual.saturating_sub(1);
        let program = self.programs.name(family, "-save");
        Saving::start(family, &program, is_least_urgent, control)
    }

    /// The rules that are being read, if they are there.
    pub(super) fn finish_save(
        &mut self,
        saving: &Saving,
    ) -> Result<Option<KnownFilter>, PlaneError> {
        let Some(Saved { rules, was_starved }) = saving.poll() else {
            return Ok(None);
        };
        if was_starved {
            self.usual = USUAL_WHEN_STARVED;
        }
        let (family, rules) = (saving.family(), rules?);
        let filter = recognise(family, &rules);
        self.saved.insert(family, rules);
        Ok(Some(filter))
    }

    /// Writes the rules of a filter.
    pub(super) fn write(
        &mut self,
        shape: &FilterShape,
        control: &Control,
    ) -> Result<(), PlaneError> {
        let rules = ruleset(shape);
        let saved = self.saved.entry(shape.family).or_default();
        let text = rules.restore_text(saved);
        self.programs.restore(shape.family, &text, control)?;
        saved.restored(&rules);
        Ok(())
    }
}

/// Says of a family that the node has why it is not served.
fn left_out(family: Family, reason: &str) {
    warn!(%family, reason, "rules cannot be written: Services of this family are left out");
}

/// The programs to look at, in order.
fn candidates(backend: IptablesBackend, version: &str) -> Vec<Programs> {
    let filter = match backend {
        IptablesBackend::Auto => Filter::Iptables,
        IptablesBackend::Legacy => Filter::IptablesLegacy,
        IptablesBackend::Nft => Filter::IptablesNft,
    };
    let suffixes = filter.suffixes(version).iter();
    suffixes.map(|suffix| Programs { suffix }).collect()
}

/// `--random-fully` is there since 1.6.2. A version that cannot be read is a new one.
fn takes_random_fully(version: &str) -> bool {
    numbers(version).is_none_or(|numbers| numbers >= [1, 6, 2])
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
    fn each_back_end_is_known_by_its_name_or_its_version() {
        let is_legacy = |suffix, version| Programs { suffix }.is_legacy(version);
        assert!(is_legacy("", "iptables v1.8.9 (legacy)") && is_legacy("", "iptables v1.6.1"));
        assert!(!is_legacy("", "iptables v1.8.9 (nf_tables)"));
        assert!(is_legacy("-legacy", "iptables v1.8.9 (nf_tables)"));
        assert!(!is_legacy("-nft", "iptables v1.8.9 (legacy)"));
    }
}
