//! The files of `/proc`, `/sys`, `/etc` and `/lib/modules` that tell what a node has. Lines that make no sense are passed
//! over; no input panics.

use std::collections::{BTreeMap, BTreeSet};

/// The name of a module as the kernel writes it: `-` and `_` are the same.
///
/// ```
/// assert_eq!(ipvs_probe::parse::module_name("kernel/net/netfilter/ipvs/ip_vs.ko.xz"), Some("ip_vs".to_owned()));
/// assert_eq!(ipvs_probe::parse::module_name("nf-conntrack.ko"), Some("nf_conntrack".to_owned()));
/// assert_eq!(ipvs_probe::parse::module_name("modules.dep"), None);
/// ```
#[must_use]
pub fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, rest) = file.split_once(".ko")?;
    let known = matches!(rest, "" | ".xz" | ".zst" | ".gz");
    (known && !stem.is_empty()).then(|| stem.replace('-', "_"))
}

/// `/proc/modules`: the names in the first column.
///
/// ```
/// let names = ipvs_probe::parse::proc_modules("ip_vs 192512 1 ip_vs_rr, Live 0x0\n");
/// assert!(names.contains("ip_vs"));
/// ```
#[must_use]
pub fn proc_modules(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// `/lib/modules/<release>/modules.builtin`: one path a line.
///
/// ```
/// let names = ipvs_probe::parse::modules_builtin("kernel/net/netfilter/nf_conntrack.ko\n");
/// assert!(names.contains("nf_conntrack"));
/// ```
#[must_use]
pub fn modules_builtin(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| module_name(line.trim()))
        .collect()
}

/// Where a module is, and those that it needs, the last one to be loaded first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// Below `/lib/modules/<release>`.
    pub path: String,
    /// Likewise.
    pub needs: Vec<String>,
}

/// `/lib/modules/<release>/modules.dep`: `path: path path`.
///
/// ```
/// let files = ipvs_probe::parse::modules_dep("ipvs/ip_vs_rr.ko: ipvs/ip_vs.ko\n");
/// assert_eq!(files["ip_vs_rr"].needs, ["ipvs/ip_vs.ko"]);
/// ```
#[must_use]
pub fn modules_dep(text: &str) -> BTreeMap<String, ModuleFile> {
    let file = |line: &str| {
        let (path, needs) = line.split_once(':')?;
        let name = module_name(path)?;
        let needs = needs.split_whitespace().map(str::to_owned).collect();
        let path = path.to_owned();
        Some((name, ModuleFile { path, needs }))
    };
    text.lines().filter_map(file).collect()
}

/// A file of `modprobe.d`: the modules that it keeps from being loaded, with the line. `blacklist` keeps the kernel from
/// loading by alias; `install` with a program that does nothing keeps everyone from it.
///
/// ```
/// let barred = ipvs_probe::parse::modprobe_conf("# not here\ninstall ip_vs /bin/false\nblacklist dummy\n");
/// assert_eq!(barred["ip_vs"], "install ip_vs /bin/false");
/// assert_eq!(barred.len(), 2);
/// ```
#[must_use]
pub fn modprobe_conf(text: &str) -> BTreeMap<String, String> {
    let barred = |line: &str| {
        let mut words = line.split_whitespace();
        let name = match (words.next()?, words.next()?) {
            ("blacklist", name) => name,
            ("install", name) => {
                let program = words.next()?.rsplit('/').next()?;
                matches!(program, "true" | "false" | "nologin").then_some(name)?
            }
            _ => return None,
        };
        Some((name.replace('-', "_"), line.trim().to_owned()))
    };
    text.lines().filter_map(barred).collect()
}

/// `/proc/cmdline`: the modules that `module_blacklist=` or `modprobe.blacklist=` name, with the option.
///
/// ```
/// let barred = ipvs_probe::parse::command_line("ro quiet modprobe.blacklist=dummy,ip_vs\n");
/// assert!(barred.contains_key("ip_vs"));
/// ```
#[must_use]
pub fn command_line(text: &str) -> BTreeMap<String, String> {
    let mut barred = BTreeMap::new();
    for option in text.split_whitespace() {
        if let Some(("module_blacklist" | "modprobe.blacklist", names)) = option.split_once('=') {
            for name in names.split(',') {
                barred.insert(name.replace('-', "_"), option.to_owned());
            }
        }
    }
    barred
}

/// A file of `KEY=value` lines, as `/etc/os-release`, `/etc/selinux/config` and `/etc/ufw/ufw.conf` are.
///
/// ```
/// let keys = ipvs_probe::parse::assignments("# first\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
/// assert_eq!(keys["PRETTY_NAME"], "Debian GNU/Linux 12 (bookworm)");
/// ```
#[must_use]
pub fn assignments(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| {
            let value = value.trim().trim_matches(['"', '\'']);
            (key.trim().to_owned(), value.to_owned())
        })
        .collect()
}

