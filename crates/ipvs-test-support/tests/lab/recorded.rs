//! Recorded states, and the state of a namespace in the same form.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ipvs_test_support::{NetNs, in_our_order};

pub(crate) const FILES: [&str; 5] = [
    "virtual-servers",
    "addresses",
    "ipsets",
    "iptables",
    "ip6tables",
];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A namespace like the one that the states were recorded in.
pub(crate) fn recorded_namespace(name: &str) -> NetNs {
    let namespace = NetNs::new(name).unwrap();
    namespace
        .ip(
            "link add node0 type dummy\nlink set node0 up\naddr add 192.168.50.10/24 dev node0\n\
             addr add fd00:50::10/64 dev node0 nodad\nroute add default via 192.168.50.1\n",
        )
        .unwrap();
    namespace.ip("route add ::/0 via fd00:50::1").unwrap();
    namespace
}

/// The contents of [`FILES`].
pub(crate) struct State([String; 5]);

impl State {
    /// A recorded one.
    pub(crate) fn read(folder: &Path) -> Self {
        Self(FILES.map(|file| fs::read_to_string(folder.join(file)).unwrap()))
    }

    /// What ours makes where this was recorded.
    pub(crate) fn in_our_order(self) -> Self {
        Self(self.0.map(|text| in_our_order(&text)))
    }

    /// That of a namespace.
    pub(crate) fn of(namespace: &NetNs) -> Self {
        let out = tempfile::tempdir().unwrap();
        let script = folder().join("capture");
        let words = [&script, out.path()].map(|path: &Path| path.to_str().unwrap());
        namespace.output("bash", &words).unwrap();
        Self::read(out.path())
    }

    /// The names of the files in which they differ.
    pub(crate) fn differing_files(&self, other: &Self) -> Vec<&'static str> {
        let both = FILES.iter().zip(self.0.iter().zip(&other.0));
        let differing = both.filter(|(_, (one, other))| one != other);
        differing.map(|(file, _)| *file).collect()
    }

    /// Equal line for line, but for what the back ends of iptables show differently.
    pub(crate) fn assert_same(&self, wanted: &Self, what: &str) {
        for (file, (found, wanted)) in FILES.iter().zip(self.0.iter().zip(&wanted.0)) {
            if file.ends_with("tables") {
                assert_eq!(chains(found), chains(wanted), "{what}: {file}");
            } else {
                assert_eq!(found, wanted, "{what}: {file}");
            }
        }
    }
}

/// The rules of each chain, with its policy. The back ends show chains in another order, and only one of them shows a chain
/// of the kernel's that accepts everything.
fn chains(saved: &str) -> BTreeMap<(&str, &str), Vec<&str>> {
    let mut chains: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((chain, policy)) =
            line.strip_prefix(':').and_then(|line| line.split_once(' '))
        {
            if policy != "ACCEPT" {
                chains.entry((table, chain)).or_default().push(policy);
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            chains.entry((table, chain)).or_default().push(rule);
        }
    }
    chains
}
