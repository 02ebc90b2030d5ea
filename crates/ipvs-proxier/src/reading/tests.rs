//! Readings of a simulated kernel of which some parts cannot be read, or never end.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use ipvs_codec::{Family, Protocol, Scheduler, Service, ServiceKey};
use ipvs_model::{Desired, FilterEntry, FilterSet, Key, Known, Operation, Vip};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netlink::{Cause, KernelError};

use super::verdict::ATTEMPTS;
use super::{MOST_CALLS, MOST_FAILURES, Reading, Section, observe};
use crate::dataplane::{Connections, DataPlane, Outcome, Part, Progress};
use crate::error::PlaneError;
use crate::simulated::Simulated;

const SET: FilterSet = FilterSet::Vip;
const FAMILY: Family = Family::Ipv4;
/// Virtual servers, bindings and entries: more than a chunk of each.
const MANY: u8 = 40;

fn address(number: u8) -> IpAddr {
    [10, 96, 0, number].into()
}

fn key(number: u8) -> ServiceKey {
    ServiceKey::endpoint(Protocol::TCP, address(number), 80)
}

type Answer = Result<Progress, PlaneError>;
type Reader = dyn FnMut(&mut Simulated, Part<'_>, &mut Known) -> Answer;

/// A kernel that is read in a way of its own.
struct Odd {
    kernel: Simulated,
    reader: Box<Reader>,
}

/// With everything in it.
fn full() -> Odd {
    let mut kernel = Simulated::default();
    let mut operations = vec![
        Operation::EnsureLink { up: false },
        Operation::CreateSet {
            set: SET,
            family: FAMILY,
        },
    ];
    for number in 0..MANY {
        let service = Service::new(key(number), Scheduler::RR);
        operations.push(Operation::AddVirtualServer { service });
        let address = address(number);
        operations.push(Operation::BindVip {
            vip: Vip::Address { address },
        });
        operations.push(Operation::AddMember {
            member: member(number),
        });
    }
    assert!(kernel.apply(&operations).iter().all(Result::is_ok));
    kernel.state_mut().filters.entry(FAMILY).or_default();
    let reader = Box::new(as_it_is);
    Odd { kernel, reader }
}

fn member(number: u8) -> FilterEntry {
    FilterEntry::Vip(address(number))
}

fn as_it_is(kernel: &mut Simulated, part: Part<'_>, found: &mut Known) -> Answer {
    kernel.read(part, &[FAMILY], found)
}

fn refused() -> PlaneError {
    Cause::from(KernelError::new(12)).into()
}

impl DataPlane for Odd {
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        assert_eq!(families, [FAMILY]);
        (self.reader)(&mut self.kernel, part, found)
    }

    fn node_addresses(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.kernel.node_addresses()
    }

    fn smallest_mtu(&mut self) -> Result<Option<u32>, PlaneError> {
        self.kernel.smallest_mtu()
    }

    fn gateways(&mut self) -> Result<Vec<IpAddr>, PlaneError> {
        self.kernel.gateways()
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        self.kernel.apply(operations)
    }

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        self.kernel.flows(family)
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        self.kernel.forget(flows)
    }

    fn connections(&mut self, keys: &[ServiceKey]) -> Result<Vec<Connections>, PlaneError> {
        self.kernel.connections(keys)
    }
}

/// Reads to the end; the calls of the reading that it took.
fn read(reading: &mut Reading, plane: &mut Odd, known: &mut Known) -> usize {
    for steps in 1.. {
        if reading.read_on(plane, known, &Desired::default()) == Progress::Done(()) {
            return steps;
        }
        assert!(steps < 10 * MOST_CALLS, "it never ends");
    }
    0
}

/// In each section something is otherwise than known.
fn drifted() -> (Odd, Known) {
    let mut plane = full();
    let known = observe(&mut plane, &[FAMILY]).unwrap();
    let state = plane.kernel.state_mut();
    assert!(state.virtual_servers.remove(&key(1)).is_some());
    assert!(state.vips.remove(&address(2)).is_some());
    let entries = state.sets.get_mut(&(SET, FAMILY)).unwrap();
    assert!(entries.remove(&member(3)));
    assert!(state.filters.remove(&FAMILY).is_some());
    (plane, known)
}

