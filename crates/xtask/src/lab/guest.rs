//! What a guest's first process does. The guest's files are this machine's, so what is not below the workspace is covered
//! first: whatever the command writes to `/etc`, `/lib` or `/var` is gone with the guest.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::kernel::Backend;
use super::script::{exports, join, quote};
use crate::workspace::{find_program, root, target};

/// One run in a guest.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    /// The command, or a shell if it is empty.
    pub(super) command: &'a [OsString],
    /// Where its exit status goes.
    pub(super) status: &'a Path,
    /// What the kind of machine does first: `/dev` and the like.
    pub(super) machine: &'a str,
    /// The kernel's modules, all of them.
    pub(super) all_modules: &'a Path,
    /// Those that the command sees.
    pub(super) modules: &'a Path,
    /// What comes before the host's files in `/boot`.
    pub(super) boot: Option<&'a Path>,
    /// Loaded before the command runs.
    pub(super) preloaded: &'a [&'a str],
    pub(super) backend: Backend,
    /// How the command is run, `COMMAND` in its place.
    pub(super) run: &'a str,
    /// The end of the machine.
    pub(super) end: &'a str,
}

/// Folders of the machine, as far as they are there.
const COVERED: [&str; 8] = [
    "/etc", "/usr", "/var", "/boot", "/opt", "/lib", "/sbin", "/bin",
];

const HEAD: &str = r#"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
finish() { echo "$1" > STATUS; sync; END; }
refuse() { finish "$1"; }
mount=$(command -v mount)
# Where this machine's root is a user's, programs that are root's elsewhere would make nobody of it. Its own is among them.
if [ "$(stat -L -c %u "$mount")" != 0 ]; then
    /lib64/ld-linux-x86-64.so.2 "$mount" -o remount,nosuid /
    of_a_user=1
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
MACHINE
mkdir -p /run/lab/lib
# From all modules: those that the command sees may lack them. Every node has IPv6 when it has booted.
ln -s ALL_MODULES /run/lab/lib/modules
modprobe -d /run/lab -aq overlay virtio_console ipv6
"#;

const COVER: &str = r#"
mkdir -p /run/tmp /run/netns
export TMPDIR=/run/tmp
cover() {
    [ -d "$1" ] && ! [ -L "$1" ] || return 0
    if [ -n "$of_a_user" ]; then
        # An overlay opens files in a way that only their owner may. This user cannot write there anyway.
        [ "$1" = /etc ] || return 0
        mkdir -p /run/lab/written && cp -a /etc /run/lab/written/ 2>/dev/null
        mount --bind /run/lab/written/etc /etc || refuse "cannot cover /etc, which is this machine's"
        return 0
    fi
    mkdir -p "/run/lab/written$1/upper" "/run/lab/written$1/work"
    options=lowerdir=$2$1,upperdir=/run/lab/written$1/upper,workdir=/run/lab/written$1/work
    problem=$(mount -t overlay -o "$options" overlay "$1" 2>&1) ||
        refuse "cannot cover $1, which is this machine's: $problem $(dmesg 2>/dev/null | tail -n 1)"
}
"#;

const REST: &str = r#"
mkdir -p /lib/modules && mount --bind MODULES /lib/modules || refuse "no place for modules"
hostname lab
ip link set lo up
export MAY_UNLOAD=1
"#;

/// By this tests know that they may unload modules: nobody else uses the kernel.
pub(super) const MAY_UNLOAD: &str = "IPVS_LAB_MAY_UNLOAD";
/// By this that nothing was loaded beforehand.
const IS_COLD: &str = "IPVS_LAB_IS_COLD";

impl Guest<'_> {
    /// The script for `/bin/sh`.
    ///
    /// # Errors
    /// If there is no current folder.
    pub(super) fn script(&self) -> Result<OsString> {
        let directory = std::env::current_dir().context("no current folder")?;
        let mut script = OsString::from("#!/bin/sh\n");
        script.push(exports());
        let places = [
            ("STATUS", quote(self.status.as_os_str())),
            ("END", self.end.into()),
            ("ALL_MODULES", quote(self.all_modules.as_os_str())),
            ("MODULES", quote(self.modules.as_os_str())),
            ("MACHINE", self.machine.into()),
            ("MAY_UNLOAD", MAY_UNLOAD.into()),
            ("COMMAND", join(self.command)),
        ];
        let places: Vec<(&str, &OsStr)> = places
            .iter()
            .map(|(place, text)| (*place, text.as_os_str()))
            .collect();
        script.push(fill(HEAD, &places));
        script.push(cover(self.boot));
        script.push(fill(REST, &places));
        script.push(iptables_first(self.backend));
        if self.preloaded.is_empty() {
            script.push(format!("export {IS_COLD}=1\n"));
        } else {
            // Not every kernel has each.
            let names = self.preloaded.join(" ");
            script.push(format!("modprobe -aq {names} 2>/dev/null\n"));
        }
        script.push("cd ");
        script.push(quote(directory.as_os_str()));
        script.push(" || refuse 'no current folder'\n");
        script.push(fill(self.run, &places));
        script.push("\nfinish $?\n");
        Ok(script)
    }
}

