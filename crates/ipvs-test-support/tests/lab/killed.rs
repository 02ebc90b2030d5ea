//! `kill -9` at any moment, while endpoints change and clients ask.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use ipvs_test_support::{
    Cluster, NetNs, RunningProxier, ask_tcp, eventually, run_kube_proxy, seed,
};

use crate::changes::{POD_A, POD_B, web};
use crate::packets::{CIDR, addr};

/// A service whose connections stay open.
fn echo() -> String {
    web(POD_A)
        .replace("name: web", "name: echo")
        .replace("service-name: web", "service-name: echo")
        .replace("10.96.0.10", "10.96.0.77")
        .replace("port: 8080}", "port: 7777}")
}

fn serve_echo(pod: &NetNs) {
    let listener = pod.run(|| TcpListener::bind("0.0.0.0:7777"));
    let listener = listener.unwrap().unwrap();
    pod.serve(listener, |listener| {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
}

/// The virtual and real servers of a namespace; what drains is on its way out and left out.
fn table(namespace: &NetNs) -> Result<String> {
    let text = namespace.output("ipvsadm", &["-S", "-n"])?;
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.ends_with("-w 0"))
        .collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

#[test]
fn killed_at_any_moment_it_comes_to_the_same_state_and_no_connection_is_lost() {
    killed("killed", 20);
}

#[test]
#[ignore = "minutes: cargo xtask test --nightly"]
fn killed_500_times_it_comes_to_the_same_state_and_no_connection_is_lost() {
    killed("killed-500", 500);
}

/// Every other time by SIGKILL, else by SIGTERM.
fn killed(prefix: &str, rounds: u32) {
    let cluster = Cluster::new(prefix).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let change = |endpoints: &str| {
        let new = manifests.join("web.new");
        std::fs::write(&new, web(endpoints)).unwrap();
        std::fs::rename(&new, manifests.join("web.yaml")).unwrap();
    };
    std::fs::write(manifests.join("echo.yaml"), echo()).unwrap();
    let both = format!("{POD_A}{POD_B}");
    change(&both);
    serve_echo(&cluster.pods[0].namespace);
    let argument = format!("--manifests={}", manifests.display());
    let arguments = [argument.as_str(), CIDR, "--ipvs-min-sync-period=0s"];
    let once = [argument.as_str(), CIDR, "--once"];
    assert!(
        run_kube_proxy(&cluster.node, &once)
            .unwrap()
            .status
            .success()
    );

    let mut stream = cluster
        .client
        .run(|| TcpStream::connect("10.96.0.77:80"))
        .unwrap()
        .unwrap();
    let patience = Some(Duration::from_secs(3));
    stream.set_read_timeout(patience).unwrap();
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (asked, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Both pods answer all the time, endpoint or not: no request may fail.
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask_tcp(&cluster.client, addr("10.96.0.10:80"))?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
        let mut one = |round: u32| -> Result<()> {
            change([both.as_str(), POD_A, POD_B][round as usize % 3]);
            let proxier = RunningProxier::start(&cluster.node, &arguments, &log)?;
            std::thread::sleep(Duration::from_millis(random.u64(..700)));
            if round.is_multiple_of(2) {
                drop(proxier);
            } else {
                // Before it has begun, the signal ends it at once.
                proxier.stop()?;
            }
            stream.write_all(&[7])?;
            let mut byte = [0];
            Ok(stream.read_exact(&mut byte)?)
        };
        let all = (0..rounds).try_for_each(&mut one);
        stop.store(true, Ordering::Relaxed);
        all.unwrap();
        let asking = asking.join().unwrap();
        asking.unwrap_or_else(|error| panic!("seed {seed}: after {asked:?} requests: {error:#}"));
    });
    println!(
        "seed {seed}: {rounds} kills, {} requests, none failed",
        asked.load(Ordering::Relaxed)
    );
    assert!(asked.load(Ordering::Relaxed) > rounds);

    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let fresh = NetNs::new(&format!("{prefix}-fresh")).unwrap();
    fresh
        .ip("link add node0 type dummy\nlink set node0 up")
        .unwrap();
    assert!(run_kube_proxy(&fresh, &once).unwrap().status.success());
    let wanted = table(&fresh).unwrap();
    assert!(wanted.contains("10.244.1.11:8080"), "{wanted}");
    eventually(Duration::from_secs(60), || {
        let found = table(&cluster.node)?;
        anyhow::ensure!(found == wanted, "{found}\ninstead of\n{wanted}");
        Ok(())
    })
    .unwrap();
    assert!(proxier.stop().unwrap().success());
}
