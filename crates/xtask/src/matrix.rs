//! The tests that tell kernels apart, on every kernel with every iptables.

use std::fmt::Write as _;

use anyhow::Result;

use crate::lab::{self, Backend, Filter, Kernel, LabOptions};
use crate::lab_tests::{LabTests, Report};

/// A column of the table: its head, and what the names of its tests begin with.
struct Group {
    name: &'static str,
    tests: &'static [&'static str],
}

const GROUPS: [Group; 6] = [
    group("golden", &["golden::", "nftables::"]),
    group(
        "packets",
        &["packets::", "changes::", "flows::", "spread::"],
    ),
    group("hand-over", &["hand_over::"]),
    group("clean-up", &["clean_up::"]),
    group(
        "faults",
        &["lock::", "programs::", "signals::", "hands::", "rules::"],
    ),
    group("cold start", &["cold::"]),
];

const fn group(name: &'static str, tests: &'static [&'static str]) -> Group {
    Group { name, tests }
}

/// Runs them, also after some failed, and prints a line for each kernel and iptables, at the end all of them as a table.
///
/// # Errors
/// If the tests do not build.
pub(crate) fn run(options: &LabOptions) -> Result<u8> {
    let tests = LabTests::build()?;
    let mut worst = 0;
    let mut table = head();
    for (kernel, backend, filter) in rows(options) {
        let options = LabOptions {
            kernel: Some(kernel),
            backend: Some(backend),
            filter: Some(filter),
            ..options.clone()
        };
        let row = match row(&tests, &options) {
            Ok((row, status)) => {
                worst = worst.max(status);
                row
            }
            Err(error) => {
                worst = worst.max(1);
                format!(" {error:#} |")
            }
        };
        let line = format!("| {kernel} | {} |{row}", name(backend, filter));
        println!("{line}");
        table += &format!("{line}\n");
    }
    print!("\n{table}");
    Ok(worst)
}

/// Those that are asked for.
fn rows(options: &LabOptions) -> impl Iterator<Item = (Kernel, Backend, Filter)> {
    let is_wanted = |(kernel, backend, filter): &(Kernel, Backend, Filter)| {
        options.kernel.is_none_or(|wanted| wanted == *kernel)
            && options.backend.is_none_or(|wanted| wanted == *backend)
            && options.filter.is_none_or(|wanted| wanted == *filter)
    };
    Kernel::matrix().into_iter().filter(is_wanted)
}

/// How a row is called.
const fn name(backend: Backend, filter: Filter) -> &'static str {
    match (filter, backend) {
        (Filter::Nftables, _) => "nftables",
        (_, Backend::Nft) => "iptables-nft",
        (_, Backend::Legacy) => "iptables-legacy",
    }
}

fn head() -> String {
    let mut head = "| kernel | filter |".to_owned();
    let mut line = "|---|---|".to_owned();
    for group in GROUPS {
        // Writing to a String cannot fail.
        let _ = write!(head, " {} |", group.name);
        line.push_str("---|");
    }
    format!("{head}\n{line}\n")
}

fn row(tests: &LabTests, options: &LabOptions) -> Result<(String, u8)> {
    lab::require_tools(options)?;
    let mut row = String::new();
    let mut worst = 0;
    for group in GROUPS {
        let words: Vec<_> = group.tests.iter().map(Into::into).collect();
        let report = tests.run(options, &[], &words)?;
        worst = worst.max(report.status);
        // Writing to a String cannot fail.
        let _ = write!(row, " {} |", cell(report));
    }
    Ok((row, worst))
}

/// `26`, `24 of 26`; what the kernel cannot have is left out.
fn cell(report: Report) -> String {
    match report.failed {
        0 => report.passed.to_string(),
        failed => format!("{} of {}", report.passed, report.passed + failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_what_failed() {
        let report = Report {
            passed: 24,
            failed: 2,
            skipped: 1,
            status: 101,
        };
        assert_eq!(cell(report), "24 of 26");
        let report = Report {
            failed: 0,
            ..report
        };
        assert_eq!(cell(report), "24");
    }
}
