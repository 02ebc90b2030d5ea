//! While the kernel is known: changes are synced, real servers drain, a resync goes on part by part.

use std::collections::BTreeMap;
use std::time::Instant;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::Known;

use super::applying::Unfinished;
use super::draining::Limits;
use super::repairing::Repair;
use super::state::{Resync, Running, State};
use super::timing::Due;
use super::{Controller, End, Step};
use crate::activity::Activity;
use crate::clock::Clock;
use crate::dataplane::{DataPlane, Part, Progress};
use crate::error::PlaneError;
use crate::reading::{Lane, PAUSE, Reading, Section};
use crate::report::{Report, Tally};
use crate::step_error::StepError;

impl Running {
    /// Whether a resync that is going on gives way in that lane no more until it has read the section that it is in.
    fn resync_keeps(&self, lane: Lane) -> bool {
        let resync = self.resync.as_ref();
        resync.is_some_and(|resync| resync.reading.keeps(lane))
    }

    /// A resync that is going on reads everything that it has read already once more.
    pub(super) fn restart_resync(&mut self, families: &[Family]) {
        if let Some(resync) = &mut self.resync {
            for section in Section::all(families) {
                resync.reading.add(section);
            }
        }
        for reread in self.rereads.iter_mut() {
            reread.is_after_resync = false;
        }
    }
}

impl Controller {
    pub(super) fn go_on<P: DataPlane + ?Sized>(
        &mut self,
        running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now().steady;
        let reread = self.next_reread(&running);
        let next_reread = reread.map(|(due, _)| due);
        // What it reads is more than canaries tell; while it waits for rules they have their turn.
        let resync = running.resync.as_ref();
        let is_reading = resync.is_some_and(|resync| resync.reading.reads_rules_of().is_none());
        let next_drain = self.drains.next_look();
        match self.timing.due(now, next_drain, next_reread, is_reading) {
            Due::Wait(until) => (State::Running(running), Step::Wait(until)),
            Due::Sync => self.sync(running, clock, plane),
            Due::Drain => self.drain(running, clock, plane),
            Due::Reread => {
                let lane = reread.map_or(Lane::Tables, |(_, lane)| lane);
                self.reread(running, lane, clock, plane)
            }
            Due::Canaries => self.ask_canaries(running, clock, plane),
            Due::Resync if is_in_the_way(&running) => {
                (State::Running(running), Step::Wait(next_reread))
            }
            Due::Resync => self.resync(running, clock, plane),
        }
    }

    /// When what others have changed is read again, and in which lane.
    fn next_reread(&self, running: &Running) -> Option<(Instant, Lane)> {
        let next = |lane| {
            let due = match running.rereads.of(lane) {
                Some(reread) => reread.due,
                None if running.resync_keeps(lane) => return None,
                None => self.concerns.next(lane)?,
            };
            Some((due, lane))
        };
        let all = Lane::ALL.into_iter().filter_map(next);
        all.min_by_key(|(due, _)| *due)
    }

