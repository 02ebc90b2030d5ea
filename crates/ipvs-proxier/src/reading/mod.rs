//! Reading the kernel's state: section after section, in steps of some milliseconds.

mod observe;
mod section;
mod servers;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Desired, Key, Known};
use ipvs_netlink::Cause;

use self::servers::{put_real_servers, put_service};
use self::table::Table;
use self::verdict::{Chunks, Verdict};
use crate::dataplane::{DataPlane, Part, Progress};
use crate::error::PlaneError;

pub use self::observe::observe;
pub(crate) use self::section::{Findings, Lane};
pub use self::section::{Section, Unread};
pub(crate) use self::servers::{Compared, read_one};

/// Virtual servers that are read at once: a request each.
const AT_ONCE: usize = 8;
/// Calls that one reading of a table takes at the most: a data plane that never says that it is done must not keep a reading
/// from its end. At 32 KiB each it is 3 GiB.
const MOST_CALLS: usize = 100_000;
/// After so many errors among virtual servers the rest of them is left: a socket that fails costs time with each.
const MOST_FAILURES: usize = 3;
/// A reading gives way so often; then others wait for the section that it is in, so that however many come it has an end.
const MOST_WAYS: usize = 3;
/// Before asking again for something that is on its way, where nobody says that it is there.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Reads the kernel's state or sections of it, compares with what is known, puts what is known right, and remembers where
/// they differed. In between others may change what is known together with the kernel: what is read is compared at once, so
/// that it never meets later knowledge, and what took several calls is believed as `verdict` says.
///
/// In each [lane](Lane) a data plane takes part in one reading at a time: one that is begun ends the one before, which
/// [gives way](Self::give_way) then.
#[derive(Debug)]
pub(crate) struct Reading {
    families: Vec<Family>,
    /// What is left to be read after the section that is being read.
    waiting: VecDeque<Section>,
    state: State,
    /// What the data plane has read halfway is of no use: nothing was read yet, or it failed.
    must_forget: Forget,
    /// How often it has given way.
    ways: usize,
    /// The section that came to its end with the last step, and whether it could be read.
    ended: Option<(Section, bool)>,
    findings: Findings,
}

/// What of each lane is to be forgotten before the next step in it.
#[derive(Debug)]
struct Forget {
    tables: bool,
    rules: bool,
}

impl Forget {
    const fn of(&mut self, lane: Lane) -> &mut bool {
        match lane {
            Lane::Tables => &mut self.tables,
            Lane::Rules => &mut self.rules,
        }
    }
}

/// Where a reading is, with all that it keeps there.
#[derive(Debug)]
enum State {
    /// Nothing was read yet.
    Start,
    /// One section has come to its end, the next one was not begun.
    Between,
    In(Section, Step),
}

/// How far a section is.
#[derive(Debug)]
enum Step {
    /// A table is coming in.
    Table(Table, Chunks),
    /// Virtual servers that a list and what is known disagree on are asked for by name.
    Named(Several),
    /// The real servers of all virtual servers are asked for.
    RealServers(Several),
    /// A process is reading rules.
    Rules(Family),
}

/// Virtual servers that are left to be asked for, the next ones last.
#[derive(Debug, Default)]
struct Several {
    left: Vec<ServiceKey>,
    failures: usize,
}

/// What comes after a step.
enum Next {
    /// More of the section.
    Step(Step),
    /// The same, which has nothing yet.
    Wait(Step),
    SectionIsDone,
}

impl Reading {
    /// One of everything.
    pub(crate) fn everything(families: &[Family]) -> Self {
        Self::of(families, Section::all(families))
    }

    /// One of some sections, in this order.
    pub(crate) fn of(families: &[Family], sections: impl IntoIterator<Item = Section>) -> Self {
        Self {
            families: families.to_vec(),
            waiting: sections.into_iter().collect(),
            state: State::Start,
            must_forget: Forget {
                tables: true,
                rules: true,
            },
            ways: 0,
            ended: None,
            findings: Findings::default(),
        }
    }

