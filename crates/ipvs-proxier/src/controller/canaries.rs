//! Canaries: signs of what others do where the kernel notifies nobody. Pure.

use std::collections::BTreeMap;

use ipvs_codec::Family;
use ipvs_model::{Known, Operation, Plan};

use crate::kernel_event::Signs;
use crate::reading::Section;

/// What the signs were when all was as it is known.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// Of the rules of each family: their number, and the references of sets. None were read yet, if there are none.
    rules: BTreeMap<Family, OfRules>,
    virtual_servers: Option<OfVirtualServers>,
    /// How often signs were taken.
    taken: u64,
    /// Virtual servers that this process has made, less those that it has removed.
    made: i128,
    /// Whether rules have a sign: where the kernel tells of them they have none.
    have_rules: bool,
    /// Whether sets have signs: of those of nftables the kernel tells.
    have_sets: bool,
    /// Whether the last answer had every sign that there can be.
    is_whole: bool,
}

/// Signs, and when they were taken. What is read behind them is at least as new, so that nothing that others do in between is
/// missed: at the worst it is read once more.
#[derive(Debug)]
pub(super) struct TakenSigns {
    signs: Signs,
    number: u64,
    made: i128,
}

#[derive(Debug)]
struct OfRules {
    signs: Signs,
    number: u64,
    /// Whether they were taken after rules were written: what others did between reading and writing is among them.
    is_unsure: bool,
}

#[derive(Debug)]
struct OfVirtualServers {
    number: u64,
    /// Virtual servers that are counted and not known.
    of_others: i128,
}

/// Whether what is read of a section goes with signs.
pub(super) const fn has_signs(section: Section) -> bool {
    matches!(
        section,
        Section::VirtualServers | Section::ListOfVirtualServers | Section::Rules(_)
    )
}

impl Canaries {
    /// Signs that were read just now.
    pub(super) const fn take(&mut self, signs: Signs) -> TakenSigns {
        self.taken = self.taken.saturating_add(1);
        self.have_rules |= signs.rules.is_some();
        TakenSigns {
            signs,
            number: self.taken,
            made: self.made,
        }
    }

    /// Takes signs from just before a section was read for those of what is known of it. Those of something newer stay.
    pub(super) fn remember(&mut self, section: Section, taken: TakenSigns, known: &Known) {
        match section {
            Section::Rules(family) => {
                let before = self.rules.get(&family);
                if before.is_none_or(|before| before.number < taken.number) {
                    let rules = OfRules {
                        signs: taken.signs,
                        number: taken.number,
                        is_unsure: false,
                    };
                    self.rules.insert(family, rules);
                }
            }
            Section::VirtualServers | Section::ListOfVirtualServers => {
                let before = self.virtual_servers.as_ref();
                if before.is_some_and(|before| before.number > taken.number) {
                    return;
                }
                // What this process has done meanwhile is known, and not among what was counted.
                let since = self.made.saturating_sub(taken.made);
                let others = of_others(&taken.signs, known);
                self.virtual_servers = others.map(|others| OfVirtualServers {
                    number: taken.number,
                    of_others: others.saturating_add(since),
                });
            }
            Section::Link | Section::Set(..) => {}
        }
    }

    /// Takes the signs, from just after rules were written, for those of the rules that are known until these are read again,
    /// which is due then. Those from before the write are of no use any more, also where there are none from after it.
    pub(super) fn wrote_rules(&mut self, taken: Option<TakenSigns>) {
        let Some(taken) = taken else {
            self.taken = self.taken.saturating_add(1);
            for rules in self.rules.values_mut() {
                rules.number = self.taken;
                rules.is_unsure = self.have_rules;
            }
            return;
        };
        let is_unsure = taken.signs.rules.is_some();
        for family in Family::ALL {
            let rules = OfRules {
                signs: taken.signs.clone(),
                number: taken.number,
                is_unsure,
            };
            self.rules.insert(family, rules);
        }
    }

    /// Whether these signs of the rules of a family are as they were taken, and no rules were written since.
    pub(super) fn holds(&self, taken: &TakenSigns, signs: &Signs, family: Family) -> bool {
        let known = self.rules.get(&family);
        let is_newer = known.is_none_or(|known| known.number < taken.number);
        is_newer && !rules_differ(&taken.signs, signs, family)
    }

