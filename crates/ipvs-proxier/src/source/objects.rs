//! Which objects of a kind there are, as lists and watches tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ipvs_model::input::{Change, ObjectKind, ObjectName};

use super::api_object::ApiObject;
use super::reporter::{Reporter, Said};

/// Objects of a list that wake together.
const TOGETHER: usize = 256;

/// The names of the objects of a kind that are there, and when what they tell of happened.
#[derive(Debug)]
pub(super) struct Objects {
    kind: ObjectKind,
    present: BTreeMap<ObjectName, Option<SystemTime>>,
    /// Those of the list that is coming in.
    listed: BTreeSet<ObjectName>,
    /// Whether one of them has no name that can be read: it may be any of those that seem to be missing.
    is_one_unknown: bool,
}

impl Objects {
    pub(super) const fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            present: BTreeMap::new(),
            listed: BTreeSet::new(),
            is_one_unknown: false,
        }
    }

    /// A list begins.
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
        self.is_one_unknown = false;
    }

    /// An object of the list.
    pub(super) fn list(&mut self, object: ApiObject, reporter: &Reporter) {
        match &object.name {
            Some(name) => {
                self.listed.insert(name.clone());
            }
            None => self.is_one_unknown = true,
        }
        let said = self.said(object);
        // A list can have thousands of objects: some of them wake together, so that no more have to wait.
        if self.listed.len().is_multiple_of(TOGETHER) {
            reporter.say(said);
        } else {
            reporter.mention(said);
        }
    }

    /// How many objects the list has had so far.
    pub(super) fn listed(&self) -> usize {
        self.listed.len()
    }

    /// The list is complete: what is not in it is gone.
    pub(super) fn end_list(&mut self, reporter: &Reporter) {
        let listed = std::mem::take(&mut self.listed);
        if self.is_one_unknown {
            let kind = self.kind.name();
            let problem = format!(
                "{kind}: an object of the list says no name; those that are not in the list are kept"
            );
            reporter.mention(Said::Problem(problem));
        } else {
            self.present.retain(|name, _| {
                let stays = listed.contains(name);
                if !stays {
                    reporter.mention(Said::Change(Box::new(gone(self.kind, name.clone())), None));
                }
                stays
            });
        }
        reporter.say(Said::Listed(self.kind.name()));
    }

    /// An object is there, or is another one.
    pub(super) fn put(&mut self, object: ApiObject, reporter: &Reporter) {
        let said = self.said(object);
        reporter.say(said);
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, name: ObjectName, reporter: &Reporter) {
        self.present.remove(&name);
        reporter.say(Said::Change(Box::new(gone(self.kind, name)), None));
    }

    /// An object that cannot be used changes nothing: what it was before stays in force. A trigger counts once, however
    /// often its object comes.
    fn said(&mut self, object: ApiObject) -> Said {
        let at = object.trigger.map(|trigger| trigger.at);
        let before = object.name.and_then(|name| self.present.insert(name, at)?);
        match object.change {
            Ok(change) => Said::Change(Box::new(change), object.trigger.filter(|_| before != at)),
            Err(problem) => Said::Problem(problem),
        }
    }
}

fn gone(kind: ObjectKind, name: ObjectName) -> Change {
    match kind {
        ObjectKind::Service => Change::ServiceGone(name),
        ObjectKind::EndpointSlice => Change::EndpointSliceGone(name),
        ObjectKind::Node => Change::NodeGone(name.name.as_ref().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn reporter() -> (Reporter, Receiver<Said>) {
        let (sender, said) = channel();
        let wake = Arc::new(|| {});
        (Reporter { sender, wake }, said)
    }

    fn node(json: &str) -> ApiObject {
        ApiObject::read(ObjectKind::Node, json.as_bytes())
    }

    #[test]
    fn what_a_list_lacks_is_gone_unless_one_of_it_has_no_name() {
        let (reporter, said) = reporter();
        let mut nodes = Objects::new(ObjectKind::Node);
        let list = |nodes: &mut Objects, objects: &[&str]| {
            nodes.begin_list();
            objects
                .iter()
                .for_each(|object| nodes.list(node(object), &reporter));
            nodes.end_list(&reporter);
            let gone = said.try_iter().filter_map(|said| match said {
                Said::Change(change, _) => match *change {
                    Change::NodeGone(name) => Some(name),
                    _ => None,
                },
                _ => None,
            });
            gone.collect::<Vec<_>>()
        };
        let (a, b) = (
            r#"{"metadata": {"name": "a"}}"#,
            r#"{"metadata": {"name": "b"}}"#,
        );
        assert_eq!(list(&mut nodes, &[a, b]), [""; 0]);
        assert_eq!(list(&mut nodes, &[a, "{\"metadata\": {}}"]), [""; 0]);
        assert_eq!(list(&mut nodes, &[a, "{"]), [""; 0]);
        let unusable = r#"{"metadata": {"name": "b"}, "spec": {"podCIDRs": 4}}"#;
        assert_eq!(list(&mut nodes, &[a, unusable]), [""; 0]);
        assert_eq!(list(&mut nodes, &[a]), ["b"]);
    }
}
