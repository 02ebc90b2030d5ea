use ipvs_codec::{Family, ServiceKey};
use ipvs_model::{Known, KubeSet, Operation};

use crate::dataplane::{DataPlane, Part};
use crate::error::PlaneError;

/// Virtual servers whose real servers are read at once: a request each.
const AT_ONCE: usize = 16;

/// The state as it is being read, part after part. What is done to the kernel meanwhile is told to it: a part that was
/// read already learns of it, one that is still to come has it anyway.
#[derive(Debug)]
pub(crate) struct Observation {
    families: Vec<Family>,
    known: Known,
    /// What is left to read, the next one last.
    steps: Vec<Step>,
    /// Virtual servers whose real servers were not read yet.
    unread: Vec<ServiceKey>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Link,
    VirtualServers,
    RealServers,
    Set(KubeSet, Family),
    Rules(Family),
}

impl Observation {
    /// One of which nothing is read.
    pub(crate) fn new(families: &[Family]) -> Self {
        let of_family = |family: &Family| {
            let family = *family;
            let sets = KubeSet::ALL
                .into_iter()
                .map(move |set| Step::Set(set, family));
            sets.chain([Step::Rules(family)])
        };
        let first = [Step::Link, Step::VirtualServers, Step::RealServers];
        let steps = first.into_iter().chain(families.iter().flat_map(of_family));
        let mut steps: Vec<Step> = steps.collect();
        steps.reverse();
        Self {
            families: families.to_vec(),
            known: Known::default(),
            steps,
            unread: Vec::new(),
        }
    }

    /// Reads the next part; whether it was the last.
    pub(crate) fn read_on<P: DataPlane + ?Sized>(
        &mut self,
        plane: &mut P,
    ) -> Result<bool, PlaneError> {
        let Some(step) = self.steps.pop() else {
            return Ok(true);
        };
        let some;
        let part = match step {
            Step::Link => Part::Link,
            Step::VirtualServers => Part::VirtualServers,
            Step::Set(set, family) => Part::Set(set, family),
            Step::Rules(family) => Part::Rules(family),
            Step::RealServers => {
                let left = self.unread.len().saturating_sub(AT_ONCE);
                some = self.unread.split_off(left);
                if left > 0 {
                    self.steps.push(Step::RealServers);
                }
                Part::RealServers(&some)
            }
        };
        plane.read(part, &self.families, &mut self.known)?;
        if matches!(step, Step::VirtualServers) {
            self.unread.extend(self.known.virtual_servers.keys());
        }
        Ok(self.steps.is_empty())
    }

    /// An operation was done meanwhile.
    pub(crate) fn applied(&mut self, operation: &Operation) {
        self.known.applied(operation);
    }

    /// What was read.
    pub(crate) fn into_known(self) -> Known {
        self.known
    }
}
