//! A simulated kernel that refuses some operations.

use std::net::IpAddr;

use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Config, Known, Operation};
use ipvs_netfilter::conntrack::Flow;
use ipvs_netlink::{Cause, KernelError};
use ipvs_proxier::{
    Connections, Control, DataPlane, KernelEvent, Outcome, Part, PlaneError, Progress, Signs,
    Simulated,
};

const EBUSY: i32 = 16;

/// What happens before a part is read, or instead.
pub(crate) type Hook = Box<dyn FnMut(&mut Simulated, Part<'_>) -> Option<Progress>>;

/// A kernel that refuses some operations.
#[derive(Default)]
pub(crate) struct Refusing {
    pub(crate) kernel: Simulated,
    /// Calls that read something.
    pub(crate) reads: usize,
    pub(crate) refuses: Option<fn(&Operation) -> bool>,
    /// Instead of refusing it says nothing.
    pub(crate) is_silent: bool,
    /// Somebody else holds the lock of iptables.
    pub(crate) is_locked: bool,
    /// So many outcomes of the next operations are lost.
    pub(crate) loses: usize,
    /// Parts that cannot be read.
    pub(crate) unreadable: Option<fn(Part<'_>) -> bool>,
    /// Reading rules takes for ever.
    pub(crate) is_waiting: bool,
    /// What others do just before rules are written the next time.
    pub(crate) meanwhile: Option<fn(&mut Known)>,
    /// Something happens before a part is read, or an answer is not there yet.
    pub(crate) hook: Option<Hook>,
    /// What becomes of the signs.
    pub(crate) blinded: Option<fn(Signs) -> Result<Signs, PlaneError>>,
}

impl DataPlane for Refusing {
    fn read(
        &mut self,
        part: Part<'_>,
        families: &[Family],
        found: &mut Known,
    ) -> Result<Progress, PlaneError> {
        self.reads += 1;
        if self.unreadable.is_some_and(|unreadable| unreadable(part)) {
            return Err(Cause::Lost.into());
        }
        if let Some(hook) = &mut self.hook
            && let Some(progress) = hook(&mut self.kernel, part)
        {
            return Ok(progress);
        }
        if self.is_waiting && matches!(part, Part::Rules(_)) {
            return Ok(Progress::Waiting);
        }
        self.kernel.read(part, families, found)
    }

    fn listen(&mut self, config: &Config, control: &Control) -> Result<(), PlaneError> {
        self.kernel.listen(config, control)
    }

    fn is_listening(&self) -> bool {
        self.kernel.is_listening()
    }

    fn kernel_events(&mut self) -> Result<Vec<KernelEvent>, PlaneError> {
        self.kernel.kernel_events()
    }

    fn signs(&mut self) -> Result<Signs, PlaneError> {
        let signs = self.kernel.signs()?;
        let blinded = self.blinded.unwrap_or(Ok);
        blinded(signs)
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

    fn flows(&mut self, family: Family) -> Result<Vec<Flow>, PlaneError> {
        self.kernel.flows(family)
    }

    fn forget(&mut self, flows: &[Flow]) -> Vec<Outcome> {
        self.kernel.forget(flows)
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let mut operations_of_rules = operations.iter().filter(|operation| NO_RULES(operation));
        if operations_of_rules.next().is_some()
            && let Some(meanwhile) = self.meanwhile.take()
        {
            meanwhile(self.kernel.state_mut());
        }
        let one = |operation: &Operation| match self.refuses {
            Some(refuses) if refuses(operation) => Err(Box::new(match operation {
                Operation::WriteRules { .. } if self.is_locked => PlaneError::Locked {
                    path: "/run/xtables.lock".into(),
                    holder: None,
                },
                Operation::WriteRules { .. } => PlaneError::Program {
                    program: "iptables-restore".into(),
                    reason: "exit status: 2".into(),
                },
                _ if self.is_silent => Cause::Lost.into(),
                _ => Cause::from(KernelError::new(EBUSY)).into(),
            })),
            _ => self.kernel.apply(std::slice::from_ref(operation)).remove(0),
        };
        let mut outcomes: Vec<Outcome> = operations.iter().map(one).collect();
        let lost = std::mem::take(&mut self.loses);
        outcomes.truncate(outcomes.len().saturating_sub(lost));
        outcomes
    }

    fn connections(&mut self, keys: &[ServiceKey]) -> Result<Vec<Connections>, PlaneError> {
        self.kernel.connections(keys)
    }
}

pub(crate) const NO_RULES: fn(&Operation) -> bool =
    |operation| matches!(operation, Operation::WriteRules { .. });
