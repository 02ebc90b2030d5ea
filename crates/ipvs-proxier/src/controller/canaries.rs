//! Canaries: signs of what others do where the kernel notifies nobody. Pure.

use ipvs_codec::Family;
use ipvs_model::{Known, Operation, Plan};

use crate::kernel_event::Signs;
use crate::reading::Section;

/// What the signs were when all was as it is known.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// Signs of the rules: their number, and the references of sets. None were read yet, if there are none.
    rules: Option<Signs>,
    /// Whether they were taken after rules were written: what others did between reading and writing is among them.
    is_unsure: bool,
    /// Virtual servers that are counted and not known.
    of_others: Option<i128>,
    /// Whether rules have a sign: where the kernel tells of them they have none.
    have_rules: bool,
    /// Whether sets have signs: of those of nftables the kernel tells.
    have_sets: bool,
    /// Whether the last answer had every sign that there can be.
    is_whole: bool,
}

impl Canaries {
    /// Takes the signs, from just before rules are read, for those of the rules that are known.
    pub(super) fn remember_rules(&mut self, signs: Signs) {
        self.have_rules |= signs.rules.is_some();
        self.is_unsure = false;
        self.rules = Some(signs);
    }

    /// Takes the signs, from just after rules were written, for those of the rules that are known until these are read again,
    /// which is due then.
    pub(super) fn wrote_rules(&mut self, signs: Signs) {
        let have_sign = signs.rules.is_some();
        self.remember_rules(signs);
        self.is_unsure = have_sign;
    }

    /// Takes the signs for those of the virtual servers that are known.
    pub(super) fn remember_virtual_servers(&mut self, signs: &Signs, known: &Known) {
        self.of_others = of_others(signs, known);
    }

    /// These signs were read; whether they are all that there can be.
    pub(super) const fn saw(&mut self, signs: &Signs) -> bool {
        let (has_rules, has_sets) = (signs.rules.is_some(), signs.sets.is_some());
        self.have_rules |= has_rules;
        self.have_sets |= has_sets;
        self.is_whole = signs.virtual_servers.is_some()
            && has_rules == self.have_rules
            && has_sets == self.have_sets;
        self.is_whole
    }

    /// They could not be read.
    pub(super) const fn failed(&mut self) {
        self.is_whole = false;
    }

    /// Whether what others do comes out by them.
    pub(super) const fn are_whole(&self) -> bool {
        self.is_whole
    }

    /// The sections of which a sign is otherwise than what is known would have it. O(sets).
    pub(super) fn gone(&self, signs: &Signs, known: &Known, families: &[Family]) -> Vec<Section> {
        let mut gone = Vec::new();
        let others = self.of_others.zip(of_others(signs, known));
        if others.is_some_and(|(before, now)| before != now) {
            gone.push(Section::ListOfVirtualServers);
        }
        if let Some(sets) = &signs.sets {
            for (key, entries) in &known.sets {
                let is_as_known = sets.get(key).is_some_and(|sign| {
                    let known = u32::try_from(entries.len()).ok();
                    sign.entries.is_none_or(|entries| Some(entries) == known)
                });
                if !is_as_known {
                    gone.push(Section::Set(key.0, key.1));
                }
            }
        }
        gone.sort_unstable();
        let is_gone = |family: &&Family| {
            let before = self.rules.as_ref();
            self.is_unsure || before.is_some_and(|before| rules_differ(before, signs, **family))
        };
        let rules = families.iter().filter(is_gone);
        gone.extend(rules.copied().map(Section::Rules));
        gone
    }
}

/// Whether a plan changes the signs of rules.
pub(super) fn writes_rules(plan: &Plan) -> bool {
    let is_write = |operation: &Operation| {
        matches!(
            operation,
            Operation::WriteRules { .. } | Operation::ReleaseSets { .. }
        )
    };
    plan.iter().any(is_write)
}

fn of_others(signs: &Signs, known: &Known) -> Option<i128> {
    let ours = i128::try_from(known.virtual_servers.len()).ok()?;
    i128::from(signs.virtual_servers?).checked_sub(ours)
}

