//! A load balancer from a TOML file, without Kubernetes: the proxier with a source of its own.
//!
//! ```text
//! cargo run --example static_lb -- examples/static_lb/lb.toml --dry-run
//! cargo xtask lab -- target/debug/examples/static_lb examples/static_lb/lb.toml --once
//! ```
//!
//! The file is followed while it runs: servers that leave it are drained, those that come get their share at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use ipvs_model::input::{Change, Manifest, ObjectName};
use ipvs_model::{Config, Foreign, Known, Model, VipBinding};
use ipvs_probe::{Facts, Needs, NoPrograms, Root, mend, steps_at_start};
use ipvs_proxier::{
    Control, Controller, FollowedFile, IptablesBackend, Linux, Moment, Pace, Polled, Source,
    end_programs, file_text, load, run, run_once,
};
use serde::Deserialize;
use serde_json::json;
use support::output::whole;
use support::{log, output, signals};
use tracing_subscriber::EnvFilter;

/// The file has at most so many bytes.
const AT_MOST: u64 = 16 << 20;

#[derive(Parser)]
#[command(version, about = "Balances the virtual servers of a TOML file.")]
struct Arguments {
    /// The file.
    file: PathBuf,
    /// Sync once and exit.
    #[arg(long)]
    once: bool,
    /// Print what would be done on a machine without any state.
    #[arg(long)]
    dry_run: bool,
    /// Look this often for what others change where the kernel tells nobody; 0 never.
    #[arg(long, default_value_t = 1, value_name = "SECONDS")]
    canary_period: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "virtual_server", default)]
    virtual_servers: BTreeMap<String, VirtualServer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VirtualServer {
    /// Where clients connect to.
    address: SocketAddr,
    #[serde(default = "tcp")]
    protocol: String,
    scheduler: Option<String>,
    /// Seconds for which a client stays with its server.
    persistence: Option<u32>,
    /// Connections of a server that leaves are cut after this long, as `30s`.
    drain: Option<String>,
    servers: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    address: SocketAddr,
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

fn tcp() -> String {
    "tcp".to_owned()
}

impl VirtualServer {
    /// As the objects that the model knows: a Service, and an EndpointSlice for each port of the servers.
    fn into_changes(self, name: &str) -> Result<Vec<Change>> {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut by_port: BTreeMap<u16, Vec<serde_json::Value>> = BTreeMap::new();
        let mut weights = Vec::new();
        for server in &self.servers {
            let ip = server.address.ip();
            ensure!(
                family(ip) == family(self.address.ip()),
                "{name}: server {} is not of the family of {}",
                server.address,
                self.address
            );
            // Weights go by node: each server is one.
            let endpoint = json!({"addresses": [ip], "nodeName": ip.to_string()});
            by_port
                .entry(server.address.port())
                .or_default()
                .push(endpoint);
            weights.push(format!("{ip}={}", server.weight));
        }
        let mut annotations = serde_json::Map::new();
        annotations.insert("ipvs-proxier/weights".into(), json!(weights.join(",")));
        if let Some(scheduler) = &self.scheduler {
            annotations.insert("ipvs-proxier/scheduler".into(), json!(scheduler));
        }
        if let Some(drain) = &self.drain {
            annotations.insert("ipvs-proxier/drain-deadline".into(), json!(drain));
        }
        let protocol = self.protocol.to_uppercase();
        let mut spec = json!({
            "clusterIP": self.address.ip(),
            "ports": [{"name": "port", "port": self.address.port(), "protocol": protocol}],
        });
        if let Some(seconds) = self.persistence {
            spec["sessionAffinity"] = json!("ClientIP");
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
        }
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        })];
        for (port, endpoints) in by_port {
            objects.push(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{name}-{port}"), "labels": {"kubernetes.io/service-name": name}},
                "addressType": family(self.address.ip()),
                "ports": [{"name": "port", "port": port, "protocol": protocol}],
                "endpoints": endpoints,
            }));
        }
        let mut changes = Vec::new();
        for object in objects {
            let manifest: Manifest = serde_json::from_value(object)?;
            let of_object = manifest.into_changes();
            changes.extend(of_object.with_context(|| format!("virtual server {name}"))?);
        }
        Ok(changes)
    }
}

/// A file that is read whenever it changes. One that cannot be used is told of, and the last good one stays.
struct Watched {
    file: FollowedFile,
    objects: Objects,
    complete: bool,
}

impl Watched {
    fn new(path: PathBuf, control: &Control) -> Result<Self> {
        Ok(Self {
            file: FollowedFile::start(path, AT_MOST, control.waker())?,
            objects: Objects::default(),
            complete: false,
        })
    }
}

