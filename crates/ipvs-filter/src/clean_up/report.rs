//! What is left of each part after a clean-up, and what holds it.

use std::fmt;
use std::ops::Deref;

use ipvs_netfilter::iptables::Table;
use serde::Serialize;

use super::left::{Holder, Left, Leftover};
use super::operation::CleanUpOperation;
use super::remains::{CleanUpPart, Unreadable};
use super::{CleanUp, Refusal};
use crate::iptables::set_name;

/// The operations of a clean-up, in order.
///
/// Its text has one line for each operation; its JSON is a list of objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct CleanUpPlan(Vec<CleanUpOperation>);

impl Deref for CleanUpPlan {
    type Target = [CleanUpOperation];

    fn deref(&self) -> &[CleanUpOperation] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a CleanUpPlan {
    type Item = &'a CleanUpOperation;
    type IntoIter = std::slice::Iter<'a, CleanUpOperation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for CleanUpPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

/// What clean-up did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CleanUpReport {
    /// The operations that were done, in order.
    pub plan: CleanUpPlan,
    /// What is still there, each with what holds it.
    pub left: Vec<Left>,
    /// Parts that this machine does not have, and why that is believed.
    pub absent: Vec<(CleanUpPart, String)>,
}

impl CleanUp {
    /// What was done so far, and what is left.
    pub fn report(&self) -> CleanUpReport {
        let absent = self
            .unread
            .iter()
            .filter_map(|(part, unread)| match unread {
                Unreadable::Absent(reason) => Some((*part, reason.clone())),
                Unreadable::Failed(_) => None,
            });
        CleanUpReport {
            plan: CleanUpPlan(self.done.clone()),
            left: self.left(),
            absent: absent.collect(),
        }
    }

    fn left(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for (part, unread) in &self.unread {
            if let Unreadable::Failed(reason) = unread {
                left.push(Left {
                    what: Leftover::Part(*part),
                    holder: Holder::NotRead(reason.clone()),
                });
            }
        }
        for (family, reason) in &self.remains.unread_rules {
            left.push(Left {
                what: Leftover::Part(CleanUpPart::Rules(*family)),
                holder: Holder::NotRead(reason.clone()),
            });
        }
        for key in self.virtual_servers() {
            let refusal = self.refusal(|operation| match operation {
                CleanUpOperation::FlushVirtualServers => true,
                CleanUpOperation::RemoveVirtualServer { virtual_server } => *virtual_server == key,
                _ => false,
            });
            left.push(Left {
                what: Leftover::VirtualServer(key),
                holder: refused(refusal),
            });
        }
        self.left_of_link(&mut left);
        for (family, saved) in &self.remains.rules {
            for table in Table::ALL {
                self.left_of_table(*family, saved, table, &mut left);
            }
        }
        for (table, family) in &self.remains.nftables {
            left.push(Left {
                what: Leftover::NftablesTable(*table, *family),
                holder: self.what_holds_table(*table, *family),
            });
        }
        let mut sets: Vec<_> = self.sets.keys().copied().collect();
        sets.sort_unstable();
        for (set, family) in sets {
            left.push(Left {
                what: Leftover::Set(set_name(set, family)),
                holder: self.what_holds_set(set, family),
            });
        }
        left
    }

    /// Why the last operation of some was refused.
    pub(super) fn refusal(&self, of: impl Fn(&CleanUpOperation) -> bool) -> Option<&Refusal> {
        let mut refused = self.refused.iter().rev();
        let found = refused.find(|(operation, _)| of(operation));
        found.map(|(_, refusal)| refusal)
    }
}

pub(super) fn refused(refusal: Option<&Refusal>) -> Holder {
    let text = refusal.map(|refusal| refusal.text.clone());
    // Nobody refused it: others make it anew.
    Holder::Refused(text.unwrap_or_else(|| "it was made again meanwhile".to_owned()))
}