fn drift_of(section: Section) -> Option<Key> {
    match section {
        Section::VirtualServers | Section::ListOfVirtualServers => Some(Key::VirtualServer(key(1))),
        Section::Link => Some(Key::Vip(address(2))),
        Section::Set(..) => Some(Key::Member(member(3))),
        // They are compared with each plan.
        Section::Rules(_) => None,
    }
}

const SECTIONS: [Section; 4] = [
    Section::VirtualServers,
    Section::Link,
    Section::Set(SET, FAMILY),
    Section::Rules(FAMILY),
];

/// All but one section of [`drifted`] is put right; that one stays as it was known.
fn all_but(failing: Section, part: Part<'static>, answer: fn() -> Answer) {
    let (mut plane, mut known) = drifted();
    let before = known.clone();
    plane.reader = Box::new(move |kernel, asked, found| {
        if asked == part {
            return answer();
        }
        as_it_is(kernel, asked, found)
    });
    let mut reading = Reading::everything(&[FAMILY]);
    read(&mut reading, &mut plane, &mut known);
    assert!(!reading.is_complete());
    let findings = reading.finish();
    let unread: Vec<Section> = findings.unread.iter().map(|one| one.section).collect();
    assert_eq!(unread, [failing]);
    let text = findings.unread[0].to_string();
    assert!(
        text.starts_with(&format!("cannot read {failing}: ")),
        "{text}"
    );
    for section in SECTIONS {
        let Some(drift) = drift_of(section) else {
            continue;
        };
        let found = findings.differing.contains(&drift);
        assert_eq!(found, section != failing, "{drift:?}, not {failing}");
    }
    let mut wanted = plane.kernel.state().clone();
    match failing {
        Section::VirtualServers | Section::ListOfVirtualServers => {
            wanted.virtual_servers = before.virtual_servers;
        }
        Section::Link => (wanted.link, wanted.vips) = (before.link, before.vips),
        Section::Set(..) => wanted.sets = before.sets,
        Section::Rules(_) => wanted.filters = before.filters,
    }
    assert!(known == wanted, "{failing}");
}

#[test]
fn what_cannot_be_read_keeps_nothing_else_from_being_compared() {
    let fails = || Err(refused());
    all_but(Section::Link, Part::Link, fails);
    all_but(Section::VirtualServers, Part::List, fails);
    let set = Section::Set(SET, FAMILY);
    all_but(set, Part::Set(SET, FAMILY), fails);
    all_but(Section::Rules(FAMILY), Part::Rules(FAMILY), fails);
}

#[test]
fn a_part_that_never_ends_keeps_nothing_else_from_being_compared() {
    let goes_on = || Ok(Progress::More);
    all_but(Section::Link, Part::Link, goes_on);
    all_but(Section::VirtualServers, Part::List, goes_on);
    let set = Section::Set(SET, FAMILY);
    all_but(set, Part::Set(SET, FAMILY), goes_on);
}

/// It took several chunks and differs: it is read again at once, and that has no end.
#[test]
fn a_table_that_is_read_at_once_comes_to_an_end() {
    let (mut plane, mut known) = drifted();
    let (mut was_read, mut calls) = (false, 0);
    plane.reader = Box::new(move |kernel, part, found| {
        calls += 1;
        assert!(calls <= MOST_CALLS + 100, "it has no end");
        if was_read {
            return Ok(Progress::More);
        }
        let answer = as_it_is(kernel, part, found);
        was_read = part != Part::Start && matches!(answer, Ok(Progress::Done(())));
        answer
    });
    let section = Section::Set(SET, FAMILY);
    let mut reading = Reading::of(&[FAMILY], [section]);
    read(&mut reading, &mut plane, &mut known);
    let findings = reading.finish();
    assert_eq!(findings.unread[0].section, section);
    assert_eq!(findings.differing, []);
}

