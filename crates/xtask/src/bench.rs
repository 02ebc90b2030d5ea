//! Measurements, most of them in the lab.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::lab::{self, LabOptions};
use crate::workspace::{cargo_build, target};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Change a generated cluster in the model alone: a JSON line for each size and event.
    Change(ModelOptions),
    /// Load a generated cluster into an empty kernel, beside the replay of the same messages: a JSON line for each size.
    Load(SizeOptions),
    /// Read a generated table back, beside a loop that receives the same and parses nothing: a JSON line for each size.
    Dump(SizeOptions),
    /// Fill sets of nf_tables by netlink, beside `nft -f` of the same: a JSON line for each number and kind of set. It needs
    /// a kernel that has nf_tables for IP: `--kernel 6.12`.
    Entries(EntriesOptions),
    /// Run the reference proxier beside an API server with a generated cluster: a JSON line for each size and binding.
    Proxier(SizeOptions),
    /// The same, while endpoints come and go: a JSON line for each size.
    Churn(ChurnOptions),
}

struct Churn {
    services: u32,
    endpoints: u32,
    rate: u32,
    seconds: u32,
}

const CHURN: Churn = Churn {
    services: 10_000,
    endpoints: 10,
    rate: 1000,
    seconds: 600,
};

#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnOptions {
    /// Numbers of services.
    #[arg(long, value_delimiter = ',', default_values_t = [CHURN.services])]
    services: Vec<u32>,

    /// Endpoints of each service.
    #[arg(long, default_value_t = CHURN.endpoints)]
    endpoints: u32,

    /// Changes a second.
    #[arg(long, default_value_t = CHURN.rate)]
    rate: u32,

    /// How long.
    #[arg(long, default_value_t = CHURN.seconds)]
    seconds: u32,

    #[command(flatten)]
    lab: LabOptions,
}

impl ChurnOptions {
    /// What is promised: ten minutes of a large cluster.
    pub(crate) fn promised(lab: &LabOptions) -> Self {
        Self {
            services: vec![CHURN.services],
            endpoints: CHURN.endpoints,
            rate: CHURN.rate,
            seconds: CHURN.seconds,
            lab: lab.clone(),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ModelOptions {
    /// Numbers of services.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    services: Vec<u32>,

    /// Endpoints of each service.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SizeOptions {
    /// Numbers of services.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    services: Vec<u32>,

    /// Endpoints of each service.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,

    #[command(flatten)]
    lab: LabOptions,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EntriesOptions {
    /// Numbers of entries.
    #[arg(long, default_value = "1000,10000,50000")]
    entries: String,

    #[command(flatten)]
    lab: LabOptions,
}

pub(crate) fn run(bench: &Bench) -> Result<u8> {
    let (program, options) = match bench {
        Bench::Change(options) => return change(options),
        Bench::Entries(options) => return entries(options),
        Bench::Load(options) => ("bench-load", options),
        Bench::Dump(options) => ("bench-dump", options),
        Bench::Proxier(options) => ("bench-proxier", options),
        Bench::Churn(options) => return churn(options),
    };
    lab::require(&options.lab)?;
    let program = build(program)?;
    // What is measured beyond the size.
    let variants: &[&[&str]] = match bench {
        Bench::Proxier(_) => {
            build_kube_proxy()?;
            &[&["--vip-binding=address"], &["--vip-binding=route"]]
        }
        _ => &[&[]],
    };
    // One boot for each size: the kernel remembers removed real servers for minutes.
    for services in &options.services {
        for variant in variants {
            let size = size(*services, options.endpoints);
            let command = [program.clone()].into_iter().chain(size);
            let command = command.chain(variant.iter().map(OsString::from));
            let status = lab::run(&options.lab, &command.collect::<Vec<_>>())?;
            if status != 0 {
                bail!("{services} services: exit status {status}");
            }
        }
    }
    Ok(0)
}

fn entries(options: &EntriesOptions) -> Result<u8> {
    lab::require(&options.lab)?;
    let program = build("bench-entries")?;
    let numbers = ["--entries".into(), options.entries.clone().into()];
    let command: Vec<_> = [program].into_iter().chain(numbers).collect();
    lab::run(&options.lab, &command)
}

/// Fails unless a proxier that starts anew has nothing to do at the end.
pub(crate) fn churn(options: &ChurnOptions) -> Result<u8> {
    lab::require(&options.lab)?;
    let program = build("bench-proxier")?;
    build_kube_proxy()?;
    for services in &options.services {
        let size = size(*services, options.endpoints);
        let churn = [
            format!("--churn={}", options.rate),
            format!("--seconds={}", options.seconds),
        ];
        let command = [program.clone()].into_iter().chain(size);
        let command = command.chain(churn.map(OsString::from));
        let status = lab::run(&options.lab, &command.collect::<Vec<_>>())?;
        if status != 0 {
            bail!("{services} services: exit status {status}");
        }
    }
    Ok(0)
}

/// One process for each size: memory that another has freed would be counted otherwise.
fn change(options: &ModelOptions) -> Result<u8> {
    let program = build("bench-change")?;
    for services in &options.services {
        let mut command = Command::new(&program);
        command.args(size(*services, options.endpoints));
        let status = command.status().context("cannot run the bench")?;
        if !status.success() {
            bail!("{services} services: {status}");
        }
    }
    Ok(0)
}

fn size(services: u32, endpoints: u32) -> [OsString; 4] {
    let [services, endpoints] = [services, endpoints].map(|number| number.to_string().into());
    [
        "--services".into(),
        services,
        "--endpoints".into(),
        endpoints,
    ]
}

fn build(program: &str) -> Result<OsString> {
    cargo_build(&["--package", "benches", "--bin", program])?;
    Ok(target().join("release").join(program).into_os_string())
}

fn build_kube_proxy() -> Result<()> {
    cargo_build(&["--package", "examples", "--example", "kube-proxy"])
}
