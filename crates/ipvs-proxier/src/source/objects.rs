//! Which objects of a kind there are, as lists and watches tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ipvs_model::input::{Change, ObjectKind, ObjectName};

use super::api::ApiError;
use super::api_object::ApiObject;
use super::object_problems::ObjectProblems;
use super::reporter::{Reporter, Said};
use super::weight::{bound_of_all, weight};

/// Objects of a list that wake together.
const TOGETHER: usize = 256;

/// The names of the objects of a kind that are there, and when what they tell of happened.
///
/// What they take in memory has a bound. Objects of lists that did not come to their end count apart: they may not be there
/// any more, and must not stand in the way of a whole list.
#[derive(Debug)]
pub(super) struct Objects {
    kind: ObjectKind,
    present: BTreeMap<ObjectName, Known>,
    /// What those present take, in bytes, about.
    bytes: usize,
    /// What they may take.
    bound: usize,
    /// Those of the list that is coming in, and what they take.
    listed: BTreeSet<ObjectName>,
    listed_bytes: usize,
    /// Whether one of them has no name that can be read: it may be any of those that seem to be missing.
    is_one_unknown: bool,
    problems: ObjectProblems,
}

#[derive(Debug)]
struct Known {
    /// When what it tells of happened.
    at: Option<SystemTime>,
    bytes: usize,
    /// Whether it was in the last complete list, or in a watch since.
    is_sure: bool,
}

