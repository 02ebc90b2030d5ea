//! What a program prints: all of it, or an error. `print!` panics instead.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use ipvs_model::Escaped;
use serde::Serialize;
use signal_hook::consts::SIGPIPE;

/// Standard output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct Unwritten(io::Error);

/// Its text has the cause: it is no source besides, which would be said twice.
impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// Prints to standard output. Where nobody reads it any more the process ends as any other does by a closed pipe: by
/// SIGPIPE, without a word.
///
/// # Errors
/// [`Unwritten`], as where the disk is full.
pub fn print(text: impl Display) -> Result<(), Unwritten> {
    let text = text.to_string();
    end_of(io::stdout().write_all(text.as_bytes()))
}

fn end_of(printed: io::Result<()>) -> Result<(), Unwritten> {
    match printed.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // Does not return, but where the signal is blocked.
            let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
            Err(error.into())
        }
        printed => Ok(printed?),
    }
}

/// Prints as JSON, indented. Text that cannot be seen stands as `\u202e`.
///
/// # Errors
/// [`Unwritten`], as where the disk is full.
pub fn print_json(what: &impl Serialize) -> Result<(), Unwritten> {
    let text = serde_json::to_string_pretty(what).map_err(io::Error::from)?;
    // What is escaped stands in strings only, but for the ends of lines, which are in none.
    let lines = text.lines().map(visible_json);
    print(lines.map(|line| format!("{line}\n")).collect::<String>())
}

/// A line of JSON without characters that cannot be seen; it means the same.
#[must_use]
pub fn visible_json(line: &str) -> String {
    let mut visible = String::with_capacity(line.len());
    for c in line.chars() {
        if Escaped::applies_to(c) {
            let units = &mut [0; 2];
            for unit in c.encode_utf16(units) {
                visible.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            visible.push(c);
        }
    }
    visible
}

/// Prints what clap says instead of the arguments, and ends the process: help and version on standard output with status 0,
/// what is wrong with the words on standard error with status `misuse`. A full disk is misuse too.
pub fn exit(program: &str, said: &clap::Error, misuse: i32) -> ! {
    let printed = end_of(said.print());
    let status = match printed {
        _ if said.use_stderr() => misuse,
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("{program}: {error}"));
            misuse
        }
    };
    std::process::exit(status)
}

/// An error and its causes, each said once: some say theirs themselves.
#[must_use]
pub fn whole(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Says a line on standard error, if that can be written.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_seen_means_the_same() {
        let text = "a\u{202e}b\u{2028}\x7f\u{85}\u{e0041}\t\"\n\\";
        let line = serde_json::to_string(text).unwrap();
        let visible = visible_json(&line);
        assert!(!visible.contains(Escaped::applies_to), "{visible}");
        assert_eq!(serde_json::from_str::<String>(&visible).unwrap(), text);
    }
}
