//! What the proxier tells Prometheus about a real kernel.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipvs_test_support::{Cluster, NetNs, RunningProxier, ask_tcp, eventually};

use crate::packets::{CIDR, addr};
use crate::shop::shop;

/// What `/metrics` says.
pub(crate) fn metrics(namespace: &NetNs) -> Result<String> {
    get(namespace, 10249, "/metrics")
}

/// An answer by HTTP, its head included.
pub(crate) fn get(namespace: &NetNs, port: u16, path: &str) -> Result<String> {
    namespace.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?
}

#[test]
fn counters_of_virtual_servers_are_told_up_to_a_bound() {
    let cluster = Cluster::new("counters").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arguments = [shop(), CIDR.to_owned(), "--service-metrics=1".to_owned()];
    let log = folder.path().join("log");
    let _proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let ask = || ask_tcp(&cluster.client, addr("10.96.0.10:80")).map(drop);
    eventually(Duration::from_secs(60), ask).unwrap();
    for _ in 0..5 {
        ask().unwrap();
    }
    // The kernel refreshes its counters every two seconds.
    let lines = eventually(Duration::from_secs(20), || {
        let text = metrics(&cluster.node)?;
        let of_all = "ipvs_proxier_virtual_server_connections_total{";
        let counted = text
            .lines()
            .find(|line| line.starts_with(of_all))
            .context("none")?;
        let count = counted.rsplit(' ').next().context("no count")?;
        ensure!(count.parse::<u32>()? >= 5, "{counted}");
        Ok(text)
    })
    .unwrap();
    let all = |name: &str| lines.lines().filter(|line| line.starts_with(name)).count();
    let name = "ipvs_proxier_virtual_server_connections_total{";
    assert_eq!(all(name), 1);
    let wanted = format!("{name}address=\"10.96.0.10\",port=\"80\",protocol=\"TCP\"}}");
    assert!(lines.contains(&wanted), "{lines}");
    assert_eq!(all("ipvs_proxier_real_server_weight{"), 2);
    assert!(
        lines.contains("ipvs_proxier_traffic_complete 0\n"),
        "{lines}"
    );
}
