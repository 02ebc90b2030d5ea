use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs_codec::{Family, Service, ServiceKey};
use ipvs_model::{Desired, Key, Known, KubeSet, Member, VirtualServer};

use crate::dataplane::{DataPlane, Part, Progress};
use crate::error::PlaneError;

/// Virtual servers that are read at once: a request each.
const AT_ONCE: usize = 8;
/// So many that a list of virtual servers and what is known disagree on are asked for by name; with more it is read again.
const FEW: usize = 64;
/// A list of virtual servers that never agrees with the one before is read so often.
const ATTEMPTS: usize = 8;
/// Before asking again for something that is on its way.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// Reads the kernel's state part after part, compares each with what is known of it, puts it in its place where they
/// differ, and remembers where. In between others may change what is known together with the kernel: a part is compared
/// at once, so it never meets later knowledge, and one that took several calls is believed where it is as known.
#[derive(Debug)]
pub(crate) struct Observation {
    families: Vec<Family>,
    steps: VecDeque<Step>,
    /// What came of a part so far that takes several chunks.
    found: Known,
    chunks: usize,
    /// The list of virtual servers as it comes in.
    listed: Vec<ServiceKey>,
    /// Those of it that were not known as they are.
    news: HashMap<ServiceKey, Service>,
    lists: usize,
    /// Virtual servers that are left to be read.
    unread: Vec<ServiceKey>,
    differing: Vec<Key>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Link,
    List,
    VirtualServers,
    RealServers,
    Set(KubeSet, Family),
    Rules(Family),
}

impl Observation {
    /// One of which nothing is read.
    pub(crate) fn new(families: &[Family]) -> Self {
        let mut observation = Self {
            families: families.to_vec(),
            steps: VecDeque::new(),
            found: Known::default(),
            chunks: 0,
            listed: Vec::new(),
            news: HashMap::new(),
            lists: 0,
            unread: Vec::new(),
            differing: Vec::new(),
        };
        observation.restart();
        observation
    }

    /// Begins anew; where the kernel was found to be otherwise stays remembered.
    pub(crate) fn restart(&mut self) {
        let sets = |family: &Family| {
            let family = *family;
            KubeSet::ALL
                .into_iter()
                .map(move |set| Step::Set(set, family))
        };
        let first = [
            Step::Start,
            Step::List,
            Step::VirtualServers,
            Step::RealServers,
            Step::Link,
        ];
        let sets = self.families.iter().flat_map(sets);
        // They are the last, so that nothing is read while their processes run.
        let rules = self.families.iter().copied().map(Step::Rules);
        self.steps = first.into_iter().chain(sets).chain(rules).collect();
        self.found = Known::default();
        self.listed.clear();
        self.news.clear();
        self.unread.clear();
        (self.chunks, self.lists) = (0, 0);
    }

    /// Whether nothing was read yet.
    pub(crate) fn is_at_start(&self) -> bool {
        matches!(self.steps.front(), Some(Step::Start))
    }

    /// Reads the next part; after an error the first one is the next. Weights that others set are overlooked where `known`
    /// has those of `desired`.
    pub(crate) fn read_on<P: DataPlane + ?Sized>(
        &mut self,
        plane: &mut P,
        known: &mut Known,
        desired: &Desired,
    ) -> Result<Progress, PlaneError> {
        let progress = self.read_part(plane, known, desired);
        if progress.is_err() {
            self.restart();
        }
        progress
    }

    fn read_part<P: DataPlane + ?Sized>(
        &mut self,
        plane: &mut P,
        known: &mut Known,
        desired: &Desired,
    ) -> Result<Progress, PlaneError> {
        let Some(step) = self.steps.pop_front() else {
            return Ok(Progress::Done(()));
        };
        let mut found = Known::default();
        match step {
            Step::Start | Step::Link | Step::Set(..) | Step::Rules(_) => {
                let part = match step {
                    Step::Start => Part::Start,
                    Step::Set(set, family) => Part::Set(set, family),
                    Step::Rules(family) => Part::Rules(family),
                    _ => Part::Link,
                };
                let progress = plane.read(part, &self.families, &mut self.found)?;
                if progress.done().is_none() {
                    self.chunks = self.chunks.saturating_add(1);
                    self.steps.push_front(step);
                    return Ok(progress);
                }
                found = std::mem::take(&mut self.found);
                if std::mem::take(&mut self.chunks) > 0 && !is_as_known(step, &found, known) {
                    // What changed between its chunks may be among it or not.
                    found = Known::default();
                    while plane
                        .read(part, &self.families, &mut found)?
                        .done()
                        .is_none()
                    {}
                }
                self.compare(step, found, known);
            }
            Step::List => {
                let progress = plane.read(Part::List, &self.families, &mut found)?;
                self.chunks = self.chunks.saturating_add(1);
                for (key, server) in found.virtual_servers {
                    if !has(known, &key, &server.service) {
                        self.news.insert(key, server.service);
                    }
                    self.listed.push(key);
                }
                match progress {
                    Progress::Done(()) => self.compare_list(known),
                    _ => self.steps.push_front(Step::List),
                }
            }
            Step::VirtualServers => {
                let some = self.take_some();
                plane.read(Part::VirtualServers(&some), &self.families, &mut found)?;
                for key in some {
                    let service = found.virtual_servers.get(&key).map(|found| found.service);
                    self.put_service(key, service, known);
                }
                if self.unread.is_empty() {
                    self.unread.extend(known.virtual_servers.keys());
                } else {
                    self.steps.push_front(Step::VirtualServers);
                }
            }
            Step::RealServers => {
                let some = self.take_some();
                let there = some
                    .iter()
                    .filter_map(|key| known.virtual_servers.get_key_value(key));
                found
                    .virtual_servers
                    .extend(there.map(|(key, server)| (*key, Arc::clone(server))));
                plane.read(Part::RealServers(&some), &self.families, &mut found)?;
                for (key, server) in found.virtual_servers {
                    self.compare_real_servers(key, server, known, desired);
                }
                if !self.unread.is_empty() {
                    self.steps.push_front(Step::RealServers);
                }
            }
        }
        Ok(if self.steps.is_empty() {
            Progress::Done(())
        } else {
            Progress::More
        })
    }