    /// Reads a section as well, also if it was read already or is being read: it changed since. O(sections).
    pub(crate) fn add(&mut self, section: Section) {
        if !self.waiting.contains(&section) {
            self.waiting.push_back(section);
        }
    }

    /// Lets another reading have a lane of the data plane: what it has read halfway of a section there is of no use then, and
    /// the section is begun anew. What is asked for virtual server by virtual server goes on. Whether it was halfway.
    pub(crate) fn give_way(&mut self, lane: Lane) -> bool {
        *self.must_forget.of(lane) = true;
        if self.halfway() != Some(lane) {
            return false;
        }
        if let State::In(section, _) = std::mem::replace(&mut self.state, State::Between) {
            self.waiting.push_front(section);
        }
        self.ways = self.ways.saturating_add(1);
        true
    }

    /// Whether another reading has to wait for the section that it is in: it has given way often enough.
    pub(crate) fn keeps(&self, lane: Lane) -> bool {
        self.ways >= MOST_WAYS && self.halfway() == Some(lane)
    }

    /// Where the data plane keeps something of it.
    const fn halfway(&self) -> Option<Lane> {
        match self.state {
            State::In(_, Step::Table(..)) => Some(Lane::Tables),
            State::In(_, Step::Rules(_)) => Some(Lane::Rules),
            _ => None,
        }
    }

    /// Another reading has read a section that waits to be read. O(sections).
    pub(crate) fn was_read(&mut self, section: Section) {
        let is_covered = |waiting: &Section| {
            let has_more = *waiting == Section::ListOfVirtualServers;
            *waiting == section || (has_more && section == Section::VirtualServers)
        };
        self.waiting.retain(|waiting| !is_covered(waiting));
    }

    /// The section that the next step begins with, if it begins one.
    pub(crate) fn begins(&self) -> Option<Section> {
        match self.state {
            State::Start | State::Between => self.waiting.front().copied(),
            State::In(..) => None,
        }
    }

    /// The section of the next step.
    pub(crate) fn next_section(&self) -> Option<Section> {
        match self.state {
            State::Start | State::Between => self.waiting.front().copied(),
            State::In(section, _) => Some(section),
        }
    }

    /// The section that came to its end with the last step, and whether it could be read.
    pub(crate) const fn take_ended(&mut self) -> Option<(Section, bool)> {
        self.ended.take()
    }

