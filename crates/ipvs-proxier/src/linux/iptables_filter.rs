//! kube-proxy's filter: sets of ipset by netlink, chains by `iptables-restore`.

use ipvs_codec::Family;
use ipvs_filter::FilterKind;
use ipvs_filter::iptables::{filter_entry, set_entry, set_name, set_spec};
use ipvs_model::{FilterSet, FilterShape, Known, Operation};
use ipvs_netfilter::ipset;
use ipvs_netlink::{IpSetReader, IpSets};

use super::filter::Filter;
use super::iptables::Iptables;
use super::observe::progress;
use super::saving::Saving;
use super::{CHUNK, take};
use crate::control::Control;
use crate::dataplane::{Outcome, Progress};
use crate::error::PlaneError;

#[derive(Debug)]
pub(super) struct IptablesFilter {
    iptables: Iptables,
    sets: IpSets,
    /// A socket of its own: what it reads takes several calls.
    reader: IpSetReader,
    /// Rules that are on their way.
    saving: Option<Saving>,
}

impl IptablesFilter {
    pub(super) fn open(iptables: Iptables) -> Result<Self, PlaneError> {
        Ok(Self {
            iptables,
            sets: IpSets::open()?,
            reader: IpSetReader::open()?,
            saving: None,
        })
    }
}

impl Filter for IptablesFilter {
    fn kind(&self) -> FilterKind {
        FilterKind::Iptables
    }

    fn families(&self) -> &[Family] {
        self.iptables.families()
    }

    fn random_fully(&self) -> bool {
        self.iptables.random_fully()
    }

    fn is_legacy(&self) -> bool {
        self.iptables.is_legacy()
    }

    fn ipsets(&mut self) -> Option<&mut IpSets> {
        Some(&mut self.sets)
    }

    fn hurry(&mut self) {
        self.iptables.hurry();
    }

    /// It starts over with its next call, also where the rest of what it had begun could not be read.
    fn restart_sets(&mut self) {
        let _ = self.reader.restart();
    }

    fn restart_rules(&mut self) {
        self.saving = None;
    }

    fn create_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError> {
        Ok(self.sets.create(&set_spec(set, family))?)
    }

    fn destroy_set(&mut self, set: FilterSet, family: Family) -> Result<(), PlaneError> {
        Ok(self.sets.destroy(set_name(set, family))?)
    }

    fn write(&mut self, shape: &FilterShape, control: &Control) -> Result<(), PlaneError> {
        // What began to be read before is of no use any more.
        self.saving = None;
        self.iptables.write(shape, control)
    }

    fn apply(&mut self, operations: &[Operation], outcomes: &mut Vec<Outcome>) {
        for some in operations.chunks(CHUNK) {
            let requests: Vec<ipset::Request<'_>> = some.iter().filter_map(request).collect();
            take(self.sets.batch(&requests), outcomes);
        }
    }

    fn read_set(
        &mut self,
        set: FilterSet,
        family: Family,
        known: &mut Known,
    ) -> Result<Progress, PlaneError> {
        let wanted = set_spec(set, family);
        let chunk = self.reader.next_chunk(wanted.name)?;
        let Some(found) = chunk.head else {
            return Ok(progress(chunk.is_last));
        };
        if let Some(difference) = found.difference(&wanted) {
            known.unusable.insert((set, family), difference.to_string());
            return Ok(progress(chunk.is_last));
        }
        let entries = known.sets.entry((set, family)).or_default();
        let of_set = |entry| filter_entry(set, family, entry);
        entries.extend(chunk.entries.into_iter().filter_map(of_set));
        Ok(progress(chunk.is_last))
    }

    /// Alone: beside other work on the same CPU a process would take it away for a whole turn, which is longer than a
    /// change should wait.
    fn read_rules(
        &mut self,
        family: Family,
        found: &mut Known,
        control: &Control,
    ) -> Result<Progress, PlaneError> {
        let saving = match self.saving.take() {
            Some(saving) if saving.family() == family => saving,
            _ => self.iptables.start_save(family, control)?,
        };
        if let Some(filter) = self.iptables.finish_save(&saving)? {
            found.filters.insert(family, filter);
            return Ok(Progress::Done(()));
        }
        self.saving = Some(saving);
        Ok(Progress::Waiting)
    }
}

fn request(operation: &Operation) -> Option<ipset::Request<'_>> {
    match operation {
        Operation::AddMember { member } => Some(ipset::Request::Add(
            set_name(member.set(), member.family()),
            set_entry(member),
        )),
        Operation::RemoveMember { member } => Some(ipset::Request::Delete(
            set_name(member.set(), member.family()),
            set_entry(member),
        )),
        _ => None,
    }
}
