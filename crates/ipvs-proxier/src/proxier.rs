mod draining;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use ipvs_codec::{Family, Protocol, Scheduler, ServiceKey};
use ipvs_model::input::Change;
use ipvs_model::{Desired, Executed, HeldBack, Key, Known, Model, Operation, Plan};
use ipvs_netfilter::conntrack::Flow;
use tracing::{debug, info, warn};

use crate::dataplane::{DataPlane, Progress};
use crate::error::{Failure, PlaneError};
use crate::reading::{PAUSE, Reading, observe};
use crate::report::Report;
use crate::told::Told;

use self::start::Start;

const ENOENT: i32 = 2;

/// What is known of the data plane's state.
#[derive(Debug, Default)]
enum Knowledge {
    /// It must be read before anything is concluded from it.
    #[default]
    None,
    /// Parts of it, while it is read for the first time.
    Partial(Known),
    All(Known),
}

/// Keeps a data plane equal to a model.
///
/// A sync after a change writes what the change needs and reads nothing. The state is read at the start, by
/// [`verify`](Self::verify), and again after a failure that leaves unknown what was done: one without an error number, or of
/// link, sets or rules.
///
/// ```
/// use ipvs_model::input::Manifest;
/// use ipvs_model::{Config, Model};
/// use ipvs_proxier::{Proxier, Simulated};
///
/// let mut proxier = Proxier::new(Model::new(Config::default()), Simulated::default());
/// let report = proxier.sync()?;
/// assert!(report.failures.is_empty());
/// assert!(proxier.sync()?.plan.is_empty());
/// # Ok::<(), ipvs_proxier::PlaneError>(())
/// ```
#[derive(Debug)]
pub struct Proxier<P> {
    model: Model,
    plane: P,
    known: Knowledge,
    /// A verification that is going on.
    reading: Option<Reading>,
    /// A start that is going on after it.
    start: Option<Start>,
    /// What the steps of both did so far.
    so_far: Report,
    /// Virtual servers that may have draining real servers, so that a change need not look at all of them, and since
    /// when these were seen.
    draining: BTreeMap<ServiceKey, BTreeMap<SocketAddr, Instant>>,
    /// Those of them that a look which is going on has not come to yet, the next one last.
    undrained: Vec<ServiceKey>,
    /// Families with endpoints of UDP that changed: their tracked flows are looked through after a whole sync.
    flows_due: BTreeSet<Family>,
    told: Told,
    /// Whether the model has the node's addresses, which every service depends on.
    prepared: bool,
    /// What operations concerned that failed, or were held back by others.
    undone: Vec<Key>,
}

impl<P: DataPlane> Proxier<P> {
    /// A proxier that has not read anything yet.
    pub fn new(model: Model, plane: P) -> Self {
        Self {
            model,
            plane,
            known: Knowledge::None,
            reading: None,
            start: None,
            so_far: Report::default(),
            draining: BTreeMap::new(),
            undrained: Vec::new(),
            flows_due: BTreeSet::new(),
            told: Told::default(),
            prepared: false,
            undone: Vec::new(),
        }
    }