    /// Whether nothing was read yet.
    pub(crate) const fn is_at_start(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// The family whose rules it is reading, for which it mostly waits: nothing else of it is read halfway then.
    pub(crate) const fn reads_rules_of(&self) -> Option<Family> {
        match self.state {
            State::In(_, Step::Rules(family)) => Some(family),
            _ => None,
        }
    }

    /// Whether all that was read so far could be read. Where nothing is known yet, nothing may be concluded about a node of
    /// which a section could not be read: what is not known there would look as if it were not there.
    pub(crate) const fn is_complete(&self) -> bool {
        self.findings.unread.is_empty()
    }

    /// What was found. Sections that were not read yet are missing.
    pub(crate) fn finish(self) -> Findings {
        self.findings
    }

    /// Does the next step: one request, or some that take milliseconds. What cannot be read is noted, and everything else
    /// read all the same. Weights that others set are overlooked where `known` has those of `desired`.
    pub(crate) fn read_on<P: DataPlane + ?Sized>(
        &mut self,
        plane: &mut P,
        known: &mut Known,
        desired: &Desired,
    ) -> Progress {
        let (section, step) = match std::mem::replace(&mut self.state, State::Between) {
            State::In(section, step) => (section, step),
            State::Start | State::Between => match self.waiting.pop_front() {
                Some(section) => (section, begin(section)),
                None => return Progress::Done(()),
            },
        };
        let next = self
            .forget(section.lane(), plane)
            .and_then(|()| self.step(section, step, plane, known, desired));
        match next {
            Ok(Next::Step(step)) => self.state = State::In(section, step),
            Ok(Next::Wait(step)) => {
                self.state = State::In(section, step);
                return Progress::Waiting;
            }
            Ok(Next::SectionIsDone) => {
                let mut unread = self.findings.unread.iter();
                self.ended = Some((section, unread.all(|unread| unread.section != section)));
            }
            Err(error) => {
                self.note_unread(section, error);
                self.ended = Some((section, false));
            }
        }
        if self.waiting.is_empty() && matches!(self.state, State::Between) {
            return Progress::Done(());
        }
        Progress::More
    }

    /// Makes the data plane forget what it has read halfway in a lane, where that is of no use.
    fn forget<P: DataPlane + ?Sized>(
        &mut self,
        lane: Lane,
        plane: &mut P,
    ) -> Result<(), PlaneError> {
        if *self.must_forget.of(lane) {
            let part = match lane {
                Lane::Tables => Part::Start,
                Lane::Rules => Part::StartRules,
            };
            plane.read(part, &self.families, &mut Known::default())?;
            *self.must_forget.of(lane) = false;
        }
        Ok(())
    }

    fn note_unread(&mut self, section: Section, error: PlaneError) {
        *self.must_forget.of(section.lane()) = true;
        let unread = &mut self.findings.unread;
        if !unread.iter().any(|unread| unread.section == section) {
            let error = Box::new(error);
            unread.push(Unread { section, error });
        }
    }

    fn step<P: DataPlane + ?Sized>(
        &mut self,
        section: Section,
        step: Step,
        plane: &mut P,
        known: &mut Known,
        desired: &Desired,
    ) -> Result<Next, PlaneError> {
        match step {
            Step::Table(mut table, mut chunks) => {
                let progress = self.read_chunk(&mut table, &mut chunks, plane, known)?;
                match progress {
                    Progress::More => Ok(Next::Step(Step::Table(table, chunks))),
                    Progress::Waiting => Ok(Next::Wait(Step::Table(table, chunks))),
                    Progress::Done(()) => self.judge(section, table, chunks, plane, known),
                }
            }
            Step::Named(mut several) => {
                let some = several.take_some();
                let mut found = Known::default();
                match plane.read(Part::VirtualServers(&some), &self.families, &mut found) {
                    Ok(_) => {
                        for key in some {
                            let found = found.virtual_servers.get(&key);
                            if put_service(key, found.map(|found| found.service), known) {
                                self.findings.differing.push(Key::VirtualServer(key));
                            }
                        }
                    }
                    Err(error) => self.note_failure(section, error, &mut several),
                }
                Ok(Next::Step(if several.left.is_empty() {
                    self.real_servers(section, known)
                } else {
                    Step::Named(several)
                }))
            }
            Step::RealServers(mut several) => {
                let some = several.take_some();
                let mut found = Known::default();
                let there = some
                    .iter()
                    .filter_map(|key| known.virtual_servers.get_key_value(key));
                found
                    .virtual_servers
                    .extend(there.map(|(key, server)| (*key, Arc::clone(server))));
                match plane.read(Part::RealServers(&some), &self.families, &mut found) {
                    Ok(_) => {
                        for (key, server) in found.virtual_servers {
                            if put_real_servers(&key, server, known, desired) {
                                self.findings.differing.push(Key::VirtualServer(key));
                            }
                        }
                    }
                    Err(error) => self.note_failure(section, error, &mut several),
                }
                Ok(if several.left.is_empty() {
                    Next::SectionIsDone
                } else {
                    Next::Step(Step::RealServers(several))
                })
            }
            Step::Rules(family) => {
                let mut found = Known::default();
                let part = Part::Rules(family);
                match plane.read(part, &self.families, &mut found)? {
                    Progress::More => return Ok(Next::Step(step)),
                    Progress::Waiting => return Ok(Next::Wait(step)),
                    Progress::Done(()) => {}
                }
                // They are compared with each plan.
                match found.filters.remove(&family) {
                    Some(filter) => known.filters.insert(family, filter),
                    None => known.filters.remove(&family),
                };
                Ok(Next::SectionIsDone)
            }
        }
    }

    /// Those whose real servers are read behind the list.
    fn real_servers(&self, section: Section, known: &Known) -> Step {
        let there = &known.virtual_servers;
        let left = match section {
            Section::ListOfVirtualServers => {
                let differing = self.findings.differing.iter();
                let keys = differing.filter_map(|key| match key {
                    Key::VirtualServer(key) => Some(*key),
                    _ => None,
                });
                keys.filter(|key| there.contains_key(key)).collect()
            }
            _ => there.keys().copied().collect(),
        };
        Step::RealServers(Several { left, failures: 0 })
    }

    /// Some virtual servers could not be asked for: others can still be right.
    fn note_failure(&mut self, section: Section, error: PlaneError, several: &mut Several) {
        self.note_unread(section, error);
        several.failures = several.failures.saturating_add(1);
        if several.failures >= MOST_FAILURES {
            several.left.clear();
        }
    }

    fn read_chunk<P: DataPlane + ?Sized>(
        &self,
        table: &mut Table,
        chunks: &mut Chunks,
        plane: &mut P,
        known: &Known,
    ) -> Result<Progress, PlaneError> {
        let mut found = table.take_found();
        let progress = plane.read(table.part(), &self.families, &mut found)?;
        table.take_in(found, known);
        chunks.calls = chunks.calls.saturating_add(1);
        if progress != Progress::Done(()) && chunks.calls >= MOST_CALLS {
            return Err(Cause::Unstable(chunks.before.saturating_add(1)).into());
        }
        Ok(progress)
    }

    /// A table is there as a whole.
    fn judge<P: DataPlane + ?Sized>(
        &mut self,
        section: Section,
        mut table: Table,
        chunks: Chunks,
        plane: &mut P,
        known: &mut Known,
    ) -> Result<Next, PlaneError> {
        let mut differing = table.differing(known);
        let again = Chunks {
            calls: 0,
            before: chunks.before.saturating_add(1),
        };
        let mut next = Next::SectionIsDone;
        match chunks.verdict(differing.len(), table.sharing(known)) {
            Verdict::Believed => {}
            Verdict::AgainAtOnce => {
                table = table.emptied();
                let mut again = again;
                while self.read_chunk(&mut table, &mut again, plane, known)? != Progress::Done(()) {
                }
                differing = table.differing(known);
            }
            Verdict::AgainToAgree => next = Next::Step(Step::Table(table.emptied(), again)),
            Verdict::AskByName => {
                let keys = differing.iter().filter_map(|key| match key {
                    Key::VirtualServer(key) => Some(*key),
                    _ => None,
                });
                let left = keys.collect();
                let several = Several { left, failures: 0 };
                return Ok(Next::Step(Step::Named(several)));
            }
        }
        let is_list = matches!(table, Table::List { .. });
        table.put_into(known, &differing);
        self.findings.differing.extend(differing);
        if is_list && matches!(next, Next::SectionIsDone) {
            next = Next::Step(self.real_servers(section, known));
        }
        Ok(next)
    }
}

impl Several {
    fn take_some(&mut self) -> Vec<ServiceKey> {
        let left = self.left.len().saturating_sub(AT_ONCE);
        self.left.split_off(left)
    }
}

fn begin(section: Section) -> Step {
    let table = match section {
        Section::VirtualServers | Section::ListOfVirtualServers => Table::list(),
        Section::Link => Table::Link(Known::default()),
        Section::Set(set, family) => Table::Set(set, family, Known::default()),
        Section::Rules(family) => return Step::Rules(family),
    };
    Step::Table(table, Chunks::default())
}
