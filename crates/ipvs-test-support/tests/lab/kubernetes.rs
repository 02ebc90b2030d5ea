//! The reference proxier follows the Kubernetes API, with packets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use ipvs_test_support::{Answer, ApiServer, Cluster, RunningProxier, ask_tcp, eventually};

const SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}"#;
const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.50.10"}]}}"#;
const PATIENCE: Duration = Duration::from_secs(60);

fn slice(last_bytes: &[u8]) -> String {
    let endpoints: Vec<String> = last_bytes
        .iter()
        .map(|last| format!(r#"{{"addresses": ["10.244.1.{last}"], "nodeName": "node-0"}}"#))
        .collect();
    format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {{"name": "web-1", "namespace": "shop", "labels": {{"kubernetes.io/service-name": "web"}}}},
             "ports": [{{"name": "http", "port": 8080, "protocol": "TCP"}}], "endpoints": [{}]}}"#,
        endpoints.join(",")
    )
}

#[test]
fn traffic_follows_the_api_and_goes_on_while_it_is_away() {
    let cluster = Cluster::new("api").unwrap();
    let server = cluster.node.run(ApiServer::start).unwrap().unwrap();
    for object in [SERVICE, NODE, &slice(&[11])] {
        server.put(object).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let master = format!("--master={}", server.url());
    let arguments = [
        master.as_str(),
        "--cluster-cidr=10.244.0.0/16",
        "--ipvs-min-sync-period=0s",
    ];
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let vip: SocketAddr = "10.96.0.10:80".parse().unwrap();
    let answers = || -> Result<BTreeSet<String>> {
        let answers: Result<Vec<Answer>> = (0..4).map(|_| ask_tcp(&cluster.client, vip)).collect();
        Ok(answers?.into_iter().map(|answer| answer.pod).collect())
    };
    let answered_by = |wanted: &[&str]| {
        let wanted: BTreeSet<String> = wanted.iter().map(|pod| (*pod).to_owned()).collect();
        eventually(PATIENCE, || {
            let found = answers()?;
            let text = std::fs::read_to_string(&log)?;
            anyhow::ensure!(found == wanted, "{found:?} instead of {wanted:?}: {text}");
            Ok(())
        })
        .unwrap();
    };
    answered_by(&["pod-a"]);
    server.put(&slice(&[11, 12])).unwrap();
    answered_by(&["pod-a", "pod-b"]);
    server.set_away(true);
    eventually(PATIENCE, || {
        let text = std::fs::read_to_string(&log)?;
        anyhow::ensure!(text.contains("retry with back-off"), "{text}");
        Ok(())
    })
    .unwrap();
    assert_eq!(answers().unwrap().len(), 2, "the last state stays in force");
    server.put(&slice(&[12])).unwrap();
    server.set_away(false);
    answered_by(&["pod-b"]);
    assert!(proxier.stop().unwrap().success());
}
