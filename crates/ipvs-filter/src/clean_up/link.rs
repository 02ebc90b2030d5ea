//! The dummy interface and what is bound to it: what of it may go, and what is left.

use ipvs_model::Vip;

use super::CleanUp;
use super::left::{Holder, Left, Leftover};
use super::operation::CleanUpOperation;
use super::report::refused;

impl CleanUp {
    /// What is bound to the dummy interface and ours.
    pub(super) fn vips(&self) -> impl Iterator<Item = Vip> {
        let link = self.remains.link.iter().filter(|link| link.is_dummy);
        let ownership = self.ownership();
        let ours = move |vip: &&Vip| ownership.may_unbind(vip.address());
        link.flat_map(|link| &link.vips).filter(ours).copied()
    }

    /// What keeps the dummy interface: the first thing on it that is not ours.
    fn foreign_on_link(&self) -> Option<Holder> {
        let link = self.remains.link.as_ref()?;
        if !link.is_dummy {
            return Some(Holder::NotDummy);
        }
        let foreign = |vip: &&Vip| !self.ownership().may_unbind(vip.address());
        let vip = link.vips.iter().find(foreign).map(Vip::address);
        let address = vip.or_else(|| link.networks.first().copied());
        let route = link.routes.first().copied();
        let route = route.map(|(address, prefix)| Holder::Route(address, prefix));
        address.map(Holder::Address).or(route)
    }

    /// Whether it is there, of the right kind, and nothing of others is on it.
    pub(super) fn is_link_ours(&self) -> bool {
        self.remains.link.is_some() && self.foreign_on_link().is_none()
    }

    pub(super) fn left_of_link(&self, left: &mut Vec<Left>) {
        if self.remains.link.is_none() {
            return;
        }
        for vip in self.vips() {
            let unbind = |operation: &CleanUpOperation| match operation {
                CleanUpOperation::UnbindVip { vip: of } => *of == vip,
                CleanUpOperation::DeleteLink => true,
                _ => false,
            };
            left.push(Left {
                what: Leftover::Vip(vip),
                holder: refused(self.refusal(unbind)),
            });
        }
        let delete =
            |operation: &CleanUpOperation| matches!(operation, CleanUpOperation::DeleteLink);
        let holder = self.foreign_on_link();
        left.push(Left {
            what: Leftover::Link,
            holder: holder.unwrap_or_else(|| refused(self.refusal(delete))),
        });
    }
}
