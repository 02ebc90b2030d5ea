//! The configuration that flags make: what `/configz` tells and `--write-config-to` writes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{DEFAULTS, FIELDS, Kind};
use crate::flags::{boolean, parse_integer};
use crate::go_duration;

/// The configuration that flags make, by their names without dashes: every field, with its default where nothing was said.
pub(crate) fn of(flags: &BTreeMap<String, String>) -> Value {
    let mut whole = defaults();
    for (field, flag, kind) in FIELDS {
        if let Some(text) = flags.get(flag) {
            *place(&mut whole, field) = kind.value(text);
        }
    }
    whole
}

/// Whether a flag has the value that it has without being said, as in a file that says everything.
pub(crate) fn is_default(flag: &str, text: &str) -> bool {
    let mut defaults = defaults();
    let mut fields = FIELDS.iter().filter(|(_, known, _)| *known == flag);
    fields.any(|(field, _, kind)| *place(&mut defaults, field) == kind.value(text))
}

fn defaults() -> Value {
    // It is a constant, which the tests read.
    serde_json::from_str(DEFAULTS).unwrap_or_default()
}

fn place<'a>(whole: &'a mut Value, field: &str) -> &'a mut Value {
    match field.split_once('.') {
        Some((section, field)) => &mut whole[section][field],
        None => &mut whole[field],
    }
}

impl Kind {
    fn value(self, text: &str) -> Value {
        match self {
            Self::Text => json!(text),
            Self::Number => match parse_integer(text).and_then(|number| i64::try_from(number).ok())
            {
                Some(number) => json!(number),
                None => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
            },
            Self::Switch => json!(boolean(text) == Ok(true)),
            Self::List => json!(text.split(',').collect::<Vec<_>>()),
            Self::Duration => {
                let duration = go_duration::parse(text).map(go_duration::format);
                json!(duration.unwrap_or_else(|_| text.to_owned()))
            }
            Self::Gates => {
                let gates = text.split(',').filter_map(|gate| gate.split_once('='));
                let gates = gates.map(|(name, is_on)| {
                    let is_on = boolean(is_on) == Ok(true);
                    (name.to_owned(), json!(is_on))
                });
                Value::Object(gates.collect::<Map<_, _>>())
            }
        }
    }
}
