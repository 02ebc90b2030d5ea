//! YAML of files and plugins, whatever is in it.

use std::fmt;

use serde::Deserialize;
use serde_saphyr::{Error, Options};

/// What all aliases of a text may stand for together, in nodes. A few lines of aliases of aliases stand for thousands of
/// millions, and each costs time.
const ALIASED: usize = 20_000;
/// What has an anchor is kept, whether an alias asks for it or not: so many nodes at the most.
const RECORDED: usize = 1_000_000;

/// Text that cannot be read.
#[derive(Debug)]
pub(super) struct YamlError(Error);

impl YamlError {
    /// Line and column, if it has a place.
    fn place(&self) -> String {
        let place = self.0.location();
        place.map_or_else(String::new, |place| {
            format!("line {}, column {}: ", place.line(), place.column())
        })
    }

    /// What is wrong, without a value: it may be a secret.
    #[cfg(feature = "kube")]
    pub(super) fn without_values(&self, otherwise: &str) -> String {
        let problem = self.of_its_size().unwrap_or(otherwise);
        format!("{}{problem}", self.place())
    }

    fn of_its_size(&self) -> Option<&'static str> {
        let mut error = &self.0;
        while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } =
            error
        {
            error = inner;
        }
        match error {
            Error::AliasReplayLimitExceeded { .. }
            | Error::AliasReplayCounterOverflow { .. }
            | Error::AliasReplayStackDepthExceeded { .. } => {
                Some("its aliases expand to more than 20,000 nodes: write the values out")
            }
            Error::Budget { .. } => Some("it has too much of aliases, anchors, depth or nodes"),
            _ => None,
        }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of_its_size() {
            Some(problem) => write!(f, "{}{problem}", self.place()),
            None => write!(f, "{}", self.0),
        }
    }
}

/// For lists of 100,000 Services; depth and aliases stay limited.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_recorded_anchor_events: RECORDED,
            // However many aliases, if they stand for little.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIASED,
        },
    }
}

/// One document.
pub(super) fn read_yaml<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(YamlError)
}

/// All documents of a text.
#[cfg(feature = "kube")]
pub(super) fn read_yamls<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>, YamlError> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(YamlError)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Each line stands for ten times the one before.
    fn bomb(lines: usize) -> String {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for line in 1..lines {
            let alias = format!("*a{}", line - 1);
            let aliases = [alias.as_str(); 10].join(", ");
            text.push_str(&format!("a{line}: &a{line} [{aliases}]\n"));
        }
        text
    }

    #[test]
    fn aliases_of_aliases_are_refused_before_they_cost_time() {
        for lines in [5, 9] {
            let error = read_yaml::<Value>(&bomb(lines)).unwrap_err().to_string();
            assert!(error.starts_with("line "), "{error}");
            let (_, problem) = error.split_once(": ").unwrap();
            let known = [
                "its aliases expand to more than 20,000 nodes: write the values out",
                "it has too much of aliases, anchors, depth or nodes",
            ];
            assert!(known.contains(&problem), "{error}");
        }
        assert!(read_yaml::<Value>(&bomb(3)).is_ok());
    }

    #[test]
    fn what_people_write_with_aliases_is_read() {
        let ports = "ports: &ports [{port: 80}, {port: 443}]\n";
        let same: String = (0..500)
            .map(|at| format!("s{at}: {{p: *ports}}\n"))
            .collect();
        let value: Value = read_yaml(&format!("{ports}{same}")).unwrap();
        assert_eq!(value["s499"]["p"][1]["port"], 443);
    }
}
