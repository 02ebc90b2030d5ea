use std::collections::BTreeSet;
use std::fmt;

use crate::{Evidence, Filter, Rule, Severity};

/// What is not as it should be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// The rule that is not kept.
    pub rule: &'static Rule,
    /// What was found, and where.
    pub evidence: Evidence,
    /// What to do.
    pub remedy: Remedy,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Load modules: names with spaces between.
    LoadModule(String),
    /// Set a sysctl.
    Sysctl {
        /// Its name, as `sysctl` prints it.
        name: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// Install the package that has modules for this kernel, or boot a kernel that has them.
    InstallModules {
        /// The command, where the distribution is known; else in words.
        how: String,
        /// All that are missing.
        modules: BTreeSet<String>,
    },
    /// A command, or what to do in words: never done by a program.
    ByHand(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadModule(names) if names.contains(' ') => write!(f, "modprobe -a {names}"),
            Self::LoadModule(name) => write!(f, "modprobe {name}"),
            Self::Sysctl { name, value } => write!(f, "sysctl -w {name}={value}"),
            Self::InstallModules { how, modules } => {
                let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
                let modules = modules.join(" ");
                write!(
                    f,
                    "{how} (brings {modules}), or boot a kernel that has them"
                )
            }
            Self::ByHand(what) => f.write_str(what),
        }
    }
}

/// Whether a node can proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Verdict {
    /// As it is.
    Usable,
    /// With faults.
    Degraded,
    /// Not.
    Unusable,
}

/// What a node lacks, the worst first.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the distribution.
    pub distribution: Option<String>,
    /// The filter that was judged: that of [`Needs`](crate::Needs), or what [`Filter::Auto`] takes on this node.
    pub filter: Filter,
    /// Why [`Filter::Auto`] does not take iptables: the rules about it that are not kept and block. Empty where it does.
    pub not_iptables: Vec<&'static Rule>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of the findings; advice does not count.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self
            .findings
            .iter()
            .map(|finding| finding.rule.severity)
            .min()
        {
            Some(Severity::Blocks) => Verdict::Unusable,
            Some(Severity::Degrades) => Verdict::Degraded,
            Some(Severity::Advice) | None => Verdict::Usable,
        }
    }

    /// The findings of a severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.rule.severity == severity)
    }

    /// As a page of text, in colours where it is for a terminal.
    ///
    /// ```
    /// use ipvs_probe::{Facts, HostPrograms, Needs, Root, check};
    /// let report = check(&Facts::gather(&Root::host(), &mut HostPrograms), &Needs::default());
    /// assert!(report.page(false).to_string().contains(&report.kernel));
    /// ```
    #[must_use]
    pub const fn page(&self, colour: bool) -> Page<'_> {
        Page {
            report: self,
            colour,
        }
    }
}

/// A [`Report`] to be printed.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    report: &'a Report,
    colour: bool,
}

impl Page<'_> {
    fn painted(&self, f: &mut fmt::Formatter<'_>, code: &str, text: &str) -> fmt::Result {
        if self.colour {
            write!(f, "\x1b[{code}m{text}\x1b[0m")
        } else {
            f.write_str(text)
        }
    }
}

const HEADINGS: [(Severity, &str, &str); 3] = [
    (Severity::Blocks, "1;31", "Blocks"),
    (Severity::Degrades, "1;33", "Degrades"),
    (Severity::Advice, "1;36", "Advice"),
];

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let distribution = report
            .distribution
            .as_deref()
            .unwrap_or("unknown distribution");
        let kernel = match report.kernel.as_str() {
            "" => "unknown",
            release => release,
        };
        writeln!(f, "{distribution}, Linux {kernel}")?;
        let width = report.findings.iter().map(|finding| finding.rule.id.len());
        let width = width.max().unwrap_or(0);
        for (severity, code, name) in HEADINGS {
            if report.of(severity).next().is_none() {
                continue;
            }
            writeln!(f)?;
            self.painted(f, code, name)?;
            writeln!(f)?;
            for finding in report.of(severity) {
                writeln!(f, "  {:width$}  {}", finding.rule.id, finding.evidence)?;
                writeln!(f, "  {:width$}  {}", "", finding.rule.reason)?;
            }
        }
        if !report.findings.is_empty() {
            writeln!(f)?;
            self.painted(f, "1", "To do")?;
            writeln!(f)?;
            // What mends several is said once.
            let mut said: Vec<String> = Vec::new();
            for finding in &report.findings {
                let remedy = finding.remedy.to_string();
                if !said.contains(&remedy) {
                    writeln!(f, "  {remedy}")?;
                    said.push(remedy);
                }
            }
        }
        if !report.not_iptables.is_empty() {
            writeln!(f)?;
            self.painted(f, "1", "Not with iptables")?;
            let ids: Vec<&str> = report.not_iptables.iter().map(|rule| rule.id).collect();
            writeln!(f, "\n  {} (--filter=iptables says more)", ids.join(" "))?;
        }
        writeln!(f)?;
        let filter = report.filter;
        match report.verdict() {
            Verdict::Usable => self.painted(f, "1;32", &format!("usable with {filter}"))?,
            Verdict::Degraded => {
                let text = format!("usable with {filter}, with the faults above");
                self.painted(f, "1;33", &text)?;
            }
            Verdict::Unusable => self.painted(f, "1;31", "not usable")?,
        }
        writeln!(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut finding = serializer.serialize_struct("Finding", 6)?;
        finding.serialize_field("id", self.rule.id)?;
        finding.serialize_field("severity", &self.rule.severity)?;
        finding.serialize_field("evidence", &self.evidence)?;
        finding.serialize_field("reason", self.rule.reason)?;
        finding.serialize_field("remedy", &self.remedy.to_string())?;
        finding.serialize_field("source", self.rule.source)?;
        finding.end()
    }
}