/// The effective capabilities of `/proc/<pid>/status`, one bit each.
///
/// ```
/// assert_eq!(ipvs_probe::parse::effective_capabilities("Name:\tcat\nCapEff:\t0000000000003000\n"), Some(0x3000));
/// ```
#[must_use]
pub fn effective_capabilities(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Whether `/proc/<pid>/uid_map` is that of the initial user namespace: all numbers as they are.
///
/// ```
/// assert!(ipvs_probe::parse::is_initial_user_namespace("         0          0 4294967295\n"));
/// assert!(!ipvs_probe::parse::is_initial_user_namespace("0 1000 1\n"));
/// ```
#[must_use]
pub fn is_initial_user_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether `/proc/mounts` says that sysctls cannot be written. The last mount of a place is the one that counts.
///
/// ```
/// assert!(ipvs_probe::parse::has_read_only_sysctls("proc /proc proc rw 0 0\nproc /proc/sys proc ro,nosuid 0 0\n"));
/// ```
#[must_use]
pub fn has_read_only_sysctls(mounts: &str) -> bool {
    let options = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let place = words.next()?;
        matches!(place, "/proc" | "/proc/sys").then(|| words.nth(1).unwrap_or_default().to_owned())
    };
    let last = mounts.lines().rev().find_map(options);
    last.is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// Virtual and real servers of `/proc/net/ip_vs`.
///
/// ```
/// let table = "IP Virtual Server version 1.2.1 (size=4096)\nTCP  0A60000A:0050 rr\n  -> 0AF40105:1F90      Masq    1      0          0\n";
/// assert_eq!(ipvs_probe::parse::proc_ip_vs(table), (1, 1));
/// ```
#[must_use]
pub fn proc_ip_vs(text: &str) -> (usize, usize) {
    let starts = |words: &[&str]| {
        text.lines()
            .filter(|line| words.iter().any(|word| line.starts_with(word)))
            .count()
    };
    let reals = text
        .lines()
        .filter(|line| line.trim_start().starts_with("-> ") && !line.contains("RemoteAddress"))
        .count();
    (starts(&["TCP ", "UDP ", "SCTP ", "FWM "]), reals)
}

/// Connections of `/proc/net/ip_vs`: the active and inactive ones of every real server.
///
/// ```
/// let table = "TCP  0A60000A:0050 rr\n  -> 0AF40105:1F90      Masq    1      2          30\n";
/// assert_eq!(ipvs_probe::parse::proc_ip_vs_connections(table), 32);
/// ```
#[must_use]
pub fn proc_ip_vs_connections(text: &str) -> usize {
    let connections = |line: &str| {
        let mut words = line.trim_start().strip_prefix("-> ")?.split_whitespace();
        let inactive: usize = words.next_back()?.parse().ok()?;
        Some(inactive.saturating_add(words.next_back()?.parse().ok()?))
    };
    let each = text.lines().filter_map(connections);
    each.fold(0, usize::saturating_add)
}

/// Chains of the table of connections, of the first line of `/proc/net/ip_vs`. Linux 7.1 and later say 0 while there is no
/// virtual server.
///
/// ```
/// let text = "IP Virtual Server version 1.2.1 (size=4096)\n";
/// assert_eq!(ipvs_probe::parse::proc_ip_vs_size(text), Some(4096));
/// ```
#[must_use]
pub fn proc_ip_vs_size(text: &str) -> Option<usize> {
    let (_, rest) = text.lines().next()?.split_once("(size=")?;
    rest.trim_end().strip_suffix(')')?.parse().ok()
}

/// `/proc/net/ip_vs_status`, since Linux 7.1: the first number of each line, by what stands before the colon.
///
/// ```
/// let text = "Conns:\t7\nConn buckets:\t256 (8 bits, lfactor -4)\n";
/// assert_eq!(ipvs_probe::parse::ip_vs_status(text)["Conn buckets"], 256);
/// ```
#[must_use]
pub fn ip_vs_status(text: &str) -> BTreeMap<String, usize> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let number = value.split_whitespace().next()?.parse().ok()?;
        Some((key.trim().to_owned(), number))
    };
    text.lines().filter_map(pair).collect()
}

/// What iptables says where it cannot write rules, in one line: the extensions that the kernel lacks once, then the rest without
/// what is said of every error.
///
/// ```
/// let said = "Warning: Extension mark revision 0 not supported, missing kernel module?\n\
///             line 4: RULE_APPEND failed (No such file or directory): rule in chain X\n";
/// assert_eq!(
///     ipvs_probe::parse::refused_rules(said),
///     "the kernel lacks mark; line 4: RULE_APPEND failed (No such file or directory): rule in chain X"
/// );
/// ```
#[must_use]
pub fn refused_rules(said: &str) -> String {
    let mut lacks: Vec<&str> = Vec::new();
    let mut rest: Vec<&str> = Vec::new();
    for line in said.lines().map(str::trim) {
        let of_every_error = ["Try `", "Error occurred at line"];
        match line.split_once("Warning: Extension ") {
            Some((before, after)) => {
                let name = after.split_whitespace().next();
                lacks.extend(name.filter(|name| !lacks.contains(name)));
                rest.extend(
                    Some(before.trim_end_matches([' ', ':'])).filter(|before| !before.is_empty()),
                );
            }
            None if line.is_empty()
                || of_every_error.iter().any(|start| line.starts_with(start)) => {}
            None => rest.push(line),
        }
    }
    let lacks = (!lacks.is_empty()).then(|| format!("the kernel lacks {}", lacks.join(" ")));
    let parts: Vec<&str> = lacks.as_deref().into_iter().chain(rest).collect();
    parts.join("; ")
}

/// The policies of `iptables -S`: `-P INPUT DROP`.
///
/// ```
/// let policies = ipvs_probe::parse::policies("-P INPUT ACCEPT\n-P FORWARD DROP\n-A INPUT -j f\n");
/// assert_eq!(policies["FORWARD"], "DROP");
/// ```
#[must_use]
pub fn policies(text: &str) -> BTreeMap<String, String> {
    let policy = |line: &str| {
        let mut words = line.strip_prefix("-P ")?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter_map(policy).collect()
}
