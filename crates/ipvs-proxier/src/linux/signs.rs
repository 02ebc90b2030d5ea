//! Signs of what the kernel notifies nobody of.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use ipvs_codec::Family;
use ipvs_filter::iptables::set_name;
use ipvs_model::FilterSet;
use ipvs_netfilter::ipset::SetSize;
use ipvs_netlink::{Error, IpSets};

use crate::error::PlaneError;
use crate::kernel_event::{SetSign, Signs};

/// Each virtual server holds a reference to the module.
const IPVS: &str = "/sys/module/ip_vs/refcnt";
/// Each rule holds a reference to the modules of its matches and of its target. All of our rules have a comment, except a few that
/// lead nowhere without the others. Where the kernel has comments built in and counts nothing, the first of the other modules
/// that counts is used.
const RULES: [&str; 4] = [
    "/sys/module/xt_comment/refcnt",
    "/sys/module/xt_set/refcnt",
    "/sys/module/xt_mark/refcnt",
    "/sys/module/xt_conntrack/refcnt",
];

/// While so few sets have entries, their heads are asked for one by one: that is three calls each, and all of them are one for
/// each set that is there.
const FEW_SETS: usize = 8;
/// All of them are asked for every so many looks even so: something may have come into one that was empty.
const BETWEEN_ALL: u32 = 5;

/// Reads them: the heads of sets with entries or one dump of all heads, and a file or two.
#[derive(Debug)]
pub(super) struct SignReader {
    names: HashMap<String, (FilterSet, Family)>,
    /// The heads of sets when all were asked for, and since then of those with entries.
    heads: BTreeMap<(FilterSet, Family), SetSign>,
    /// In so many looks all are asked for again.
    looks_left: u32,
    virtual_servers: Count,
    /// Rules of iptables-legacy, the first that counts; of iptables-nft the kernel tells.
    rules: Vec<Count>,
}

impl SignReader {
    pub(super) fn new(is_legacy: bool) -> Self {
        let of_family = |family: Family| FilterSet::ALL.map(|set| (set, family));
        let keys = Family::ALL.into_iter().flat_map(of_family);
        let names = keys.map(|key| (set_name(key.0, key.1).as_str().to_owned(), key));
        Self {
            names: names.collect(),
            heads: BTreeMap::new(),
            looks_left: 0,
            virtual_servers: Count::of(IPVS),
            rules: RULES
                .into_iter()
                .filter(|_| is_legacy)
                .map(Count::of)
                .collect(),
        }
    }

    /// This process changes sets or rules: all heads are asked for with the next look.
    pub(super) const fn ask_for_all(&mut self) {
        self.looks_left = 0;
    }

    /// Without ipsets there are no signs of sets: the kernel tells of others.
    pub(super) fn read(&mut self, ipsets: Option<&mut IpSets>) -> Result<Signs, PlaneError> {
        let Some(ipsets) = ipsets else {
            return Ok(Signs {
                virtual_servers: self.virtual_servers.read(),
                ..Signs::default()
            });
        };
        let has_entries = |sign: &SetSign| sign.entries != Some(0);
        let with_entries = self.heads.iter().filter(|(_, sign)| has_entries(sign));
        let with_entries: Vec<_> = with_entries.map(|(key, _)| *key).collect();
        let read = if self.looks_left == 0 || with_entries.len() > FEW_SETS {
            self.read_all(ipsets)
        } else {
            self.read_some(&with_entries, ipsets)
        };
        if let Err(error) = read {
            self.ask_for_all();
            return Err(error.into());
        }
        Ok(Signs {
            sets: Some(self.heads.clone()),
            virtual_servers: self.virtual_servers.read(),
            rules: self.rules.iter_mut().find_map(Count::read),
        })
    }

    fn read_all(&mut self, ipsets: &mut IpSets) -> Result<(), Error> {
        let mut heads = BTreeMap::new();
        ipsets.sizes(|size| {
            if let Some(key) = self.names.get(size.name) {
                heads.insert(*key, sign(&size));
            }
        })?;
        self.heads = heads;
        self.looks_left = BETWEEN_ALL.saturating_sub(1);
        Ok(())
    }

    fn read_some(
        &mut self,
        keys: &[(FilterSet, Family)],
        ipsets: &mut IpSets,
    ) -> Result<(), Error> {
        self.looks_left = self.looks_left.saturating_sub(1);
        for key in keys {
            // One that is not there any more stays away.
            self.heads.remove(key);
            let heads = &mut self.heads;
            ipsets.size(set_name(key.0, key.1), |size| {
                heads.insert(*key, sign(&size));
            })?;
        }
        Ok(())
    }
}

const fn sign(size: &SetSize<'_>) -> SetSign {
    SetSign {
        entries: size.entries,
        references: size.references,
    }
}

/// A number in a file that is kept open.
#[derive(Debug)]
struct Count {
    path: &'static str,
    file: Option<File>,
}

impl Count {
    const fn of(path: &'static str) -> Self {
        Self { path, file: None }
    }

    /// None where the kernel does not count: it has the module built in, or has not loaded it.
    fn read(&mut self) -> Option<u64> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(self.path).ok()?,
        };
        let mut text = [0; 32];
        // A module that was unloaded has no number any more: another file has it, once it is there again.
        let length = file.read_at(&mut text, 0).ok()?;
        self.file = Some(file);
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        text.trim_end().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_there_is_none() {
        let mut missing = Count::of("/proc/nowhere");
        assert_eq!((missing.read(), missing.read()), (None, None));
        let mut text = Count::of("/proc/self/comm");
        assert_eq!(text.read(), None);
        let mut number = Count::of("/proc/sys/kernel/pid_max");
        let first = number.read();
        assert!(first.is_some() && number.read() == first);
    }
}
