//! Whether a node can proxy by IPVS, what is missing, and with `--fix` putting it right.
//!
//! ```text
//! cargo run --example preflight
//! cargo xtask lab -- target/debug/examples/preflight --scheduler=wrr
//! preflight --fix --dry-run
//! preflight --filter=nftables
//! ```
//!
//! Without `--fix` nothing of the node is changed: a virtual server is made and removed where IPVS is loaded, rules of iptables are
//! written in a network namespace of their own, and where nftables will be used and IPVS is loaded, a table of it is made and
//! removed in one transaction. The kernel loads the modules that rules use, as at any first use.
//!
//! Exit status: 0 usable, 1 not usable, 2 usable with faults, 3 for a wrong command line or a step that failed; the other steps
//! are taken and the page is printed none the less.

mod attempt;
mod trial;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use ipvs_codec::Scheduler;
use ipvs_netlink::Ipvs;
use ipvs_probe::{
    Attempt, Facts, Filter, HostPrograms, Needs, Profile, Report, Root, Rule, Severity, Verdict,
    check, find_rule, mend, steps, try_rules,
};
use support::output::{Unwritten, complain, exit, print, print_json, whole};

#[derive(Parser)]
#[command(
    version,
    about = "Whether this node can proxy by IPVS, what is missing, and how to put it right."
)]
struct Arguments {
    /// What the node is to do; there is only ipvs
    #[arg(long, value_enum, default_value = "ipvs")]
    mode: Mode,
    /// The scheduler that virtual servers will have
    #[arg(long, default_value = "rr")]
    scheduler: Scheduler,
    /// Which list of modules must be there
    #[arg(long, value_enum, default_value = "current")]
    profile: ProfileName,
    /// Addresses of virtual servers are to be silent in ARP
    #[arg(long)]
    strict_arp: bool,
    /// There will be IPv6 services
    #[arg(long)]
    ipv6: bool,
    /// Everything will be masqueraded
    #[arg(long)]
    masquerade_all: bool,
    /// What will write the rules: iptables with ipset, as kube-proxy; nftables, without either; or nftables where iptables or ipset
    /// does not work
    #[arg(long, value_enum, default_value = "auto")]
    filter: FilterName,
    /// Which iptables will write the rules: the one that works, or a certain one. A certain one is no choice for --filter=nftables
    #[arg(long, value_enum, default_value = "auto")]
    iptables_backend: Backend,
    /// Look at the system below this folder; programs are not run, and neither IPVS nor rules are tried then
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// Load modules, set sysctls, and write the files that make both last
    #[arg(long)]
    fix: bool,
    /// With --fix: only say what would be done
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// A page to read, or JSON with every fact
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Tell all about one rule
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Ipvs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    Current,
    #[value(name = "kube-1.8")]
    Kube18,
}

