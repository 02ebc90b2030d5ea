use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::ipset::SetName;

/// A rule in the words of `iptables-save`, without table and chain: what is restored reads back the same.
///
/// ```
/// use ipvs_netfilter::iptables::Rule;
/// let rule = Rule::new().comment("kubernetes forwarding rules").mark(0x4000).jump("ACCEPT");
/// assert_eq!(rule.as_str(), r#"-m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Rule(String);

impl Rule {
    /// A rule that matches everything. Call the methods in the order of `iptables-save`: addresses, interfaces,
    /// protocol, other matches, target.
    #[must_use]
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// A rule as `iptables-save` printed it behind `-A CHAIN `.
    #[must_use]
    pub fn from_saved(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Appends words, separated by a space.
    #[must_use]
    pub fn raw(mut self, words: impl fmt::Display) -> Self {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{space}{words}");
        self
    }

    /// `-m comment --comment "…"`, quoted as `iptables-save` does.
    #[must_use]
    pub fn comment(self, text: &str) -> Self {
        let mut quoted = String::with_capacity(text.len());
        for character in text.chars() {
            if matches!(character, '"' | '\\' | '\'') {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        self.raw(format_args!("-m comment --comment \"{quoted}\""))
    }

    /// `-m set --match-set NAME DIRECTIONS`.
    #[must_use]
    pub fn match_set(self, set: SetName, directions: &str) -> Self {
        self.raw(format_args!("-m set --match-set {set} {directions}"))
    }

    /// `-m mark --mark MARK/MARK`.
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        self.raw(format_args!("-m mark --mark {mark:#x}/{mark:#x}"))
    }

    /// `-m addrtype --dst-type LOCAL`.
    #[must_use]
    pub fn destination_is_local(self) -> Self {
        self.raw("-m addrtype --dst-type LOCAL")
    }

    /// `-j TARGET`.
    #[must_use]
    pub fn jump(self, target: &str) -> Self {
        self.raw(format_args!("-j {target}"))
    }

    /// Its words, quotes and escapes undone as `iptables-save` made them.
    pub fn words(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let mut left = self.0.as_str();
        std::iter::from_fn(move || {
            left = left.trim_start();
            let (word, rest) = first_word(left)?;
            left = rest;
            Some(word)
        })
    }

    /// The chain or target that it leads to (`-j`, `-g`).
    ///
    /// ```
    /// use ipvs_netfilter::iptables::Rule;
    /// let rule = Rule::from_saved(r#"-m comment --comment "not -j DROP" -j KUBE-MARK-MASQ"#);
    /// assert_eq!(rule.target().as_deref(), Some("KUBE-MARK-MASQ"));
    /// ```
    #[must_use]
    pub fn target(&self) -> Option<Cow<'_, str>> {
        let mut words = self.words();
        words.find(|word| matches!(word.as_ref(), "-j" | "-g"))?;
        words.next()
    }

    /// Whether it matches a set, or puts entries into it or takes them out (`-m set`, `-j SET`).
    ///
    /// ```
    /// use ipvs_netfilter::iptables::Rule;
    /// let rule = Rule::from_saved("-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT");
    /// assert!(rule.names_set("KUBE-CLUSTER-IP") && !rule.names_set("KUBE-CLUSTER"));
    /// ```
    #[must_use]
    pub fn names_set(&self, set: &str) -> bool {
        // Most rules name none.
        if !self.0.contains(set) {
            return false;
        }
        let mut words = self.words();
        while let Some(word) = words.next() {
            if matches!(
                word.as_ref(),
                "--match-set" | "--add-set" | "--del-set" | "--map-set"
            ) && words.next().is_some_and(|name| name == set)
            {
                return true;
            }
        }
        false
    }

    /// The text of the rule.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first word of a text that does not begin with a space, and what is behind it.
fn first_word(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if text.is_empty() {
        return None;
    }
    let plain = text.split(' ').next().unwrap_or_default();
    if !plain.contains(['"', '\\']) {
        return Some((plain.into(), text.get(plain.len()..).unwrap_or_default()));
    }
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => {
                word.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                return Some((word.into(), text.get(at..).unwrap_or_default()));
            }
            _ => word.push(character),
        }
    }
    Some((word.into(), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_one_word_whatever_is_in_it() {
        let rule = Rule::new()
            .comment(r#"it's "quoted" -j DROP --match-set A \ end"#)
            .jump("KUBE-MARK-MASQ");
        let words: Vec<_> = rule.words().collect();
        assert_eq!(words.len(), 6, "{words:?}");
        assert_eq!(words[3], r#"it's "quoted" -j DROP --match-set A \ end"#);
        assert_eq!(rule.target().as_deref(), Some("KUBE-MARK-MASQ"));
        assert!(!rule.names_set("A"));
        let unended = Rule::from_saved(r#"-m comment --comment "never ends -j X"#);
        assert_eq!(unended.target(), None);
        assert_eq!(Rule::from_saved("-j").target(), None);
        assert_eq!(Rule::from_saved("-g A").target().as_deref(), Some("A"));
    }
}
