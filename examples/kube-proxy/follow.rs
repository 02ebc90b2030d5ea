//! Following a cluster: what the library's run is given, and what it tells of its start.

use std::time::SystemTime;

use anyhow::Result;
use ipvs_model::{Config, Model};
use ipvs_netlink::Ipvs;
use ipvs_proxier::{
    About, Control, Controller, HealthServer, Linux, Measured, Metrics, Notice, Served,
    Source as _, run,
};

use crate::flags::Flags;
use crate::other_filters::RemovedWhenComplete;
use crate::restarting::Restarting;

/// What is answered from the first moment on: who asks must not take a node that waits for others for one that is dead.
pub(crate) struct Answering {
    server: HealthServer,
    metrics: Metrics,
}

impl Answering {
    /// Serves health and metrics while the node is prepared: alive, and not yet fit for traffic.
    pub(crate) fn start(flags: &Flags) -> Result<Self> {
        let metrics = Metrics::new(&[], SystemTime::now()).with_program(flags.program());
        let server = flags.serve(metrics.clone())?;
        let waits = "nothing was synced yet: the node is being prepared";
        server.update(|health| health.follow_node(Some(waits.to_owned())));
        Ok(Self { server, metrics })
    }
}

/// Syncs until somebody stops it, and leaves the kernel's state in place.
pub(crate) fn follow(
    flags: &Flags,
    config: Config,
    linux: Linux,
    answering: Answering,
    control: &Control,
) -> Result<()> {
    let Answering { server, metrics } = answering;
    server.update(|health| health.follow_families(config.families.clone()));
    let mut metrics = metrics.of_families(&config.families);
    if flags.service_metrics > 0 {
        metrics = metrics.with_traffic(Ipvs::open()?, flags.service_metrics);
    }
    let source = flags.source(control, metrics.clone())?;
    let mut source = Restarting::new(source, flags, std::env::args_os().collect(), control)?;
    let node = config.node_name.clone();
    for notice in starting(&node) {
        source.tell(notice);
    }
    let kept = linux.filter();
    let mut plane = Measured::new(linux, metrics.clone());
    let monitor = Served::new(server, metrics, node, flags.bind_address_hard_fail);
    let mut monitor = RemovedWhenComplete::new(monitor, kept, control);
    let mut controller = Controller::new(Model::new(config), flags.pace()?);
    run(
        &mut controller,
        &mut source,
        &mut plane,
        &mut monitor,
        control,
    )?;
    Ok(())
}

/// What kube-proxy tells at its start; the second since 1.35.
fn starting(node: &str) -> [Notice; 2] {
    let notice = |is_warning, reason, note: &str| Notice {
        about: About::Node(node.to_owned()),
        is_warning,
        reason,
        action: "StartKubeProxy",
        note: note.to_owned(),
    };
    let deprecated = "Kubernetes 1.43 has no ipvs mode any more; this proxier goes on with it";
    [
        notice(false, "Starting", ""),
        notice(true, "IPVSDeprecation", deprecated),
    ]
}