/// Each list has half of what is there, and others that have gone since. What is there is known in the end all the same.
#[test]
fn lists_that_never_agree_come_to_an_end() {
    for was_known in [false, true] {
        let mut plane = full();
        let mut known = Known::default();
        for other in 0..u8::from(was_known) * 100 {
            let service = Service::new(key(100 + other), Scheduler::RR);
            known.applied(&Operation::AddVirtualServer { service });
        }
        let lists = Rc::new(Cell::new(0_usize));
        let counted = Rc::clone(&lists);
        let mut calls = 0_u8;
        plane.reader = Box::new(move |kernel, part, found| {
            let answer = as_it_is(kernel, part, found);
            if part != Part::List {
                return answer;
            }
            calls += 1;
            let keep = |key: &ServiceKey| match key {
                ServiceKey::Endpoint { addr, .. } => {
                    let last = *addr.to_string().as_bytes().last().unwrap();
                    last % 2 == calls / 2 % 2
                }
                ServiceKey::Fwmark { .. } => false,
            };
            found.virtual_servers.retain(|key, _| keep(key));
            let made_up = Service::new(key(200 + calls), Scheduler::RR);
            found.applied(&Operation::AddVirtualServer { service: made_up });
            if calls % 2 == 1 {
                return Ok(Progress::More);
            }
            counted.set(counted.get() + 1);
            answer
        });
        let mut reading = Reading::of(&[FAMILY], [Section::VirtualServers]);
        read(&mut reading, &mut plane, &mut known);
        assert!(reading.is_complete());
        assert!(lists.get() <= ATTEMPTS, "{} lists", lists.get());
        let there = &plane.kernel.state().virtual_servers;
        assert!(known.virtual_servers == *there, "other virtual servers");
    }
}

/// The socket fails for each of many: it is not asked for all of them.
#[test]
fn real_servers_that_cannot_be_read_are_left_after_a_few_errors() {
    let (mut plane, mut known) = drifted();
    let mut calls = 0;
    plane.reader = Box::new(move |kernel, part, found| {
        if let Part::RealServers(_) = part {
            calls += 1;
            assert!(calls <= MOST_FAILURES, "and so on");
            return Err(refused());
        }
        as_it_is(kernel, part, found)
    });
    let mut reading = Reading::everything(&[FAMILY]);
    read(&mut reading, &mut plane, &mut known);
    let findings = reading.finish();
    assert_eq!(findings.unread.len(), 1, "once for all");
    for section in SECTIONS {
        if let Some(drift) = drift_of(section) {
            assert!(findings.differing.contains(&drift), "{section}");
        }
    }
}

/// Nothing is known yet: what cannot be read is not taken for what is not there.
#[test]
fn an_incomplete_first_reading_is_an_error() {
    for part in [
        Part::Link,
        Part::List,
        Part::Set(SET, FAMILY),
        Part::Rules(FAMILY),
    ] {
        let mut plane = full();
        plane.reader = Box::new(move |kernel, asked, found| {
            if asked == part {
                return Err(refused());
            }
            as_it_is(kernel, asked, found)
        });
        let error = observe(&mut plane, &[FAMILY]).unwrap_err();
        assert_eq!(error.errno(), refused().errno(), "{part:?}");
    }
}

#[test]
fn one_section_is_read_alone_and_again_where_it_is_added() {
    let (mut plane, mut known) = drifted();
    let mut reading = Reading::of(&[FAMILY], [Section::Link]);
    assert!(reading.is_at_start());
    let nothing = Desired::default();
    while reading.read_on(&mut plane, &mut known, &nothing) != Progress::Done(()) {}
    assert!(!reading.is_at_start());
    assert!(plane.kernel.state_mut().vips.remove(&address(5)).is_some());
    reading.add(Section::Link);
    reading.add(Section::Link);
    read(&mut reading, &mut plane, &mut known);
    let findings = reading.finish();
    let wanted = [2, 5].map(|number| Key::Vip(address(number)));
    assert_eq!(findings.differing, wanted);
}
