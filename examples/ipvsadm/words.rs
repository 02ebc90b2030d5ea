//! The words of a command line, read as popt does: bundled short options, values behind `=` or in the next word, and
//! other words wherever they stand.

use crate::options::{SPECS, Spec, Value};

/// What comes next.
#[derive(Debug)]
pub(crate) enum Word {
    /// An option with its value.
    Option(&'static Spec, Option<String>),
    /// Something that is no option, or one without its value, or with one that it does not take.
    Wrong(&'static str),
    /// No more options.
    End,
}

/// Reads options one by one.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    words: &'a [String],
    next: usize,
    /// The rest of a word of short options.
    bundle: &'a str,
    /// Words that are no options.
    others: Vec<String>,
    only_others: bool,
}

impl<'a> Words<'a> {
    /// The words behind the program's name.
    pub(crate) const fn of(words: &'a [String]) -> Self {
        Self {
            words,
            next: 0,
            bundle: "",
            others: Vec::new(),
            only_others: false,
        }
    }

    /// The word that was read last.
    pub(crate) fn current(&self) -> &str {
        let last = self.next.checked_sub(1).and_then(|at| self.words.get(at));
        last.map(String::as_str).unwrap_or_default()
    }

    /// The words that are no options, in their order.
    pub(crate) fn others(self) -> impl Iterator<Item = String> {
        self.others.into_iter()
    }

    pub(crate) fn next(&mut self) -> Word {
        while self.bundle.is_empty() {
            let Some(word) = self.words.get(self.next) else {
                return Word::End;
            };
            self.next += 1;
            match word.strip_prefix('-') {
                Some("-") if !self.only_others => self.only_others = true,
                Some(name) if !self.only_others && !name.is_empty() => {
                    match name.strip_prefix('-') {
                        Some(long) => return self.long(long),
                        None => self.bundle = name,
                    }
                }
                _ => self.others.push(word.clone()),
            }
        }
        self.short()
    }

    fn long(&mut self, word: &str) -> Word {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        match SPECS.iter().find(|spec| spec.long == name) {
            Some(spec) => self.with_value(spec, value),
            None => Word::Wrong("unknown option"),
        }
    }

    fn short(&mut self) -> Word {
        let mut rest = self.bundle.chars();
        let name = rest.next();
        self.bundle = rest.as_str();
        let Some(spec) = SPECS.iter().find(|spec| spec.short == name) else {
            return Word::Wrong("unknown option");
        };
        let value = match (spec.value, self.bundle) {
            (_, "") => None,
            (Value::None, rest) if !rest.starts_with('=') => None,
            (_, rest) => {
                self.bundle = "";
                Some(rest.strip_prefix('=').unwrap_or(rest).to_owned())
            }
        };
        self.with_value(spec, value)
    }

    fn with_value(&mut self, spec: &'static Spec, value: Option<String>) -> Word {
        if spec.value == Value::None {
            return match value {
                Some(_) => Word::Wrong("option does not take an argument"),
                None => Word::Option(spec, None),
            };
        }
        if value.is_some() {
            return Word::Option(spec, value);
        }
        let following = self.words.get(self.next);
        match (spec.value, following) {
            (Value::Needed, None) => Word::Wrong("missing argument"),
            (Value::Optional, Some(word)) if word.starts_with('-') => Word::Option(spec, None),
            (_, Some(word)) => {
                self.next += 1;
                Word::Option(spec, Some(word.clone()))
            }
            (_, None) => Word::Option(spec, None),
        }
    }
}
