//! Files that are written in place while programs follow them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ipvs_test_support::{Cluster, RunningProxier, eventually, example};

use crate::changes::{POD_A, web};
use crate::packets::CIDR;

const REWRITES: u8 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A node whose pod-a sends back what it gets, on port 7777.
fn with_echo(prefix: &str) -> Cluster {
    let cluster = Cluster::new(prefix).unwrap();
    let pod = &cluster.pods[0].namespace;
    let listener = pod.run(|| TcpListener::bind("0.0.0.0:7777"));
    pod.serve(listener.unwrap().unwrap(), |listener| {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut stream, mut byte) = (stream, [0]);
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    cluster
}

/// `generator > FILE`: empty first, then half of it, then all.
fn generate(file: &Path, text: &str) {
    let (first, second) = text.split_at(text.len() / 2);
    let pause = Duration::from_millis(250);
    let mut file = File::create(file).unwrap();
    thread::sleep(pause);
    file.write_all(first.as_bytes()).unwrap();
    thread::sleep(pause);
    file.write_all(second.as_bytes()).unwrap();
}

/// A connection to what the file says goes on while the file is rewritten, and the kernel's state stays as it is.
fn nothing_happens_while_it_is_rewritten(cluster: &Cluster, file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let connect = || {
        let mut stream = TcpStream::connect("10.96.0.10:80")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&[0])?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    let connected = cluster.client.run(|| eventually(PATIENCE, connect));
    let mut stream = connected.unwrap().unwrap();
    let state = || {
        let servers = cluster.node.output("ipvsadm", &["-S", "-n"]).unwrap();
        assert!(servers.contains("10.244.1.11:7777"), "{servers}");
        // Other interfaces change by themselves: their link-local addresses are tentative for a second or two.
        let bound = ["-o", "addr", "show", "dev", "kube-ipvs0"];
        servers + &cluster.node.output("ip", &bound).unwrap()
    };
    let before = state();
    for round in 0..REWRITES {
        thread::scope(|scope| {
            let writer = scope.spawn(|| generate(file, &text));
            while !writer.is_finished() {
                let mut answer = [0];
                stream.write_all(&[round]).unwrap();
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round]);
                assert_eq!(state(), before, "rewrite {round}");
            }
        });
    }
}

#[test]
fn a_manifest_that_is_rewritten_in_place_cuts_no_connection() {
    let cluster = with_echo("ff-kube");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    let log = folder.path().join("log");
    let manifest = web(POD_A).replace("port: 8080}", "port: 7777}");
    fs::write(&file, manifest).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let arguments = [manifests.as_str(), CIDR, "--ipvs-min-sync-period=0s"];
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    nothing_happens_while_it_is_rewritten(&cluster, &file);
    assert!(proxier.stop().unwrap().success());
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_file_of_static_lb_that_is_rewritten_in_place_cuts_no_connection() {
    let cluster = with_echo("ff-static");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb.toml");
    let server = "{ address = \"10.244.1.11:7777\" }";
    let text = format!("[virtual_server.web]\naddress = \"10.96.0.10:80\"\nservers = [{server}]\n");
    fs::write(&file, text).unwrap();
    let start = || Command::new(example("static_lb")).arg(&file).spawn();
    let mut process = cluster.node.run(start).unwrap().unwrap();
    nothing_happens_while_it_is_rewritten(&cluster, &file);
    process.kill().unwrap();
    process.wait().unwrap();
}