/// What the file had when it was last good.
#[derive(Default)]
struct Objects {
    services: BTreeSet<ObjectName>,
    slices: BTreeSet<ObjectName>,
}

impl Objects {
    fn read(&mut self, contents: &[u8]) -> Result<Vec<Change>> {
        let text = file_text(contents)?;
        let file: File = toml::from_str(text).map_err(|error| in_a_line(&error))?;
        let mut changes = Vec::new();
        for (name, server) in file.virtual_servers {
            changes.extend(server.into_changes(&name)?);
        }
        let (mut services, mut slices) = (BTreeSet::new(), BTreeSet::new());
        for change in &changes {
            match change {
                Change::Service(service) => drop(services.insert(service.name.clone())),
                Change::EndpointSlice(slice) => drop(slices.insert(slice.name.clone())),
                _ => {}
            }
        }
        let gone = self.services.difference(&services).cloned();
        changes.extend(gone.map(Change::ServiceGone));
        let gone = self.slices.difference(&slices).cloned();
        changes.extend(gone.map(Change::EndpointSliceGone));
        (self.services, self.slices) = (services, slices);
        Ok(changes)
    }
}

/// Where and what; a log has no room for the picture between them.
fn in_a_line(error: &toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default();
    anyhow!("{place}: {}", error.message())
}

impl Source for Watched {
    fn poll(&mut self) -> Polled {
        let ended = self.file.ended().map(str::to_owned);
        let objects = &mut self.objects;
        let new = self.file.poll(|contents| {
            let changes = objects.read(contents);
            changes.map_err(|error| whole(&error))
        });
        self.complete |= !new.values.is_empty();
        Polled {
            changes: new.values.into_iter().flatten().collect(),
            problems: new.problems,
            ended,
            ..Polled::default()
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    /// The file does, when it changes.
    fn wakes(&self) -> bool {
        true
    }

    fn problems(&self) -> &[String] {
        self.file.problems()
    }

    fn reload(&mut self) {
        self.file.reload();
    }
}

fn main() -> ExitCode {
    let control = Control::new();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => output::exit("static_lb", &said, 2),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _flush = match signals::follow(&control).and_then(|()| log::start(filter)) {
        Ok(flush) => flush,
        Err(error) => {
            output::complain(format_args!("static_lb: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = balance(&arguments, &control);
    // One that nobody waits for any more, as it hangs, must not outlive this process.
    end_programs();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

fn balance(arguments: &Arguments, control: &Control) -> Result<()> {
    if arguments.once || arguments.dry_run {
        signals::unfinished_is_failure();
    }
    let mut source = Watched::new(arguments.file.clone(), control)?;
    // Servers answer through this machine, whoever asks; what others balance here is theirs.
    let config = Config {
        masquerade_all: true,
        vip_binding: VipBinding::Route,
        foreign: Foreign::Keep,
        ..Config::default()
    };
    if arguments.dry_run {
        let mut model = Model::new(config);
        for change in load(&mut source, control)? {
            model.change(change);
        }
        output::print(model.plan_everything(&Known::default()))?;
        return Ok(());
    }
    let at_most = arguments.once.then_some(Duration::from_secs(60));
    let mut plane = match Linux::open_when_free(IptablesBackend::Auto, control, at_most) {
        Ok(plane) => plane,
        Err(_) if control.is_stopping() && !arguments.once => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Forwarding, and the sysctls of IPVS.
    let root = Root::host();
    let facts = Facts::gather(&root, &mut NoPrograms);
    for (step, reason) in steps_at_start(&facts, &Needs::default()) {
        mend(&root, &mut NoPrograms, &step)?;
        tracing::info!("{step}: {reason}");
    }
    let config = Config {
        families: plane.families().to_vec(),
        random_fully: plane.random_fully(),
        ..config
    };
    let canary =
        (arguments.canary_period > 0).then(|| Duration::from_secs(arguments.canary_period));
    let pace = Pace {
        canary,
        ..Pace::default()
    };
    let mut controller = Controller::new(Model::new(config), pace);
    if arguments.once {
        run_once(&mut controller, &mut source, &mut plane, control)?;
        return Ok(());
    }
    // A file that cannot be used is an error at the start; later the last good one stays.
    let changes = load(&mut source, control)?;
    controller.source(Moment::now(), changes, Vec::new(), true);
    run(&mut controller, &mut source, &mut plane, &mut (), control)?;
    Ok(())
}
