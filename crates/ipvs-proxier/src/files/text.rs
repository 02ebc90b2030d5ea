/// Why bytes are no text that a reader of lines understands. Each of these could be taken for a file without content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// It begins as UTF-16 does.
    #[error("it is UTF-16: save it as UTF-8")]
    Utf16,
    /// A zero byte: UTF-16 or UTF-32 without a mark, or no text at all.
    #[error("line {line} has a zero byte: it is no UTF-8 text")]
    Nul {
        /// Counted from 1.
        line: usize,
    },
    /// Another encoding.
    #[error("line {line} has bytes that are no UTF-8")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
    },
    /// As old Macs end lines: to most readers all of it is one line, and a comment if it begins with one.
    #[error("line {line} ends in a carriage return alone: end lines in a line feed")]
    CarriageReturn {
        /// Counted from 1.
        line: usize,
    },
}

/// The text in a file, without the mark of UTF-8.
///
/// ```
/// use ipvs_proxier::{TextProblem, file_text};
///
/// assert_eq!(file_text(b"\xef\xbb\xbfkind: Service\r\n"), Ok("kind: Service\r\n"));
/// assert_eq!(file_text(b"# head\rkind: Service\r"), Err(TextProblem::CarriageReturn { line: 1 }));
/// ```
///
/// # Errors
/// [`TextProblem`] for what is no UTF-8, has zero bytes, or ends lines in a carriage return alone.
pub fn file_text(bytes: &[u8]) -> Result<&str, TextProblem> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(TextProblem::Utf16);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let line = |at: usize| {
        let before = bytes.get(..at).unwrap_or_default();
        let ends = before.iter().filter(|byte| **byte == b'\n').count();
        ends.saturating_add(1)
    };
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(TextProblem::Nul { line: line(at) });
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = line(error.valid_up_to());
        TextProblem::NotUtf8 { line }
    })?;
    let alone = text
        .match_indices('\r')
        .find(|(at, _)| bytes.get(at.saturating_add(1)) != Some(&b'\n'));
    match alone {
        Some((at, _)) => Err(TextProblem::CarriageReturn { line: line(at) }),
        None => Ok(text),
    }
}
