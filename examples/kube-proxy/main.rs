//! The reference proxier: in the place of `kube-proxy --proxy-mode=ipvs`.
//!
//! ```text
//! cargo run --release --example kube-proxy -- --manifests examples/manifests --dry-run
//! cargo xtask lab -- target/release/examples/kube-proxy --manifests examples/manifests --once
//! kube-proxy --kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig --cluster-cidr=10.244.0.0/16
//! ```
//!
//! The first prints what a node would be made to do, in order; the second does it in a real kernel; the third follows a
//! cluster.

mod accepted;
mod command_line;
mod config_file;
mod flags;
mod logging;
mod nftables;
mod node;
mod run;

use std::fmt::Display;
use std::fs;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use ipvs_model::{Config, Known, Model};
use ipvs_netlink::Ipvs;
use ipvs_proxier::{Control, Linux, Measured, Metrics, Proxier, Simulated};
use serde::Serialize;
use support::limits::raise_open_files;
use support::output::{self, complain};
use support::signals;

use crate::flags::{Flags, Output};
use crate::logging::LoggingFormat;

fn main() -> ExitCode {
    let control = Control::new();
    let signals = signals::follow(&control);
    let flags = command_line::parse(std::env::args_os().collect());
    let (verbosity, format) = flags.as_ref().map_or((0, LoggingFormat::Text), |flags| {
        (flags.verbosity, flags.logging_format)
    });
    let _flush = match signals.and_then(|()| logging::start(verbosity, format)) {
        Ok(flush) => flush,
        Err(error) => {
            complain(format_args!("kube-proxy: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = raise_open_files() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    match flags.and_then(|flags| start(&flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A page of what the node lacks, or all that is wrong with the flags: a line of the log has one line of it.
            let text = whole(&error);
            text.lines().for_each(|line| tracing::error!("{line}"));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: some say theirs themselves.
fn whole(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn start(flags: &Flags) -> Result<()> {
    if let Some(path) = &flags.write_config_to {
        let text = serde_saphyr::to_string(&config_file::of(&flags.words))?;
        return fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    let config = flags.config()?;
    flags.tell();
    if flags.cleanup {
        return clean_up(flags, config);
    }
    if flags.dry_run || flags.explain.is_some() {
        let mut proxier = Proxier::new(Model::new(config), Simulated::default());
        run::load(&mut proxier, &mut *flags.source(wake())?)?;
        // The addresses of this machine's links say nothing about the node that is planned for.
        let node_addresses = proxier.model().node_ips().to_vec();
        proxier.plane().set_node_addresses(node_addresses);
        let plan = proxier.sync()?.plan;
        return match flags.explain {
            Some(subject) => print(&proxier.model().explain(subject), flags.output),
            None => print(&plan, flags.output),
        };
    }
    let needs = node::needs(&config, flags.ipvs_strict_arp);
    let linux = Linux::open(flags.iptables());
    let mut linux = linux.map_err(|error| node::explain(&needs, error.into()))?;
    flags.suit(linux.families())?;
    node::prepare(flags, &needs, linux.ipvs())?;
    if flags.init_only {
        return Ok(());
    }
    node::inspect(&needs, config.scheduler, linux.ipvs())?;
    nftables::remove_leftovers(false);
    let mut source = flags.source(wake())?;
    let config = Config {
        families: linux.families().to_vec(),
        random_fully: linux.random_fully(),
        ..config
    };
    if flags.once {
        return run::once(&mut Proxier::new(Model::new(config), linux), &mut *source);
    }
    let mut metrics = Metrics::new(&config.families, SystemTime::now());
    if flags.service_metrics > 0 {
        metrics = metrics.with_traffic(Ipvs::open()?, flags.service_metrics);
    }
    let server = flags.serve(config.families.clone(), metrics.clone())?;
    let plane = Measured::new(linux, metrics.clone());
    let mut work = run::Loop {
        proxier: Proxier::new(Model::new(config), plane),
        source: &mut *source,
        server,
        metrics,
        triggers: Vec::new(),
        verifying: None,
        failing: 0,
    };
    work.forever(flags)
}

/// Ends the waiting of this thread.
fn wake() -> impl Fn() + Send + Sync + 'static {
    let this = std::thread::current();
    move || this.unpark()
}

fn clean_up(flags: &Flags, config: Config) -> Result<()> {
    nftables::remove_leftovers(flags.dry_run);
    let linux = Linux::open(flags.iptables())?;
    let families = linux.families().to_vec();
    let mut proxier = Proxier::new(
        Model::new(Config {
            families: families.clone(),
            ..config
        }),
        linux,
    );
    if flags.dry_run {
        let known: Known = ipvs_proxier::observe(proxier.plane(), &families)?;
        return print(&proxier.model().plan_clean_up(&known), flags.output);
    }
    let report = proxier.clean_up()?;
    match report.failures.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} of {} operations failed, the first: {first}",
            report.failures.len(),
            report.plan.len()
        ),
    }
}

fn print(what: &(impl Display + Serialize), output: Output) -> Result<()> {
    match output {
        Output::Text => output::print(what)?,
        Output::Json => output::print_json(what)?,
    }
    Ok(())
}
