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
mod clean_up;
mod command_line;
mod config_file;
mod flags;
mod follow;
mod go_duration;
mod logging;
mod node;
mod other_filters;
mod restarting;

use std::fmt::Display;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use ipvs_model::input::Change;
use ipvs_model::{Config, Known, Model};
use ipvs_proxier::{Control, Controller, Linux, end_programs, load, run_once};
use serde::Serialize;
use support::limits::raise_open_files;
use support::output::{self, complain, whole};
use support::signals;

use crate::flags::{Flags, Output};
use crate::follow::Answering;
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
    let done = flags.and_then(|flags| start(&flags, &control));
    // One that nobody waits for any more, as it hangs, must not outlive this process.
    end_programs();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A page of what the node lacks, or all that is wrong with the flags: a line of the log has one line of it.
            let text = whole(&error);
            text.lines().for_each(|line| tracing::error!("{line}"));
            ExitCode::FAILURE
        }
    }
}

fn start(flags: &Flags, control: &Control) -> Result<()> {
    if flags.is_once() {
        signals::unfinished_is_failure();
    }
    if let Some(path) = &flags.write_config_to {
        let text = serde_saphyr::to_string(&config_file::of(&flags.words))?;
        return fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    let config = flags.config()?;
    flags.tell();
    if flags.cleanup {
        return clean_up::run(flags, &config, control);
    }
    if flags.dry_run || flags.explain.is_some() {
        return plan(flags, config, control);
    }
    let needs = node::needs(&config, flags);
    let at_most = (flags.once || flags.init_only).then_some(node::LOCK_PATIENCE);
    let is_follower = !flags.is_once();
    let answering = is_follower.then(|| Answering::start(flags)).transpose()?;
    node::load_ipvs();
    let mut linux = match Linux::open_when_free(flags.filter(), control, at_most) {
        Ok(linux) => linux,
        // What was to be done to its end was not even begun.
        Err(_) if control.is_stopping() && is_follower => return Ok(()),
        Err(error) => return Err(node::explain(&needs, error)),
    };
    flags.suit(linux.families())?;
    node::prepare(flags, &needs, linux.ipvs())?;
    if flags.init_only {
        return Ok(());
    }
    node::inspect(&needs, config.scheduler, &mut linux)?;
    let config = Config {
        families: linux.families().to_vec(),
        random_fully: linux.random_fully(),
        ..config
    };
    let Some(answering) = answering else {
        let mut source = flags.source(control, ())?;
        let mut controller = Controller::new(Model::new(config.clone()), flags.pace()?);
        run_once(&mut controller, &mut *source, &mut linux, control)?;
        other_filters::remove(&config, linux.filter(), control);
        return Ok(());
    };
    follow::follow(flags, config, linux, answering, control)
}

/// Prints what a node that has nothing would be made to do, or why something of it is there.
fn plan(flags: &Flags, config: Config, control: &Control) -> Result<()> {
    let mut model = Model::new(config);
    for change in load(&mut *flags.source(control, ())?, control)? {
        model.change(change);
    }
    // The addresses of this machine's links say nothing about the node that is planned for.
    let node_addresses = model.node_ips().to_vec();
    model.change(Change::NodeAddresses(node_addresses));
    let plan = model.plan_everything(&Known::default());
    for (service, problem) in model.desired().problems() {
        tracing::warn!("Service {service}: {problem}");
    }
    match flags.explain {
        Some(subject) => print(&model.explain(subject), flags.output),
        None => print(&plan, flags.output),
    }
}

fn print(what: &(impl Display + Serialize), output: Output) -> Result<()> {
    match output {
        Output::Text => output::print(what)?,
        Output::Json => output::print_json(what)?,
    }
    Ok(())
}