impl Objects {
    pub(super) const fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            present: BTreeMap::new(),
            bytes: 0,
            bound: bound_of_all(kind),
            listed: BTreeSet::new(),
            listed_bytes: 0,
            is_one_unknown: false,
            problems: ObjectProblems::new(kind),
        }
    }

    /// A list begins.
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
        self.listed_bytes = 0;
        self.is_one_unknown = false;
    }

    /// An object of the list.
    ///
    /// # Errors
    /// When all of them are more than any cluster has. What no complete list had is forgotten then.
    pub(super) fn list(&mut self, object: ApiObject, reporter: &Reporter) -> Result<(), ApiError> {
        let bytes = weight(&object);
        self.listed_bytes = self.listed_bytes.saturating_add(bytes);
        if self.listed_bytes > self.bound {
            self.listed.clear();
            self.forget_unsure(reporter);
            return Err(self.too_much());
        }
        match &object.name {
            Some(name) => {
                self.listed.insert(name.clone());
            }
            None => self.is_one_unknown = true,
        }
        self.take(object, bytes, false, reporter);
        if self.bytes > self.bound.saturating_mul(2) {
            self.forget_unsure(reporter);
        }
        // A list can have thousands of objects: some of them wake together, so that no more have to wait.
        if self.listed.len().is_multiple_of(TOGETHER) {
            reporter.wake();
        }
        Ok(())
    }

    /// How many objects the list has had so far.
    pub(super) fn listed(&self) -> usize {
        self.listed.len()
    }

    /// The list is complete: what is not in it is gone.
    pub(super) fn end_list(&mut self, reporter: &Reporter) {
        let listed = std::mem::take(&mut self.listed);
        let keeps_others = self.is_one_unknown;
        if !keeps_others {
            self.problems.clear_nameless();
        }
        self.retain(reporter, |name, known| {
            known.is_sure = listed.contains(name);
            known.is_sure || keeps_others
        });
        self.problems.set_list(None);
        self.problems.show(reporter);
        reporter.say(Said::Listed(self.kind.name()));
    }

    /// The list did not come to its end. An answer that cannot be used is shown until one can; that a server is away is not.
    pub(super) fn fail_list(&mut self, error: &ApiError, reporter: &Reporter) {
        if matches!(error, ApiError::Unreadable(_)) {
            let kind = self.kind.name();
            self.problems
                .set_list(Some(format!("{kind}: list: {error}")));
        }
        self.problems.show(reporter);
    }

    /// An object is there, or is another one.
    ///
    /// # Errors
    /// When all of them are more than any cluster has; this one is left out.
    pub(super) fn put(&mut self, object: ApiObject, reporter: &Reporter) -> Result<(), ApiError> {
        let bytes = weight(&object);
        let known = object.name.as_ref().and_then(|name| self.present.get(name));
        let more = bytes.saturating_sub(known.map_or(0, |known| known.bytes));
        let bound = self.bound;
        let is_too_much = |all: usize| more > 0 && all.saturating_add(more) > bound;
        if is_too_much(self.bytes) {
            self.forget_unsure(reporter);
            if is_too_much(self.bytes) {
                return Err(self.too_much());
            }
        }
        self.take(object, bytes, true, reporter);
        self.problems.show(reporter);
        reporter.wake();
        Ok(())
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, name: ObjectName, reporter: &Reporter) {
        if let Some(known) = self.present.remove(&name) {
            self.bytes = self.bytes.saturating_sub(known.bytes);
        }
        self.problems.clear(&name);
        self.problems.show(reporter);
        reporter.say(Said::Change(Box::new(gone(self.kind, name)), None));
    }

    /// An object that cannot be used changes nothing: what it was before stays in force. A trigger counts once, however
    /// often its object comes.
    fn take(&mut self, object: ApiObject, bytes: usize, is_sure: bool, reporter: &Reporter) {
        let at = object.trigger.map(|trigger| trigger.at);
        let before = object.name.clone().and_then(|name| {
            let known = Known { at, bytes, is_sure };
            self.bytes = self.bytes.saturating_add(bytes);
            let before = self.present.insert(name, known)?;
            self.bytes = self.bytes.saturating_sub(before.bytes);
            Some(before)
        });
        let known = object
            .name
            .as_ref()
            .and_then(|name| self.present.get_mut(name));
        if let (Some(before), Some(known)) = (&before, known) {
            known.is_sure |= before.is_sure;
            if object.change.is_err() {
                // It is what it was.
                let more = before.bytes.saturating_sub(known.bytes);
                known.bytes = known.bytes.saturating_add(more);
                self.bytes = self.bytes.saturating_add(more);
            }
        }
        let problem = match object.change {
            Ok(change) => {
                let is_trigger_new = before.and_then(|known| known.at) != at;
                let trigger = object.trigger.filter(|_| is_trigger_new);
                if let Some(name) = &object.name {
                    self.problems.clear(name);
                }
                return reporter.mention_of(bytes, Said::Change(Box::new(change), trigger));
            }
            Err(problem) => problem,
        };
        let news = match object.name {
            Some(name) => self.problems.put(name, problem),
            None => self.problems.put_nameless(problem),
        };
        if let Some(news) = news {
            reporter.mention(Said::Problem(news));
        }
    }

    /// Forgets what no complete list had, but for what the list that is coming in has.
    fn forget_unsure(&mut self, reporter: &Reporter) {
        let listed = std::mem::take(&mut self.listed);
        self.retain(reporter, |name, known| {
            known.is_sure || listed.contains(name)
        });
        self.listed = listed;
    }

    /// Tells that what does not stay is gone.
    fn retain(
        &mut self,
        reporter: &Reporter,
        mut stays: impl FnMut(&ObjectName, &mut Known) -> bool,
    ) {
        self.present.retain(|name, known| {
            let stays = stays(name, known);
            if !stays {
                self.bytes = self.bytes.saturating_sub(known.bytes);
                self.problems.clear(name);
                reporter.mention(Said::Change(Box::new(gone(self.kind, name.clone())), None));
            }
            stays
        });
    }

    fn too_much(&self) -> ApiError {
        let (kind, bound) = (self.kind.name(), self.bound >> 20);
        ApiError::Unreadable(format!(
            "the {kind}s of the server would take more than {bound} MiB of memory, which is more than those of any cluster do"
        ))
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
    use super::super::reporter::{Inbox, reporter};
    use super::*;

    fn node(json: &str) -> ApiObject {
        ApiObject::read(ObjectKind::Node, json.as_bytes())
    }

    fn named(name: &str) -> ApiObject {
        node(&format!(r#"{{"metadata": {{"name": "{name}"}}}}"#))
    }

    fn gone_of(said: &Inbox) -> Vec<String> {
        let gone = said.all().filter_map(|said| match said {
            Said::Change(change, _) => match *change {
                Change::NodeGone(name) => Some(name),
                _ => None,
            },
            _ => None,
        });
        gone.collect()
    }

    #[test]
    fn what_a_list_lacks_is_gone_unless_one_of_it_has_no_name() {
        let (reporter, said) = reporter(|| {});
        let mut nodes = Objects::new(ObjectKind::Node);
        let list = |nodes: &mut Objects, objects: &[&str]| {
            nodes.begin_list();
            objects
                .iter()
                .for_each(|object| nodes.list(node(object), &reporter).unwrap());
            nodes.end_list(&reporter);
            gone_of(&said)
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

    /// Room for nine of them.
    fn small() -> Objects {
        let mut nodes = Objects::new(ObjectKind::Node);
        nodes.bound = weight(&named("a 00")) * 9;
        nodes
    }

    fn list(
        nodes: &mut Objects,
        names: impl Iterator<Item = String>,
        reporter: &Reporter,
    ) -> Result<(), ApiError> {
        nodes.begin_list();
        for name in names {
            nodes.list(named(&name), reporter)?;
            assert!(nodes.bytes <= nodes.bound * 2, "{}", nodes.bytes);
            assert!(nodes.present.len() <= 18);
        }
        Ok(())
    }

    #[test]
    fn a_list_of_ever_new_objects_is_refused_and_the_last_state_stays() {
        let (reporter, said) = reporter(|| {});
        let mut nodes = small();
        let names = |of: &str, number: usize| {
            let of = of.to_owned();
            (0..number).map(move |number| format!("{of} {number:02}"))
        };
        list(&mut nodes, names("a", 9), &reporter).unwrap();
        nodes.end_list(&reporter);
        gone_of(&said);
        for round in 0..3 {
            let of = format!("{round}");
            let error = list(&mut nodes, names(&of, 1000), &reporter).unwrap_err();
            let told = error.to_string();
            assert!(told.contains("more than those of any cluster"), "{told}");
            let gone = gone_of(&said);
            assert_eq!(gone, names(&of, 9).collect::<Vec<_>>());
            assert_eq!(nodes.present.len(), 9);
        }
        // A list that fails in its middle, again and again, leaves behind what it had: only so much.
        for round in 0..20 {
            list(&mut nodes, names(&round.to_string(), 5), &reporter).unwrap();
        }
        gone_of(&said);
        // The same of lists with an object that says no name, which take nothing away.
        for round in 20..40 {
            list(&mut nodes, names(&round.to_string(), 5), &reporter).unwrap();
            nodes.list(node("{}"), &reporter).unwrap();
            nodes.end_list(&reporter);
            assert!(nodes.bytes <= nodes.bound * 2, "{}", nodes.bytes);
        }
        gone_of(&said);
        // Everything has another name now: this is no reason to refuse it.
        list(&mut nodes, names("b", 9), &reporter).unwrap();
        nodes.end_list(&reporter);
        assert_eq!(nodes.present.len(), 9);
        assert!(gone_of(&said).contains(&"39 00".to_owned()));
        assert_eq!(nodes.bytes, nodes.bound);
    }

    #[test]
    fn ever_new_objects_of_a_watch_are_refused_and_those_that_are_known_go_on() {
        let (reporter, _said) = reporter(|| {});
        let mut nodes = small();
        let put = |nodes: &mut Objects, number: usize| {
            let object = named(&format!("a {number:02}"));
            nodes.put(object, &reporter)
        };
        let taken = (0..100).take_while(|number| put(&mut nodes, *number).is_ok());
        assert_eq!(taken.count(), 9);
        put(&mut nodes, 3).unwrap();
        assert_eq!(nodes.bytes, nodes.bound);
        let grown = r#"{"metadata": {"name": "a 03"}, "spec": {"podCIDRs": ["10.0.0.0/24"]}}"#;
        assert!(nodes.put(node(grown), &reporter).is_err(), "it has grown");
        for number in 0..9 {
            nodes.remove(
                ObjectName::new("default", &format!("a {number:02}")),
                &reporter,
            );
        }
        assert_eq!(nodes.bytes, 0);
        put(&mut nodes, 99).unwrap();
    }

    #[test]
    fn an_object_that_cannot_be_used_is_shown_until_it_can_and_logged_once() {
        let (reporter, said) = reporter(|| {});
        let mut nodes = Objects::new(ObjectKind::Node);
        let bad = r#"{"metadata": {"name": "b"}, "spec": {"podCIDRs": 4}}"#;
        let list = |nodes: &mut Objects, objects: &[&str]| {
            nodes.begin_list();
            for object in objects {
                nodes.list(node(object), &reporter).unwrap();
            }
            nodes.end_list(&reporter);
        };
        let good = r#"{"metadata": {"name": "b"}}"#;
        let mut logged = Vec::new();
        let mut standing = Vec::new();
        let mut hear = || {
            for said in said.all() {
                match said {
                    Said::Problem(problem) => logged.push(problem),
                    Said::Unusable(_, problems) => standing = problems,
                    _ => {}
                }
            }
            (logged.len(), standing.clone())
        };
        for _ in 0..3 {
            list(&mut nodes, &[bad, good, bad]);
            for _ in 0..100 {
                nodes.put(node(bad), &reporter).unwrap();
            }
            let (logged, standing) = hear();
            assert_eq!((logged, standing.len()), (1, 1), "{standing:?}");
            let start = "Node default/b: spec.podCIDRs: 4: invalid type";
            assert!(standing[0].starts_with(start), "{standing:?}");
        }
        nodes.put(node(good), &reporter).unwrap();
        assert_eq!(hear(), (1, Vec::new()));
        nodes.put(node(bad), &reporter).unwrap();
        assert_eq!(hear().1.len(), 1);
        nodes.remove(ObjectName::new("default", "b"), &reporter);
        assert_eq!(hear(), (1, Vec::new()));
        nodes.put(node(bad), &reporter).unwrap();
        list(&mut nodes, &[]);
        assert_eq!(hear(), (1, Vec::new()), "no longer in the list");
        list(&mut nodes, &["{}", "{", "5"]);
        list(&mut nodes, &["{}", "{", "5"]);
        let (logged, shown) = hear();
        assert_eq!((logged, shown.len()), (2, 1), "{shown:?}");
        list(&mut nodes, &[good]);
        assert_eq!(hear(), (2, Vec::new()));
    }
}