    /// The data plane.
    pub const fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    /// What should be there, as of the last sync.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        self.model.desired()
    }

    /// The state as far as it is known.
    #[must_use]
    pub const fn known(&self) -> Option<&Known> {
        match &self.known {
            Knowledge::All(known) => Some(known),
            _ => None,
        }
    }

    fn take_known(&mut self) -> Option<Known> {
        match std::mem::take(&mut self.known) {
            Knowledge::All(known) => Some(known),
            less => {
                self.known = less;
                None
            }
        }
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Takes in a change; the next sync applies it.
    pub fn change(&mut self, change: Change) {
        self.model.change(change);
    }

    /// Does what can be done of the first sync while a source is still listing; the kernel is not changed. O(change).
    ///
    /// # Errors
    /// [`PlaneError`] when the node's addresses cannot be read.
    pub fn prepare(&mut self) -> Result<(), PlaneError> {
        if !self.prepared {
            self.look_around()?;
            self.prepared = true;
        }
        self.model.compile_ahead();
        Ok(())
    }

    /// Applies what changed since the last sync, and tries again what was refused. O(change); everything is read and
    /// compared the first time, and where it is not known what a failure left.
    ///
    /// # Errors
    /// [`PlaneError`] when the state must be read and cannot be. What was applied stays.
    pub fn sync(&mut self) -> Result<Report, PlaneError> {
        match self.take_known() {
            Some(known) => {
                let plan = self.model.plan(&known);
                let report = self.apply(plan, known);
                Ok(self.look_back(report))
            }
            None => self.verify(),
        }
    }

    /// Reads everything, compares, and repairs what differs, but for weights that others set. What cannot be read is in
    /// [`Report::unread`]; all else is repaired. O(everything). Waits for processes.
    ///
    /// # Errors
    /// [`PlaneError`] when the node's addresses cannot be read, or the first time anything; nothing is then changed.
    pub fn verify(&mut self) -> Result<Report, PlaneError> {
        self.reading = None;
        let mut whole = std::mem::take(&mut self.so_far);
        loop {
            let (progress, report) = self.step()?;
            whole.append(report);
            match progress {
                Progress::More => {}
                Progress::Waiting => std::thread::sleep(PAUSE),
                Progress::Done(()) => return Ok(whole),
            }
        }
    }

    /// Goes on with a verification, or begins one: reads a part of the state and compares it with what is known of it.
    /// After the last one it repairs what differs, and returns what it did; where nothing was there, it brings in some
    /// services with each call. Changes can be synced in between. O(part), and O(differences) at the end.
    ///
    /// # Errors
    /// As [`verify`](Self::verify); the next call begins anew.
    pub fn verify_some(&mut self) -> Result<Progress<Report>, PlaneError> {
        let step = self.step();
        let mut report = std::mem::take(&mut self.so_far);
        let (progress, next) = step?;
        report.count_and_append(next);
        if progress == Progress::Done(()) {
            return Ok(Progress::Done(report));
        }
        self.so_far = report;
        Ok(match progress {
            Progress::Waiting => Progress::Waiting,
            _ => Progress::More,
        })
    }

    /// One step of a verification, or of the start after it.
    fn step(&mut self) -> Result<(Progress, Report), PlaneError> {
        if self.start.is_some()
            && let Some(known) = self.take_known()
        {
            return Ok(self.bring_in_some(known));
        }
        if self.reading.as_ref().is_none_or(Reading::is_at_start) {
            self.look_around()?;
        }
        let begun = self.reading.take();
        let mut reading =
            begun.unwrap_or_else(|| Reading::everything(&self.model.config().families));
        let (mut known, is_first) = match std::mem::take(&mut self.known) {
            Knowledge::All(known) => (known, false),
            Knowledge::Partial(known) => (known, true),
            Knowledge::None => (Known::default(), true),
        };
        let progress = reading.read_on(&mut self.plane, &mut known, self.model.desired());
        if is_first && !reading.is_complete() {
            // What is not known would look as if it were not there.
            let unread = reading.finish().unread.into_iter().next();
            return unread.map_or_else(
                || Ok((Progress::More, Report::default())),
                |unread| Err(*unread.error),
            );
        }
        if progress == Progress::Done(()) {
            return Ok(if is_first {
                self.begin(known)
            } else {
                let findings = reading.finish();
                self.told.unread(&findings.unread);
                let mut report = self.repair(findings.differing, known);
                report.unread = findings.unread;
                (Progress::Done(()), self.look_back(report))
            });
        }
        self.reading = Some(reading);
        self.known = if is_first {
            Knowledge::Partial(known)
        } else {
            Knowledge::All(known)
        };
        Ok((progress, Report::default()))
    }

    /// Of all that there was to do: after a success failures are new again.
    fn look_back(&mut self, report: Report) -> Report {
        if report.is_success() {
            self.told.succeeded();
        }
        report
    }

    /// What the node itself has that services depend on.
    fn look_around(&mut self) -> Result<(), PlaneError> {
        let addresses = self.plane.node_addresses()?;
        self.model.change(Change::NodeAddresses(addresses));
        if self.model.config().never_bind.gateways {
            let gateways = self.plane.gateways()?;
            self.model.change(Change::Gateways(gateways));
        }
        Ok(())
    }

    /// Puts right what is otherwise than it was known. O(differences).
    fn repair(&mut self, differing: Vec<Key>, known: Known) -> Report {
        let virtual_server = |key: &Key| match key {
            Key::VirtualServer(key) => Some(*key),
            _ => None,
        };
        let found: Vec<ServiceKey> = differing.iter().filter_map(virtual_server).collect();
        let plan = self.model.plan_repair(differing, &known);
        for key in found {
            let mut draining = known.draining_of(&key, self.model.desired());
            if draining.next().is_some() {
                self.draining.entry(key).or_default();
            }
        }
        self.apply(plan, known)
    }

    /// Removes everything that a proxier makes, and every virtual server of the network namespace.
    ///
    /// # Errors
    /// [`PlaneError`] when the state cannot be read; nothing is then removed.
    pub fn clean_up(&mut self) -> Result<Report, PlaneError> {
        let known = observe(&mut self.plane, &self.model.config().families)?;
        self.start = None;
        let plan = self.model.plan_clean_up(&known);
        Ok(self.apply(plan, known))
    }

    /// Makes the kernel forget flows of UDP to endpoints that are gone: without an end of their own they would go there
    /// for as long as packets come. After the real servers have left, so that none begins again. O(tracked flows), and
    /// only after endpoints of UDP changed.
    fn forget_stale_flows(&mut self) {
        for family in std::mem::take(&mut self.flows_due) {
            let stale: Vec<Flow> = match self.plane.flows(family) {
                Ok(flows) => {
                    let desired = self.model.desired();
                    let stale = flows.into_iter().filter(|flow| desired.is_stale(flow));
                    stale.collect()
                }
                Err(problem) => {
                    warn!("{problem}; flows of UDP to endpoints that are gone may go on");
                    continue;
                }
            };
            let outcomes = self.plane.forget(&stale);
            for (flow, outcome) in stale.iter().zip(&outcomes) {
                match outcome {
                    Ok(()) => debug!("forget flow {flow:?}"),
                    // It has ended by itself.
                    Err(error) if error.errno() == Some(ENOENT) => {}
                    Err(error) => warn!("forget flow {flow:?}: {error}"),
                }
            }
            if !stale.is_empty() {
                info!(
                    flows = stale.len(),
                    "forgot flows to endpoints that are gone"
                );
            }
        }
    }

    /// Carries out a plan: all that there is to do, or one of a start.
    fn apply(&mut self, plan: Plan, mut known: Known) -> Report {
        let mut held = HeldBack::default();
        if let Some(start) = &mut self.start {
            held = std::mem::take(&mut start.held);
        }
        let report = self.carry_out(plan, &mut known, &mut held);
        self.learn(&report, &mut known);
        // What the kernel refuses it does not do. What any other failure left behind is not known.
        let is_refusal = |failure: &Failure| failure.error.errno().is_some();
        let is_unsure = !report.is_sound() || !report.failures.iter().all(is_refusal);
        if let Some(start) = &mut self.start {
            start.held = held;
            start.is_unsure |= is_unsure;
            self.known = Knowledge::All(known);
        } else {
            self.settle(known, is_unsure);
        }
        report
    }

    /// Carries out a plan; `held` has what earlier plans of the same start could not do. O(plan).
    fn carry_out(&mut self, plan: Plan, known: &mut Known, held: &mut HeldBack) -> Report {
        let mut execution = plan.execute(std::mem::take(held));
        let mut differ = None;
        while let Some(stage) = execution.next_stage() {
            let outcomes = self.plane.apply(stage);
            differ = execution.done(outcomes, known).err().or(differ);
        }
        let Executed {
            tried,
            outcomes,
            unaccounted,
            undone,
            held: still_held,
        } = execution.finish();
        *held = still_held;
        self.undone.extend(undone);
        let all = outcomes.iter().all(Result::is_ok);
        let mut failures = Vec::new();
        for (operation, outcome) in tried.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    debug!("{operation}");
                    if all {
                        self.model.applied(operation, known);
                    } else {
                        known.applied(operation);
                    }
                    self.note_drain(operation);
                    self.flows_due.extend(changed_udp(operation));
                }
                Err(error) => failures.push(Failure {
                    operation: operation.clone(),
                    error,
                }),
            }
        }
        if let Some(differ) = differ {
            let lost = unaccounted.into_iter().map(|operation| Failure {
                operation,
                error: Box::new(differ.into()),
            });
            failures.extend(lost);
        }
        Report::new(tried, failures)
    }

    /// Keeps what was learned for the next plan.
    fn learn(&mut self, Report { plan, failures, .. }: &Report, known: &mut Known) {
        self.told.problems(&mut self.model);
        // The node's own scheduler was probed at start; others come from annotations.
        let own = self.model.config().scheduler;
        let missing = failures.iter().filter_map(missing_scheduler);
        for scheduler in missing.filter(|missing| *missing != own) {
            self.model.change(Change::NoScheduler(scheduler));
        }
        self.told.failures(failures);
        self.model.share(plan, known);
    }

    /// All that there was to do was tried: is what is known of the state good for the next sync?
    fn settle(&mut self, known: Known, is_unsure: bool) {
        let undone = std::mem::take(&mut self.undone);
        if is_unsure {
            self.reading = None;
            self.known = Knowledge::None;
            return;
        }
        self.model.touch(undone);
        self.known = Knowledge::All(known);
        self.forget_stale_flows();
    }
}

/// The scheduler that a virtual server could not be made or set with (`ENOENT`).
fn missing_scheduler(failure: &Failure) -> Option<Scheduler> {
    match &failure.operation {
        Operation::AddVirtualServer { service } | Operation::SetVirtualServer { service } => {
            (failure.error.errno() == Some(ENOENT)).then_some(service.scheduler)
        }
        _ => None,
    }
}

/// The family of a virtual server of UDP whose real servers an operation changed.
fn changed_udp(operation: &Operation) -> Option<Family> {
    let (Operation::AddRealServer {
        virtual_server: key,
        ..
    }
    | Operation::RemoveRealServer {
        virtual_server: key,
        ..
    }) = operation
    else {
        return None;
    };
    (key.protocol() == Some(Protocol::UDP)).then(|| key.family())
}