    /// Applies what changed, and tries again what was refused. Where foreign virtual servers are kept, new ones are read
    /// before. O(change).
    fn sync<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        let new = self.model.virtual_servers_to_read();
        let unread = read_new(&new, &mut running.known, plane);
        let plan = self.model.plan(&running.known);
        let mut unfinished = Unfinished::default();
        let mut report = self.apply(plan, &mut running.known, &mut unfinished, now, plane);
        if let Err(error) = unread {
            self.failed(StepError::VirtualServers(error), &mut report);
        }
        let end = End {
            running: Some(running),
            unfinished,
            tally: Tally::new(now),
            report,
            drift: BTreeMap::new(),
        };
        let step = self.end(Activity::Sync, end, clock, plane);
        let (drains, limits) = self.drains_and_limits();
        // A Service may have been given another deadline.
        drains.keep_deadlines(&limits, now.steady);
        step
    }

    /// Looks at some virtual servers with draining real servers, and removes those that have no connections left or whose
    /// time is over. A read for each virtual server.
    fn drain<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        let keys = self.drains.next();
        let mut unfinished = Unfinished::default();
        let (report, is_over) = match plane.connections(&keys) {
            Ok(connections) => {
                let (drains, limits) = self.drains_and_limits();
                let over = drains.over(&keys, &connections, &limits, &running.known, now.steady);
                let plan = self.model.plan_drained(&over);
                let report = self.apply(plan, &mut running.known, &mut unfinished, now, plane);
                (report, !self.drains.goes_on())
            }
            Err(error) => {
                let mut report = Report::default();
                self.failed(StepError::Connections(error), &mut report);
                (report, true)
            }
        };
        let end = End {
            running: Some(running),
            unfinished,
            tally: Tally::new(now),
            report,
            drift: BTreeMap::new(),
        };
        let step = self.end(Activity::Drain, end, clock, plane);
        if is_over {
            let pace = self.timing.pace().drain;
            let (drains, limits) = self.drains_and_limits();
            drains.ended(pace, &limits, now.steady);
        }
        step
    }

    /// Reads a part of the kernel's state and compares it with what is known; after the last one it repairs what differs.
    /// O(part), and at the end O(differences).
    fn resync<P: DataPlane + ?Sized>(
        &mut self,
        mut running: Running,
        clock: &dyn Clock,
        plane: &mut P,
    ) -> (State, Step) {
        let now = clock.now();
        let mut resync = running.resync.take().unwrap_or_else(|| {
            Box::new(Resync {
                tally: Tally::new(now),
                reading: Reading::everything(&self.model.config().families),
                errors: Vec::new(),
                signs: None,
            })
        });
        if resync.reading.is_at_start() {
            // Where they cannot be read, those known before stay.
            resync.errors.extend(self.look_around(plane).err());
        }
        let Resync { reading, signs, .. } = &mut *resync;
        let (progress, _) = self.read_on(reading, signs, &mut running.known, plane);
        let step = match progress {
            Progress::More => Step::More,
            Progress::Waiting => Step::Wait(now.steady.checked_add(PAUSE)),
            Progress::Done(()) => {
                let repair = Repair {
                    activity: Activity::Resync,
                    tally: resync.tally,
                    findings: resync.reading.finish(),
                    errors: resync.errors,
                    sections: Vec::new(),
                };
                return self.repair(running, repair, clock, plane);
            }
        };
        running.resync = Some(resync);
        (State::Running(running), step)
    }

    fn drains_and_limits(&mut self) -> (&mut super::Drains, Limits<'_>) {
        let limits = Limits {
            desired: self.model.desired(),
            node: self.model.config().drain_deadline,
        };
        (&mut self.drains, limits)
    }
}

/// Whether a resync waits for what others have changed to be read again.
fn is_in_the_way(running: &Running) -> bool {
    let section = match &running.resync {
        Some(resync) => resync.reading.next_section(),
        None => Some(Section::VirtualServers),
    };
    section.is_some_and(|section| running.rereads.of(section.lane()).is_some())
}

/// Virtual servers that were not there when everything was read, and may be now. A read or two for each.
fn read_new<P: DataPlane + ?Sized>(
    keys: &[ServiceKey],
    known: &mut Known,
    plane: &mut P,
) -> Result<(), PlaneError> {
    let is_unknown = |key: &&ServiceKey| !known.virtual_servers.contains_key(key);
    let keys: Vec<ServiceKey> = keys.iter().filter(is_unknown).copied().collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut found = Known::default();
    let _ = plane.read(Part::VirtualServers(&keys), &Family::ALL, &mut found)?;
    let keys: Vec<ServiceKey> = found.virtual_servers.keys().copied().collect();
    let _ = plane.read(Part::RealServers(&keys), &Family::ALL, &mut found)?;
    known.virtual_servers.extend(found.virtual_servers);
    Ok(())
}
