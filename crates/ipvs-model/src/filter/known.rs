use std::collections::{BTreeMap, BTreeSet};

use super::{AddressAndPort, FilterSet, FilterShape};

/// What is known of a family's filter, but for the entries of its sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownFilter {
    /// Its shape; none where what is there is not the whole of any.
    pub shape: Option<FilterShape>,
    /// The ports that are refused to this node itself, whatever else is there.
    pub refused: BTreeSet<AddressAndPort>,
    /// Whether the part is there that keeps the ports of this host from answering on VIPs.
    pub is_guarded: bool,
    /// What others have that refers to our sets, as text for users.
    pub held_by: BTreeMap<FilterSet, String>,
}

impl KnownFilter {
    /// A shape was written. What others have stays.
    pub(crate) fn written(&mut self, shape: &FilterShape) {
        self.refused.clone_from(&shape.refused);
        self.shape = Some(shape.clone());
        self.is_guarded = true;
    }
}