    /// An operation was carried out.
    pub(super) const fn applied(&mut self, operation: &Operation) {
        match operation {
            Operation::AddVirtualServer { .. } => self.made = self.made.saturating_add(1),
            Operation::RemoveVirtualServer { .. } => self.made = self.made.saturating_sub(1),
            _ => {}
        }
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
        let before = self.virtual_servers.as_ref();
        let before = before.map(|before| before.of_others);
        let others = before.zip(of_others(signs, known));
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
            let before = self.rules.get(*family);
            before.is_some_and(|before| {
                before.is_unsure || rules_differ(&before.signs, signs, **family)
            })
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
        let rules = Family::ALL.map(Section::Rules);
        let remember_rules = |canaries: &mut Canaries| {
            for section in rules {
                let taken = canaries.take(as_known.clone());
                canaries.remember(section, taken, &known);
            }
        };
        remember_rules(&mut canaries);
        let taken = canaries.take(as_known.clone());
        canaries.remember(Section::ListOfVirtualServers, taken, &known);
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
        assert_eq!(gone(&canaries, &signs(5, 39, 2, 1), &known), rules);
        assert_eq!(gone(&canaries, &signs(5, 40, 2, 0), &known), rules[..1]);
        // Others may have been quicker than our own write.
        let taken = canaries.take(as_known.clone());
        canaries.wrote_rules(Some(taken));
        assert_eq!(gone(&canaries, &as_known, &known), rules);
        remember_rules(&mut canaries);
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
        let _ = canaries.take(all.clone());
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

    #[test]
    fn older_signs_never_replace_those_of_something_newer() {
        let known = with_servers(3);
        let mut canaries = Canaries::default();
        let rules = Section::Rules(Family::Ipv4);
        let gone = |canaries: &Canaries, rules: u64, servers: u64| {
            let signs = signs(servers, rules, 0, 1);
            let mut gone = canaries.gone(&signs, &known, &[Family::Ipv4]);
            gone.retain(|section| has_signs(*section));
            gone
        };
        // Taken by a resync, before something else read or wrote the same.
        let old = |canaries: &mut Canaries| canaries.take(signs(3, 40, 0, 1));
        for is_written in [false, true] {
            let before = [old(&mut canaries), old(&mut canaries)];
            let newer = canaries.take(signs(4, 41, 0, 1));
            if is_written {
                canaries.wrote_rules(Some(newer));
            } else {
                canaries.remember(rules, newer, &known);
            }
            let newer = canaries.take(signs(4, 41, 0, 1));
            canaries.remember(Section::ListOfVirtualServers, newer, &known);
            let now = signs(4, 41, 0, 1);
            assert!(
                before
                    .iter()
                    .all(|old| !canaries.holds(old, &now, Family::Ipv4))
            );
            let [of_rules, of_list] = before;
            canaries.remember(rules, of_rules, &known);
            canaries.remember(Section::VirtualServers, of_list, &known);
            let unsure = if is_written { &[rules][..] } else { &[] };
            assert_eq!(gone(&canaries, 41, 4), unsure);
        }
        // After a write without signs none from before it are good.
        let before = old(&mut canaries);
        canaries.wrote_rules(None);
        canaries.remember(rules, before, &known);
        assert_eq!(gone(&canaries, 40, 4), [rules]);
        let after = old(&mut canaries);
        assert!(canaries.holds(&after, &signs(3, 40, 0, 1), Family::Ipv4));
        canaries.remember(rules, after, &known);
        assert_eq!(gone(&canaries, 40, 4), []);
    }

    #[test]
    fn what_this_process_makes_while_virtual_servers_are_read_is_not_taken_for_others() {
        let mut canaries = Canaries::default();
        let taken = canaries.take(signs(5, 40, 0, 1));
        let add = |last: u8| {
            let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, last].into(), 80);
            let service = Service::new(key, Scheduler::RR);
            Operation::AddVirtualServer { service }
        };
        canaries.applied(&add(8));
        canaries.applied(&add(9));
        let key = ServiceKey::endpoint(Protocol::TCP, [10, 96, 0, 9].into(), 80);
        canaries.applied(&Operation::RemoveVirtualServer {
            virtual_server: key,
        });
        // Two more are there that nobody knows of, and one that this process has made.
        canaries.remember(Section::VirtualServers, taken, &with_servers(4));
        let gone = |count| {
            let gone = canaries.gone(&signs(count, 40, 0, 1), &with_servers(4), &[]);
            gone.contains(&Section::ListOfVirtualServers)
        };
        assert!(!gone(6) && gone(5));
    }
}
