use std::fmt;

/// Text of somebody else, to be put into a line or a table: what would end the line, move the cursor, turn the direction of
/// writing or not be seen at all stands there as `\n` or `\u{202e}`.
///
/// ```
/// use ipvs_model::Escaped;
/// assert_eq!(Escaped("ünïcode").to_string(), "ünïcode");
/// assert_eq!(Escaped("5s\nERROR \u{202e}all").to_string(), r"5s\nERROR \u{202e}all");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Whether a character is written in another way: control characters, separators of lines and paragraphs, marks of
    /// direction, and what has no width.
    #[must_use]
    pub const fn applies_to(c: char) -> bool {
        matches!(
            c,
            '\0'..='\x1f'
                | '\x7f'..='\u{9f}'
                | '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(Self::applies_to) {
            match piece.chars().next_back() {
                Some(last) if Self::applies_to(last) => {
                    f.write_str(piece.strip_suffix(last).unwrap_or_default())?;
                    write!(f, "{}", last.escape_default())?;
                }
                _ => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_not_seen_is_left() {
        let all: String = (0..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .collect();
        let escaped = Escaped(&all).to_string();
        assert!(!escaped.contains(Escaped::applies_to));
        assert!(!escaped.contains(char::is_control));
        // The first of the rest, and the last.
        assert!(escaped.contains(" !\"#") && escaped.ends_with(char::MAX));
        assert_eq!(Escaped("").to_string(), "");
        assert_eq!(
            Escaped("a\r\u{2066}\x1b[31m").to_string(),
            r"a\r\u{2066}\u{1b}[31m"
        );
    }
}
