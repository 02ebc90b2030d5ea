//! What a program and all that it started are doing, as `/proc` tells.

use std::fs;
use std::path::Path;

use super::patience::Doing;

/// The processes of a group: what they do, and their CPU time together in nanoseconds or, where the kernel does not count
/// them, in ticks. It is the group that counts: a shell that waits for a program of its own does nothing. Of a process with
/// several threads it is what the first one does; iptables and shells have no others. O(processes of the machine) if the first
/// of the group does not run.
pub(super) fn of_group(group: u32) -> (Doing, u64) {
    let proc = Path::new("/proc");
    let leader = proc.join(group.to_string());
    let first = fs::read_to_string(leader.join("stat")).ok();
    if let Some(found) = first.as_deref().and_then(parse)
        && found.doing == Doing::Runs
    {
        return (found.doing, cpu(&leader, &found));
    }
    let mut all = (Doing::Sleeps, 0_u64);
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        if !entry.file_name().to_str().is_some_and(is_process) {
            continue;
        }
        let path = entry.path();
        let stat = fs::read_to_string(path.join("stat")).ok();
        let found = stat.as_deref().and_then(parse);
        if let Some(found) = found.filter(|found| found.group == group) {
            all.0 = all.0.max(found.doing);
            all.1 = all.1.saturating_add(cpu(&path, &found));
        }
    }
    all
}

/// Nanoseconds tell a process that had a short turn from one that had none.
fn cpu(process: &Path, stat: &Stat) -> u64 {
    let exact = fs::read_to_string(process.join("schedstat")).ok();
    let exact = exact.and_then(|text| text.split_whitespace().next()?.parse().ok());
    exact.unwrap_or(stat.ticks)
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    doing: Doing,
    group: u32,
    ticks: u64,
}

fn parse(stat: &str) -> Option<Stat> {
    // The name of the program stands in parentheses, and may hold some itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let doing = match fields.next()? {
        "R" => Doing::Runs,
        "D" => Doing::InKernel,
        _ => Doing::Sleeps,
    };
    let group = fields.nth(1)?.parse().ok()?;
    // utime and stime are the 14th and 15th field, the group is the 5th.
    let user: u64 = fields.nth(8)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat {
        doing,
        group,
        ticks: user.saturating_add(system),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name() {
        let line = "24058 (a) R (b) S 24017 22783 13199 0 -1 4194304 64 0 0 0 17 3 0 0 20 0 1 0 159813 2654208";
        let wanted = Stat {
            doing: Doing::Sleeps,
            group: 22783,
            ticks: 20,
        };
        assert_eq!(parse(line), Some(wanted));
        for (state, doing) in [
            ("R", Doing::Runs),
            ("D", Doing::InKernel),
            ("T", Doing::Sleeps),
        ] {
            let line = line.replace(") S ", &format!(") {state} "));
            assert_eq!(parse(&line).unwrap().doing, doing);
        }
        for broken in ["", "1 (x", "1 (x)", "1 (x) S 1", "1 (x) S 1 y 0"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
