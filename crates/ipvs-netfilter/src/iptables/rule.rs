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
