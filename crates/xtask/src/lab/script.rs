//! Words for a shell.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// One word, quoted.
pub(super) fn quote(word: &OsStr) -> OsString {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// Words, quoted and separated.
pub(super) fn join(words: &[OsString]) -> OsString {
    let quoted: Vec<OsString> = words.iter().map(|word| quote(word)).collect();
    quoted.join(OsStr::new(" "))
}

/// Set by Cargo for programs that link the compiler's libraries. Others would look for each of theirs in a dozen folders.
const NOT_INSIDE: &str = "LD_LIBRARY_PATH";

/// `export` lines for this process's environment.
pub(super) fn exports() -> OsString {
    let mut script = OsString::new();
    for (name, value) in std::env::vars_os() {
        let valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name != NOT_INSIDE
            && name.as_bytes().iter().all(valid)
            && !name.as_bytes().first().is_some_and(u8::is_ascii_digit)
        {
            script.push("export ");
            script.push(name);
            script.push("=");
            script.push(quote(&value));
            script.push("\n");
        }
    }
    // Inside there is always a terminal; colours are only for one outside.
    if !std::io::stdout().is_terminal() {
        script.push("export NO_COLOR=1 TERM=dumb\n");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let words = ["a b", "it's", "$HOME", ""].map(OsString::from);
        let mut script = OsString::from("for word in ");
        script.push(join(&words));
        script.push("; do printf '%s|' \"$word\"; done");
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b|it's|$HOME||");
    }
}
