//! Packets between the reference proxier and the API server vanish: nobody is told, and it notices all the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use ipvs_test_support::{ApiServer, Cluster, Fault, RunningProxier, eventually};

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.50.10"}]}}"#;
/// A watch without a word was given up after 280 s, and a list never.
const PATIENCE: Duration = Duration::from_secs(90);

fn service(name: &str, last: u8) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}", "namespace": "shop"}},
            "spec": {{"clusterIP": "10.96.0.{last}", "ports": [{{"name": "http", "port": 80, "protocol": "TCP"}}]}}}}"#
    )
}

struct Lab {
    cluster: Cluster,
    server: ApiServer,
    folder: tempfile::TempDir,
    proxier: RunningProxier,
}

impl Lab {
    fn new(name: &str, fault: Option<Fault>) -> Self {
        let cluster = Cluster::new(name).unwrap();
        let server = cluster.node.run(ApiServer::start).unwrap().unwrap();
        for object in [service("web", 10), NODE.to_owned()] {
            server.put(&object).unwrap();
        }
        server.set_fault(fault);
        let folder = tempfile::tempdir().unwrap();
        let master = format!("--master={}", server.url());
        let arguments = [
            master.as_str(),
            "--cluster-cidr=10.244.0.0/16",
            "--ipvs-min-sync-period=0s",
        ];
        let proxier =
            RunningProxier::start(&cluster.node, &arguments, &folder.path().join("log")).unwrap();
        Self {
            cluster,
            server,
            folder,
            proxier,
        }
    }

    fn serves(&self, last: u8) {
        let vip = format!("10.96.0.{last}:80");
        eventually(PATIENCE, || {
            let table = self.cluster.node.output("cat", &["/proc/net/ip_vs"])?;
            let wanted = format!("0A6000{last:02X}:0050");
            ensure!(
                table.contains(&wanted),
                "{vip} is not in {table}: {}",
                self.log()?
            );
            Ok(())
        })
        .unwrap();
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Drops what goes to the server and what comes from it, or no longer.
    fn set_dropping(&self, what: &str) {
        let port = self.server.address().port().to_string();
        for side in ["--dport", "--sport"] {
            let rule = ["INPUT", "-p", "tcp", side, &port, "-j", "DROP"];
            let arguments = [&["-w", what][..], &rule].concat();
            self.cluster.node.output("iptables", &arguments).unwrap();
        }
    }

    fn asked(&self, words: &str) -> bool {
        let asked = self.server.requests();
        asked.iter().any(|target| target.contains(words))
    }

    /// While the packets vanish.
    fn notices(&self, doing: &str) {
        eventually(PATIENCE, || {
            let log = self.log()?;
            let is_told = log
                .lines()
                .any(|line| line.contains(doing) && line.contains("retry with back-off"));
            ensure!(is_told, "nobody says so: {log}");
            Ok(())
        })
        .unwrap();
    }

    /// And goes on as soon as they no longer do.
    fn recovers(self) {
        self.set_dropping("-D");
        self.server.set_fault(None);
        self.server.put(&service("new", 11)).unwrap();
        self.serves(10);
        self.serves(11);
        assert!(self.proxier.stop().unwrap().success());
    }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let wait = || {
        ensure!(is_so(), "{what}");
        Ok(())
    };
    eventually(PATIENCE, wait).unwrap();
}

#[test]
fn packets_that_vanish_are_noticed_at_a_watch() {
    let lab = Lab::new("lost-w", None);
    lab.serves(10);
    wait_for("no watch", || {
        lab.asked("services?") && lab.asked("watch=true")
    });
    lab.set_dropping("-I");
    lab.notices("watch: ");
    lab.serves(10);
    lab.recovers();
}

#[test]
fn packets_that_vanish_are_noticed_at_a_list() {
    let lab = Lab::new("lost-l", Some(Fault::Swallowed));
    wait_for("no list", || lab.asked("services?"));
    lab.set_dropping("-I");
    lab.notices("list: ");
    lab.recovers();
}

#[test]
fn packets_that_vanish_are_noticed_after_410() {
    let lab = Lab::new("lost-g", None);
    lab.serves(10);
    wait_for("no watch", || {
        lab.asked("services?") && lab.asked("watch=true")
    });
    lab.server.forget_versions();
    lab.set_dropping("-I");
    lab.notices("list: ");
    lab.serves(10);
    lab.recovers();
}
