//! `iptables-save` and `iptables-restore`: one process to read, one to write, and only when the rules change.

use std::thread::{self, JoinHandle};

use ipvs_codec::Family;
use ipvs_netfilter::iptables::SavedRules;

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

/// The programs of one back end, for both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Iptables {
    /// What follows `iptables` and `ip6tables` in the programs' names.
    suffix: &'static str,
}

/// Makes and removes a chain in one transaction: leaves nothing, and shows that the kernel can do it.
const PROBE: &str = "*nat\n:KUBE-IPVS-PROBE - [0:0]\n-X KUBE-IPVS-PROBE\nCOMMIT\n";

impl Iptables {
    /// Finds the back end.
    pub(super) fn detect(backend: IptablesBackend) -> Result<Self, PlaneError> {
        let candidates: &[Self] = match backend {
            IptablesBackend::Auto => &[
                Self { suffix: "" },
                Self { suffix: "-legacy" },
                Self { suffix: "-nft" },
            ],
            IptablesBackend::Legacy => &[Self { suffix: "-legacy" }],
            IptablesBackend::Nft => &[Self { suffix: "-nft" }],
        };
        let has_kube_chains = |candidate: &&Self| {
            let text = run(&candidate.program(Family::Ipv4, "save"), &[], "");
            text.is_ok_and(|text| text.contains("\n:KUBE-"))
        };
        if let Some(used) = candidates.iter().find(has_kube_chains) {
            return Ok(*used);
        }
        let mut tried = Vec::new();
        for candidate in candidates {
            let works = Family::ALL
                .into_iter()
                .map(|family| candidate.restore(family, PROBE));
            match works.reduce(Result::or) {
                Some(Err(error)) => tried.push(error.to_string()),
                _ => return Ok(*candidate),
            }
        }
        Err(PlaneError::NoIptables {
            tried: tried.join("; "),
        })
    }

    /// Whether the rules of a family can be programmed.
    pub(super) fn supports(self, family: Family) -> bool {
        self.restore(family, PROBE).is_ok()
    }

    /// Whether `MASQUERADE` knows `--random-fully`: since 1.6.2. A version that cannot be read is a new one.
    pub(super) fn random_fully(self) -> bool {
        let text = run(&format!("iptables{}", self.suffix), &["--version"], "");
        text.map_or(true, |text| {
            version(&text).is_none_or(|version| version >= [1, 6, 2])
        })
    }

    fn program(self, family: Family, action: &str) -> String {
        let name = match family {
            Family::Ipv4 => "iptables",
            Family::Ipv6 => "ip6tables",
        };
        format!("{name}{}-{action}", self.suffix)
    }

    /// Starts to read the rules of a family. The process runs beside whatever else is done.
    pub(super) fn start_save(self, family: Family) -> Result<Saving, PlaneError> {
        let program = self.program(family, "save");
        let failed = |error: std::io::Error| failed(&program, error.to_string());
        let name = program.clone();
        let save = move || run(&name, &[], "").map(|text| SavedRules::parse(&text));
        let thread = thread::Builder::new().spawn(save).map_err(failed)?;
        Ok(Saving { program, thread })
    }

    pub(super) fn restore(self, family: Family, text: &str) -> Result<(), PlaneError> {
        run(
            &self.program(family, "restore"),
            &["-w", "5", "--noflush"],
            text,
        )
        .map(|_| ())
    }
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
fn version(text: &str) -> Option<[u32; 3]> {
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
    use super::version;

    #[test]
    fn row_109_the_version_is_read_of_either_back_end() {
        assert_eq!(version("iptables v1.8.9 (legacy)\n"), Some([1, 8, 9]));
        assert_eq!(version("iptables v1.8.11 (nf_tables)\n"), Some([1, 8, 11]));
        assert_eq!(version("iptables v1.6.1"), Some([1, 6, 1]));
        assert_eq!(version("iptables"), None);
    }
}
