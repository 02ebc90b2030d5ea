//! A node at rest costs next to nothing: nobody wakes the proxier but the canaries, and nothing is read.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipvs_test_support::{ApiServer, NetNs, RunningProxier, eventually};
use tempfile::TempDir;

/// How many services, of ten endpoints each: for figures with more.
const SERVICES: &str = "AT_REST_SERVICES";
/// For how many seconds, for figures that a clock of ticks allows.
const SECONDS: &str = "AT_REST_SECONDS";

/// A service of ten endpoints elsewhere.
fn objects(number: u32) -> [String; 2] {
    let [_, a, b, c] = (number + 1).to_be_bytes();
    let address = |endpoint: u32| {
        let [_, x, y, z] = (number * 10 + endpoint + 1).to_be_bytes();
        format!(
            r#"{{"addresses": ["10.{}.{y}.{z}"], "nodeName": "elsewhere"}}"#,
            128 + x
        )
    };
    let endpoints: Vec<String> = (0..10).map(address).collect();
    [
        format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "s{number}", "namespace": "rest"}},
                 "spec": {{"clusterIP": "10.{}.{b}.{c}", "ports": [{{"name": "p", "port": 80, "protocol": "TCP"}}]}}}}"#,
            97 + a
        ),
        format!(
            r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                 "metadata": {{"name": "s{number}-a", "namespace": "rest",
                               "labels": {{"kubernetes.io/service-name": "s{number}"}}}},
                 "ports": [{{"name": "p", "port": 8080, "protocol": "TCP"}}], "endpoints": [{}]}}"#,
            endpoints.join(",")
        ),
    ]
}

/// A proxier that has synced services of an API server.
pub(crate) struct Served {
    pub(crate) server: ApiServer,
    pub(crate) proxier: RunningProxier,
    /// With its log.
    _folder: TempDir,
}

impl Served {
    pub(crate) fn start(namespace: &NetNs, services: u32, more: &[&str]) -> Self {
        let server = namespace.run(ApiServer::start).unwrap().unwrap();
        server
            .put(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}}"#)
            .unwrap();
        for object in (0..services).flat_map(objects) {
            server.put(&object).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut arguments = vec![format!("--master={}", server.url())];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        let proxier = RunningProxier::start(namespace, &arguments, &log).unwrap();
        eventually(Duration::from_secs(240), || {
            let text = fs::read_to_string(&log)?;
            text.contains("synced").then_some(()).context(text)
        })
        .unwrap();
        Self {
            server,
            proxier,
            _folder: folder,
        }
    }
}

/// How often the threads of a process have waited for something.
fn waits(process: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.context("no such line")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// The CPU time that the threads of a process have had. A kernel without a clock for it (user-mode Linux) counts ticks of 10 ms.
fn cpu(process: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        let time = stat.split(' ').next().context("no time")?;
        sum += time.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

#[test]
fn a_node_at_rest_wakes_nobody_but_for_the_canaries() {
    let number = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (services, seconds) = (number(SERVICES, 100), number(SECONDS, 30));
    let namespace = NetNs::new("at-rest").unwrap();
    let served = Served::start(&namespace, services, &[]);
    let process = served.proxier.id();
    // What comes after a start, and the first resync.
    std::thread::sleep(Duration::from_secs(45));
    let before = (waits(process).unwrap(), cpu(process).unwrap());
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let waits = waits(process).unwrap() - before.0;
    let cpu = cpu(process).unwrap() - before.1;
    println!("{services} services, {seconds} s at rest: {waits} wake-ups, {cpu:?} of CPU");
    // A look at the canaries each second, in which the kernel may let it wait a few times.
    assert!(waits <= 10 * u64::from(seconds), "{waits}");
}