/// Whether rules came or went. The number of rules does not say of which family.
fn rules_differ(before: &Signs, now: &Signs, family: Family) -> bool {
    let mut sets = now.sets.iter().flatten().filter(|(key, _)| key.1 == family);
    let other_references = sets.any(|(key, sign)| {
        let before = before.sets.as_ref().and_then(|sets| sets.get(key));
        before.is_some_and(|before| before.references != sign.references)
    });
    other_references || before.rules != now.rules
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use ipvs_codec::{Protocol, Scheduler, Service, ServiceKey};
    use ipvs_model::{FilterEntry, FilterSet, VirtualServer};

    use super::*;
    use crate::kernel_event::SetSign;

    const SET: (FilterSet, Family) = (FilterSet::Vip, Family::Ipv4);

    fn with_servers(count: u8) -> Known {
        let mut known = Known::default();
        for last in 0..count {
            let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, last].into(), 80);
            let server = VirtualServer::new(Service::new(key, Scheduler::RR), Vec::new());
            known.virtual_servers.insert(key, Arc::new(server));
        }
        known
    }

    fn signs(virtual_servers: u64, rules: u64, entries: u32, references: u32) -> Signs {
        let sign = SetSign {
            entries: Some(entries),
            references: Some(references),
        };
        Signs {
            sets: Some(BTreeMap::from([(SET, sign)])),
            virtual_servers: Some(virtual_servers),
            rules: Some(rules),
        }
    }

    #[test]
    fn each_sign_says_what_must_be_read() {
        let mut known = with_servers(3);
        let entries = [[10, 96, 0, 1], [10, 96, 0, 2]].map(|ip| FilterEntry::Vip(ip.into()));
        known.sets.insert(SET, entries.into_iter().collect());
        let mut canaries = Canaries::default();
        let gone = |canaries: &Canaries, signs: &Signs, known: &Known| {
            canaries.gone(signs, known, &Family::ALL)
        };
        let as_known = signs(5, 40, 2, 1);
        assert_eq!(
            gone(&canaries, &signs(9, 9, 2, 9), &known),
            [],
            "nothing to compare with"
        );
        canaries.remember_rules(as_known.clone());
        canaries.remember_virtual_servers(&as_known, &known);
        assert_eq!(gone(&canaries, &as_known, &known), []);

        let list = [Section::ListOfVirtualServers];
        assert_eq!(gone(&canaries, &signs(4, 40, 2, 1), &known), list);
        // One of ours that we have made is known.
        assert_eq!(
            gone(&canaries, &signs(6, 40, 2, 1), &{
                let mut more = with_servers(4);
                more.sets.clone_from(&known.sets);
                more
            }),
            []
        );
        let set = [Section::Set(SET.0, SET.1)];
        assert_eq!(gone(&canaries, &signs(5, 40, 0, 1), &known), set);
        let without = Signs {
            sets: Some(BTreeMap::new()),
            ..as_known.clone()
        };
        assert_eq!(gone(&canaries, &without, &known), set);
        let rules = Family::ALL.map(Section::Rules);
        assert_eq!(gone(&canaries, &signs(5, 39, 2, 1), &known), rules);
        assert_eq!(gone(&canaries, &signs(5, 40, 2, 0), &known), rules[..1]);
        // Others may have been quicker than our own write.
        canaries.wrote_rules(as_known.clone());
        assert_eq!(gone(&canaries, &as_known, &known), rules);
        canaries.remember_rules(as_known.clone());
        assert_eq!(gone(&canaries, &as_known, &known), []);
        // A kernel that says nothing of it.
        assert_eq!(
            gone(
                &canaries,
                &Signs {
                    rules: Some(40),
                    ..Signs::default()
                },
                &known
            ),
            []
        );
    }

    #[test]
    fn an_answer_that_lacks_a_sign_is_not_whole() {
        let mut canaries = Canaries::default();
        assert!(!canaries.are_whole(), "nobody has asked yet");
        let all = signs(5, 40, 2, 1);
        let of_nft = Signs {
            rules: None,
            ..all.clone()
        };
        assert!(canaries.saw(&of_nft), "the kernel tells of rules");
        canaries.remember_rules(all.clone());
        assert!(canaries.saw(&all) && canaries.are_whole());
        let without_servers = Signs {
            virtual_servers: None,
            ..all.clone()
        };
        let without_sets = Signs {
            sets: None,
            ..all.clone()
        };
        // Of the filter of nftables the kernel tells all.
        let of_nftables = Signs {
            rules: None,
            ..without_sets.clone()
        };
        assert!(Canaries::default().saw(&of_nftables));
        for lacking in [of_nft, without_servers, without_sets] {
            assert!(!canaries.saw(&lacking) && !canaries.are_whole());
        }
        assert!(canaries.saw(&all));
        canaries.failed();
        assert!(!canaries.are_whole());
    }
}
