//! What of a kind of objects cannot be used: shown for as long as it stands, logged once.

use std::collections::BTreeMap;
use std::time::Duration;

use ipvs_model::input::{ObjectKind, ObjectName};
use tokio::time::Instant;

use super::reporter::{Reporter, Said};

/// So many objects are shown by what is wrong with them.
const SHOWN: usize = 5;
/// So many objects have a line in the log, which is theirs until what is wrong with them is over for a while.
const TOLD: usize = 100;
/// An object that becomes wrong again so soon is not logged again.
const WHILE: Duration = Duration::from_secs(60);

/// The last good state of each of these objects stays in force.
#[derive(Debug)]
pub(super) struct ObjectProblems {
    kind: ObjectKind,
    standing: BTreeMap<ObjectName, String>,
    /// Of an object of the last list that says no name.
    nameless: Option<String>,
    /// Why the last list could not be used.
    list: Option<String>,
    /// When those that were logged were wrong last.
    told: BTreeMap<ObjectName, Instant>,
    /// When it was logged last that there are more.
    more_told: Option<Instant>,
    shown: Vec<String>,
}

impl ObjectProblems {
    pub(super) const fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            standing: BTreeMap::new(),
            nameless: None,
            list: None,
            told: BTreeMap::new(),
            more_told: None,
            shown: Vec::new(),
        }
    }

    /// An object cannot be used: what is to be logged of it, if it is news.
    pub(super) fn put(&mut self, name: ObjectName, problem: String) -> Option<String> {
        let news = self.news(&name, &problem);
        self.standing.insert(name, problem);
        news
    }

    /// An object can be used, or is gone.
    pub(super) fn clear(&mut self, name: &ObjectName) {
        if self.standing.remove(name).is_some()
            && let Some(at) = self.told.get_mut(name)
        {
            *at = Instant::now();
        }
    }

    /// One that says no name cannot be used: what is to be logged of it, if it is news.
    pub(super) fn put_nameless(&mut self, problem: String) -> Option<String> {
        let is_news = self.nameless.is_none();
        let news = is_news.then(|| {
            format!("{problem}; it says no name, so objects that are not in the list are kept")
        });
        self.nameless.get_or_insert(problem);
        news
    }

    /// Every object of the list said its name.
    pub(super) fn clear_nameless(&mut self) {
        self.nameless = None;
    }

    /// Whether the last list could be used. Who asked for it logs why not.
    pub(super) fn set_list(&mut self, problem: Option<String>) {
        self.list = problem;
    }

    /// Shows what stands now, if that is something else than before. O(what is shown).
    pub(super) fn show(&mut self, reporter: &Reporter) {
        let number = self.standing.len();
        let kind = self.kind.name();
        let more = (number > SHOWN)
            .then(|| format!("{kind}: {number} objects cannot be used, the first {SHOWN} are:"));
        let whole = self.list.iter().chain(&self.nameless).cloned();
        let first = self.standing.values().take(SHOWN).cloned();
        let shown: Vec<String> = whole.chain(more).chain(first).collect();
        if shown != self.shown {
            self.shown.clone_from(&shown);
            reporter.say(Said::Unusable(self.kind, shown));
        }
    }

    fn news(&mut self, name: &ObjectName, problem: &str) -> Option<String> {
        let now = Instant::now();
        if let Some(at) = self.told.get_mut(name) {
            let is_over =
                !self.standing.contains_key(name) && now.saturating_duration_since(*at) >= WHILE;
            *at = now;
            return is_over.then(|| problem.to_owned());
        }
        if self.told.len() >= TOLD {
            let standing = &self.standing;
            self.told.retain(|name, at| {
                standing.contains_key(name) || now.saturating_duration_since(*at) < WHILE
            });
        }
        if self.told.len() >= TOLD {
            let is_told = |at| now.saturating_duration_since(at) < WHILE;
            if self.more_told.is_some_and(is_told) {
                return None;
            }
            self.more_told = Some(now);
            let kind = self.kind.name();
            return Some(format!(
                "{problem}; more {kind}s that cannot be used are not logged"
            ));
        }
        self.told.insert(name.clone(), now);
        Some(problem.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reporter::reporter;
    use super::*;

    fn name(number: usize) -> ObjectName {
        ObjectName::new("ns", &format!("{number:05}"))
    }

    /// Runs with a clock that goes on when it is waited for.
    fn at_rest(test: impl AsyncFnOnce()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test());
    }

    #[test]
    fn an_object_is_logged_once_until_it_is_well_for_a_while() {
        at_rest(async || {
            let mut problems = ObjectProblems::new(ObjectKind::Service);
            let bad = |problems: &mut ObjectProblems, number: usize| {
                problems.put(name(1), format!("bad {number}"))
            };
            for round in 0..3 {
                let news = bad(&mut problems, round);
                assert_eq!(news, Some(format!("bad {round}")));
                for number in 0..100 {
                    assert_eq!(bad(&mut problems, number), None);
                    tokio::time::sleep(WHILE).await;
                }
                for number in 0..100 {
                    problems.clear(&name(1));
                    assert_eq!(bad(&mut problems, number), None, "to and fro");
                }
                problems.clear(&name(1));
                tokio::time::sleep(WHILE).await;
            }
        });
    }

    #[test]
    fn ever_new_objects_cannot_fill_the_log() {
        at_rest(async || {
            let mut problems = ObjectProblems::new(ObjectKind::Service);
            for _ in 0..2 {
                let news = (0..10_000).filter_map(|number| {
                    let news = problems.put(name(number), "bad".to_owned());
                    problems.clear(&name(number));
                    news
                });
                let news: Vec<String> = news.collect();
                assert_eq!(news.len(), TOLD + 1);
                let last = "bad; more Services that cannot be used are not logged";
                assert_eq!(news[TOLD], last);
                assert!(problems.told.len() <= TOLD && problems.standing.is_empty());
                tokio::time::sleep(WHILE).await;
            }
        });
    }

    #[test]
    fn what_stands_is_shown_for_as_long_as_it_does() {
        at_rest(async || {
            let (reporter, said) = reporter(|| {});
            let mut problems = ObjectProblems::new(ObjectKind::Service);
            let shown = |problems: &mut ObjectProblems| {
                problems.show(&reporter);
                let shown = said.all().map(|said| match said {
                    Said::Unusable(ObjectKind::Service, shown) => shown,
                    other => unreachable!("{other:?}"),
                });
                shown.last()
            };
            for number in (0..8).rev() {
                problems.put(name(number), format!("bad {number}"));
            }
            problems.put_nameless("nameless".to_owned());
            problems.set_list(Some("too long".to_owned()));
            let all = [
                "too long",
                "nameless",
                "Service: 8 objects cannot be used, the first 5 are:",
                "bad 0",
                "bad 1",
                "bad 2",
                "bad 3",
                "bad 4",
            ];
            assert_eq!(shown(&mut problems).unwrap(), all);
            assert_eq!(shown(&mut problems), None, "nothing is new");
            problems.clear_nameless();
            problems.set_list(None);
            (0..7).for_each(|number| problems.clear(&name(number)));
            assert_eq!(shown(&mut problems).unwrap(), ["bad 7"]);
            problems.put(name(7), "worse".to_owned());
            assert_eq!(shown(&mut problems).unwrap(), ["worse"]);
            problems.clear(&name(7));
            assert_eq!(shown(&mut problems).unwrap(), [""; 0]);
        });
    }
}
