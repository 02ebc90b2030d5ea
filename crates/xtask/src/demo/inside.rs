//! The part of the demo that runs in the lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ipvs_test_support::{Cluster, NetNs, RunningProxier, eventually};

use super::requests::{SHOP, Target};
use crate::workspace::root;

const CLUSTER_CIDR: &str = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48";
/// For the first sync, which makes the kernel load some fifteen modules, from a disk that may be slow.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run() -> Result<()> {
    println!("laying out a node, two pods and an outside client");
    let cluster = Cluster::new("demo")?;
    let folder = Folder::copy_of(&root().join("examples/manifests"))?;
    let manifests = format!("--manifests={}", folder.path.display());
    let log = folder.path.join("kube-proxy.log");
    println!("starting kube-proxy --proxy-mode=ipvs on the node with examples/manifests");
    let proxier = RunningProxier::start(
        &cluster.node,
        &["--proxy-mode=ipvs", &manifests, CLUSTER_CIDR],
        &log,
    )?;
    let shown = show(&cluster, &folder.path);
    if shown.is_err() {
        println!(
            "the log of kube-proxy:\n{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }
    shown?;
    if !proxier.stop()?.success() {
        bail!("kube-proxy did not stop cleanly");
    }
    println!("kube-proxy has stopped; what it made stays in place:");
    SHOP[1].ask(&cluster.client)?;
    println!("  api still answers\n\nevery answer was right");
    Ok(())
}

fn show(cluster: &Cluster, manifests: &Path) -> Result<()> {
    let clients: [(&str, &NetNs); 3] = [
        ("outside", &cluster.client),
        ("node", &cluster.node),
        ("pod-a", &cluster.pods[0].namespace),
    ];
    let start = Instant::now();
    // The first request may come before the first sync.
    eventually(FIRST_PATIENCE, || SHOP[8].ask(&cluster.client))?;
    println!(
        "the first request was answered after {} ms",
        start.elapsed().as_millis()
    );
    println!("\nfour requests each; who answered:\n");
    println!(
        "{:<15} {:<22} {:<20} {:<20} {:<20}",
        "service", "address", "from outside", "from the node", "from pod-a"
    );
    for target in SHOP {
        print!("{:<15} {:<22}", target.service, target.address);
        for (_, client) in clients {
            print!(" {:<20}", answers(&target, client)?);
        }
        println!();
    }
    println!(
        "\nvirtual servers (ipvsadm -L -n):\n\n{}",
        cluster.node.output("ipvsadm", &["-L", "-n"])?
    );
    follow(cluster, manifests)
}

fn answers(target: &Target, client: &NetNs) -> Result<String> {
    let count = target.ask(client)?;
    let words: Vec<String> = count
        .iter()
        .map(|(pod, times)| format!("{pod} {times}"))
        .collect();
    Ok(words.join(", "))
}

/// Takes pod-b out of the service web, and brings it back.
fn follow(cluster: &Cluster, manifests: &Path) -> Result<()> {
    let file = manifests.join("web.yaml");
    let whole = fs::read_to_string(&file)?;
    let ready = "[10.244.1.12], conditions: {ready: true}";
    let without = whole.replace(ready, "[10.244.1.12], conditions: {ready: false}");
    if without == whole {
        bail!("{} is not as this demo knows it", file.display());
    }
    for (text, pods, what) in [
        (
            &without,
            &["pod-a"][..],
            "web.yaml: pod-b is not ready any more",
        ),
        (
            &whole,
            &["pod-a", "pod-b"],
            "web.yaml: pod-b is ready again",
        ),
    ] {
        fs::write(&file, text)?;
        let start = Instant::now();
        let count = eventually(PATIENCE, || SHOP[0].answered_by(pods).ask(&cluster.client))?;
        println!(
            "{what}; after {} ms web is answered by {count:?}",
            start.elapsed().as_millis()
        );
    }
    Ok(())
}

/// A folder of its own, so that the demo changes no file of the repository.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn copy_of(source: &Path) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ipvs-demo-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        let folder = Self { path };
        for entry in fs::read_dir(source).with_context(|| format!("read {}", source.display()))? {
            let file = entry?;
            fs::copy(file.path(), folder.path.join(file.file_name()))?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is a few small files for temporary things.
        let _ = fs::remove_dir_all(&self.path);
    }
}