    /// Where the kernel was otherwise than known.
    pub(crate) fn into_differing(self) -> Vec<Key> {
        self.differing
    }

    fn take_some(&mut self) -> Vec<ServiceKey> {
        let left = self.unread.len().saturating_sub(AT_ONCE);
        self.unread.split_off(left)
    }

    /// A part that is read at once.
    fn compare(&mut self, step: Step, mut found: Known, known: &mut Known) {
        match step {
            Step::Link => {
                known.link = found.link;
                if found.vips != known.vips {
                    let addresses = found.vips.keys().chain(known.vips.keys());
                    let differs =
                        |address: &&IpAddr| found.vips.get(address) != known.vips.get(address);
                    let differing = addresses.filter(differs).copied().map(Key::Vip);
                    self.differing.extend(differing);
                    known.vips = found.vips;
                }
            }
            Step::Set(set, family) => {
                let found = found.sets.remove(&(set, family));
                let before = known.sets.get(&(set, family));
                if found.as_ref() == before {
                    return;
                }
                let (some, none) = (found.iter().flatten(), before.into_iter().flatten());
                let gone =
                    none.filter(|entry| found.as_ref().is_none_or(|in_it| !in_it.contains(*entry)));
                let came = some.filter(|entry| before.is_none_or(|in_it| !in_it.contains(*entry)));
                let key = |entry: &_| {
                    Key::Member(Member {
                        set,
                        family,
                        entry: *entry,
                    })
                };
                self.differing.extend(gone.chain(came).map(key));
                match found {
                    Some(entries) => known.sets.insert((set, family), entries),
                    None => known.sets.remove(&(set, family)),
                };
            }
            // They are compared with each plan.
            Step::Rules(family) => {
                match found.rules.remove(&family) {
                    Some(rules) => known.rules.insert(family, rules),
                    None => known.rules.remove(&family),
                };
            }
            _ => {}
        }
    }

    /// IPVS resumes a list by index and does not say when the table changed meanwhile, so one that took several chunks may
    /// pass over some and be late with others: what it says otherwise than known is not believed, but asked for.
    fn compare_list(&mut self, known: &mut Known) {
        let mut listed = std::mem::take(&mut self.listed);
        let chunks = std::mem::take(&mut self.chunks);
        let news = std::mem::take(&mut self.news);
        self.lists = self.lists.saturating_add(1);
        listed.sort_unstable();
        listed.dedup();
        if news.is_empty() && listed.len() == known.virtual_servers.len() {
            return;
        }
        let found = news
            .iter()
            .filter(|(key, service)| !has(known, key, service))
            .map(|(key, _)| *key);
        let missing = known.virtual_servers.keys();
        let missing = missing.filter(|key| listed.binary_search(key).is_err());
        let missing = missing.copied();
        let differing: Vec<ServiceKey> = found.chain(missing).collect();
        // Of what is neither listed nor known nothing is heard: the first time two lists must agree.
        let few = differing.len() <= FEW && !known.virtual_servers.is_empty();
        if chunks > 1 && (few || self.lists >= ATTEMPTS) {
            self.unread = differing;
            return;
        }
        if chunks > 1 {
            self.steps.push_front(Step::List);
        }
        for key in differing {
            self.put_service(key, news.get(&key).copied(), known);
        }
    }

    fn put_service(&mut self, key: ServiceKey, found: Option<Service>, known: &mut Known) {
        match (found, known.virtual_servers.get_mut(&key)) {
            (Some(service), Some(server)) if server.service.same_config(&service) => return,
            (Some(service), Some(server)) => Arc::make_mut(server).service = service,
            (Some(service), None) => {
                let server = VirtualServer::new(service, Vec::new());
                known.virtual_servers.insert(key, Arc::new(server));
            }
            (None, Some(_)) => {
                known.virtual_servers.remove(&key);
            }
            (None, None) => return,
        }
        self.differing.push(Key::VirtualServer(key));
    }

    fn compare_real_servers(
        &mut self,
        key: ServiceKey,
        mut found: Arc<VirtualServer>,
        known: &mut Known,
        desired: &Desired,
    ) {
        let Some(before) = known.virtual_servers.get_mut(&key) else {
            return;
        };
        if found == *before {
            return;
        }
        if let Some(wanted) = desired.virtual_server(&key) {
            Arc::make_mut(&mut found).overlook_weights(before, wanted);
        }
        if found != *before {
            *before = found;
            self.differing.push(Key::VirtualServer(key));
        }
    }
}

/// Whether a part that took several chunks is what is known, or nothing was known of it that could have changed.
fn is_as_known(step: Step, found: &Known, known: &Known) -> bool {
    match step {
        Step::Set(set, family) => {
            let before = known.sets.get(&(set, family));
            before.is_none_or(|before| found.sets.get(&(set, family)) == Some(before))
        }
        Step::Link => known.link.is_none() || found.vips == known.vips,
        _ => true,
    }
}

fn has(known: &Known, key: &ServiceKey, service: &Service) -> bool {
    let known = known.virtual_servers.get(key);
    known.is_some_and(|known| known.service.same_config(service))
}
