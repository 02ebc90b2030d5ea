use std::iter::Peekable;
use std::str::{FromStr, SplitWhitespace};

use crate::error::TextError;

/// The words of a line: options and their values.
pub(super) struct Options<'a> {
    words: Peekable<SplitWhitespace<'a>>,
}

impl<'a> Options<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self {
            words: line.split_whitespace().peekable(),
        }
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    /// The next word if it is `word`.
    pub(super) fn next_if(&mut self, word: &str) -> bool {
        self.words.next_if_eq(&word).is_some()
    }

    /// The value of an option.
    pub(super) fn value(&mut self, option: &str) -> Result<&'a str, TextError> {
        self.words
            .next()
            .ok_or_else(|| TextError::NoValue(option.to_owned()))
    }

    /// The value of an option that may go without.
    pub(super) fn optional(&mut self) -> Option<&'a str> {
        self.words.next_if(|word| !word.starts_with('-'))
    }

    /// The value of an option, read as its type.
    pub(super) fn parsed<T: FromStr>(&mut self, option: &str) -> Result<T, TextError> {
        let value = self.value(option)?;
        read(option, value)
    }
}

/// An option's value that cannot be read.
pub(super) fn wrong(option: &str, value: &str) -> TextError {
    TextError::Value {
        option: option.to_owned(),
        value: value.to_owned(),
    }
}

/// A text read as its type. Which option it is and what stands there says more than the type's own error.
pub(super) fn read<T: FromStr>(option: &str, value: &str) -> Result<T, TextError> {
    value.parse().ok().ok_or_else(|| wrong(option, value))
}