/// Lines that cover the machine's folders, all but the workspace; `boot` is laid over `/boot`. They need a tmpfs on `/run`
/// and a function `refuse`.
pub(super) fn cover(boot: Option<&Path>) -> OsString {
    let mut script = OsString::from(COVER);
    let mut line = |words: &[&OsStr]| {
        for word in words {
            script.push(word);
        }
        script.push("\n");
    };
    let kept = kept();
    let places = || {
        kept.iter().zip(0_usize..).map(|(path, number)| {
            let place = OsString::from(format!("/run/lab/kept/{number}"));
            (quote(path.as_os_str()), place)
        })
    };
    for (path, place) in places() {
        line(&["mkdir -p ".as_ref(), &place]);
        line(&[
            "mount --rbind ".as_ref(),
            &path,
            " ".as_ref(),
            &place,
            " || refuse 'cannot keep the workspace'".as_ref(),
        ]);
    }
    for folder in COVERED {
        let mut above = OsString::from("''");
        if let (Some(boot), "/boot") = (boot, folder) {
            above = quote(boot.as_os_str());
            above.push(":");
        }
        line(&["cover ".as_ref(), folder.as_ref(), " ".as_ref(), &above]);
    }
    for (path, place) in places() {
        line(&[
            "mount --rbind ".as_ref(),
            &place,
            " ".as_ref(),
            &path,
            " || refuse 'cannot keep the workspace'".as_ref(),
        ]);
    }
    script
}

/// What the guest wrote at its end: the command's exit status, nothing if it ended too soon.
///
/// # Errors
/// With what kept it from running the command.
pub(super) fn exit_status(file: &Path) -> Result<Option<u8>> {
    let written = fs::read_to_string(file).unwrap_or_default();
    let words = written.trim();
    match words.parse() {
        Ok(status) => Ok(Some(status)),
        Err(_) if words.is_empty() => Ok(None),
        Err(_) => bail!("the guest: {words}"),
    }
}

/// What of the workspace would be covered.
fn kept() -> Vec<PathBuf> {
    let workspace = [root().to_owned(), target()];
    let is_covered = |path: &PathBuf| COVERED.iter().any(|folder| path.starts_with(folder));
    workspace.into_iter().filter(is_covered).collect()
}

/// A folder of links, the first of the search path.
pub(super) fn iptables_first(backend: Backend) -> OsString {
    let mut script = OsString::from("mkdir -p /run/lab/bin\n");
    for family in ["iptables", "ip6tables"] {
        for action in ["", "-save", "-restore"] {
            let program = format!("{family}-{}{action}", backend.name());
            if let Some(program) = find_program(&program) {
                script.push("ln -s ");
                script.push(quote(program.as_os_str()));
                script.push(format!(" /run/lab/bin/{family}{action}\n"));
            }
        }
    }
    script.push("export PATH=/run/lab/bin:$PATH\n");
    script
}

/// `script` with texts in their places, wherever these stand. A place that a text has in it is left alone.
fn fill(script: &str, texts: &[(&str, &OsStr)]) -> OsString {
    let mut filled = Vec::new();
    let mut rest = script;
    let next = |rest: &str| {
        let found = texts.iter().filter_map(|(place, text)| {
            let at = rest.find(place)?;
            Some((at, at + place.len(), *text))
        });
        found.min_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)))
    };
    while let Some((start, end, text)) = next(rest) {
        filled.extend(&rest.as_bytes()[..start]);
        filled.extend(text.as_bytes());
        rest = &rest[end..];
    }
    filled.extend(rest.as_bytes());
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once() {
        let texts = [
            ("ALL_MODULES", "/home/ENDER/MODULES"),
            ("MODULES", "m"),
            ("END", "halt"),
        ];
        let texts = texts.map(|(place, text)| (place, OsStr::new(text)));
        let filled = fill("ln ALL_MODULES; MODULES; END; END", &texts);
        assert_eq!(filled, "ln /home/ENDER/MODULES; m; halt; halt");
    }
}