#[derive(Clone, Copy, ValueEnum)]
enum FilterName {
    Auto,
    Iptables,
    Nftables,
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Auto,
    Legacy,
    Nft,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|said| exit("preflight", &said, 3));
    match run(&arguments) {
        Ok(Verdict::Usable) => ExitCode::SUCCESS,
        Ok(Verdict::Unusable) => ExitCode::from(1),
        Ok(Verdict::Degraded) => ExitCode::from(2),
        Err(error) => {
            complain(format_args!("preflight: {}", whole(&error)));
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Verdict> {
    if let Some(id) = &arguments.explain {
        let rule = find_rule(id).with_context(|| {
            let ids: Vec<&str> = ipvs_probe::RULES.iter().map(|rule| rule.id).collect();
            format!("no rule {id}; there are: {}", ids.join(" "))
        })?;
        print(explain(rule))?;
        return Ok(Verdict::Usable);
    }
    // There is only one mode, and it is the one that is checked.
    let Mode::Ipvs = arguments.mode;
    let root = Root::below(&arguments.root);
    let needs = needs(arguments);
    let (facts, report) = look(&root, &needs, arguments.scheduler);
    if !arguments.fix {
        tell(&facts, &report, arguments.output)?;
        return Ok(report.verdict());
    }
    let mut failed = 0_usize;
    for step in steps(&root, &facts, &needs, &report) {
        print(format_args!("{step}\n"))?;
        if arguments.dry_run {
            continue;
        }
        // The others do some good without it, and the page says what is still missing.
        if let Err(error) = mend(&root, &mut HostPrograms, &step) {
            failed = failed.saturating_add(1);
            complain(format_args!("preflight: {error}"));
        }
    }
    let (facts, report) = look(&root, &needs, arguments.scheduler);
    tell(&facts, &report, arguments.output)?;
    if failed > 0 {
        bail!("{failed} steps failed, as said above");
    }
    Ok(report.verdict())
}

fn needs(arguments: &Arguments) -> Needs {
    Needs {
        scheduler: arguments.scheduler.to_string(),
        profile: match arguments.profile {
            ProfileName::Current => Profile::Current,
            ProfileName::Kube18 => Profile::Kube18,
        },
        filter: match (arguments.filter, arguments.iptables_backend) {
            (FilterName::Nftables, _) => Filter::Nftables,
            (FilterName::Auto, Backend::Auto) => Filter::Auto,
            (FilterName::Iptables, Backend::Auto) => Filter::Iptables,
            (_, Backend::Legacy) => Filter::IptablesLegacy,
            (_, Backend::Nft) => Filter::IptablesNft,
        },
        strict_arp: arguments.strict_arp,
        ipv6: arguments.ipv6,
        masquerade_all: arguments.masquerade_all,
        ..Needs::default()
    }
}

fn look(root: &Root, needs: &Needs, scheduler: Scheduler) -> (Facts, Report) {
    let mut facts = Facts::gather(root, &mut HostPrograms);
    // Trying would load what is not loaded; then there would be nothing to tell.
    let is_there = facts
        .modules
        .get("ip_vs")
        .is_some_and(|module| module.state.is_present());
    let is_listed = facts
        .modules
        .get("ip_vs")
        .is_some_and(|module| !matches!(module.state, ipvs_probe::ModuleState::Unknown));
    if root.is_host() && (is_there || !is_listed) {
        facts.ipvs = match Ipvs::open() {
            Ok(mut ipvs) => attempt::attempt(&mut ipvs, scheduler),
            Err(error) => attempt::refused(&error),
        };
    }
    if root.is_host() {
        facts.rules = try_rules(&facts, needs, &mut HostPrograms);
    }
    let report = check(&facts, needs);
    // On a node that is served by iptables no module of nftables is to be loaded.
    let loaded = matches!(facts.ipvs, Attempt::Works { .. });
    if loaded && report.filter == Filter::Nftables {
        facts.rules.extend(trial::try_nftables());
        let report = check(&facts, needs);
        return (facts, report);
    }
    (facts, report)
}

fn tell(facts: &Facts, report: &Report, output: Output) -> Result<(), Unwritten> {
    match output {
        Output::Text => {
            let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            print(report.page(colour))
        }
        Output::Json => print_json(&serde_json::json!({
            "verdict": report.verdict(),
            "filter": report.filter,
            "not_iptables": report.not_iptables.iter().map(|rule| rule.id).collect::<Vec<_>>(),
            "findings": report.findings,
            "facts": facts,
        })),
    }
}

fn explain(rule: &Rule) -> String {
    let severity = match rule.severity {
        Severity::Blocks => "no proxying without it",
        Severity::Degrades => "proxying with faults without it",
        Severity::Advice => "worth knowing",
    };
    format!(
        "{}: {severity}\n\nneeds   {}\nwhen    {}\nwhy     {}\nsource  {}\n",
        rule.id, rule.need, rule.when, rule.reason, rule.source
    )
}
