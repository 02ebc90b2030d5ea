//! Clients of endpoints that leave: none is cut off, none comes to one that is gone.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipvs_test_support::{ask_tcp, ask_udp, eventually};

use crate::changes::{POD_A, POD_B, web};
use crate::clients::{Followed, dns};
use crate::packets::addr;

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "10.96.0.10:80";

/// The client has said all that it has to say, and listens still while its pod drains.
#[test]
fn a_half_closed_connection_is_heard_to_its_end() {
    let slow = |endpoints: &str| web(endpoints).replace("port: 8080}", "port: 7777}");
    let followed = Followed::start("lv-half", &slow(POD_A));
    let pod = &followed.cluster.pods[0].namespace;
    let listener = pod
        .run(|| TcpListener::bind("0.0.0.0:7777"))
        .unwrap()
        .unwrap();
    let text = "still here\n".repeat(3);
    let answer = text.clone();
    pod.serve(listener, move |listener| {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut question = String::new();
            if stream.read_to_string(&mut question).is_err() {
                continue;
            }
            for byte in answer.bytes() {
                std::thread::sleep(Duration::from_millis(100));
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
            }
        }
    });
    let connect = || Ok(TcpStream::connect(SERVICE)?);
    let connected = eventually(PATIENCE, || followed.cluster.client.run(connect)?);
    let mut stream = connected.unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(b"are you there?").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut first = [0; 2];
    stream.read_exact(&mut first).unwrap();
    followed.change(&slow(POD_B));
    eventually(PATIENCE, || {
        let table = followed.cluster.node.output("ipvsadm", &["-S", "-n"])?;
        anyhow::ensure!(table.contains("10.244.1.11:7777 -m -w 0"), "{table}");
        Ok(())
    })
    .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    let heard = [std::str::from_utf8(&first).unwrap(), &rest].concat();
    assert_eq!(heard, text);
}

/// A client that has few ports uses each again long before IPVS has forgotten its last connection, which went to a pod that
/// is gone now.
#[test]
fn a_port_that_is_used_again_does_not_lead_to_the_pod_that_is_gone() {
    let followed = Followed::start("lv-reuse", &web(&format!("{POD_A}{POD_B}")));
    let client = &followed.cluster.client;
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    client
        .run(|| std::fs::write(range, "40000 40063"))
        .unwrap()
        .unwrap();
    let ask = || ask_tcp(client, addr(SERVICE));
    eventually(PATIENCE, ask).unwrap();
    let pods: std::collections::BTreeSet<String> = (0..200).map(|_| ask().unwrap().pod).collect();
    assert_eq!(pods.len(), 2, "{pods:?}");
    followed.change(&web(POD_B));
    eventually(PATIENCE, || {
        let table = followed.cluster.node.output("ipvsadm", &["-S", "-n"])?;
        anyhow::ensure!(!table.contains("10.244.1.11:8080 -m -w 1"), "{table}");
        Ok(())
    })
    .unwrap();
    // From now on whoever comes to it waits for ever.
    let pod = &followed.cluster.pods[0].namespace;
    pod.ip("link set eth0 down").unwrap();
    let mut took = Vec::new();
    for number in 0..400 {
        let start = Instant::now();
        let answer = ask().unwrap_or_else(|error| panic!("connection {number}: {error:#}"));
        assert_eq!(answer.pod, "pod-b", "connection {number}");
        took.push(start.elapsed());
    }
    took.sort_unstable();
    println!(
        "400 connections from 64 ports: p50 {:?}, p99 {:?}",
        took[200], took[396]
    );
}

/// A hundred packets a second from one port while the only endpoint goes, and another one comes later.
#[test]
fn packets_of_udp_are_lost_only_while_nobody_is_there() {
    let followed = Followed::start("lv-udp", &dns(POD_A));
    let service: SocketAddr = addr(SERVICE);
    let bind = || UdpSocket::bind("0.0.0.0:40153").unwrap();
    let socket = followed.cluster.client.run(bind).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let (stop, start) = (AtomicBool::new(false), Instant::now());
    let (sent, heard) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // Refused while there is no endpoint: that counts as sent, and is not answered.
                let _ = socket.send_to(b"?", service);
                sent.push(start.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            sent
        });
        let hearing = scope.spawn(|| {
            let (mut heard, mut text) = (Vec::new(), [0; 64]);
            while !stop.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut text) {
                    let pod = text[..length].starts_with(b"pod-b");
                    heard.push((start.elapsed(), pod));
                }
            }
            heard
        });
        let second = Duration::from_secs(1);
        // The first sync loads modules.
        let ask = || ask_udp(&followed.cluster.client, service).map(drop);
        let first = eventually(PATIENCE, ask);
        std::thread::sleep(second);
        followed.change(&dns(""));
        std::thread::sleep(second);
        followed.change(&dns(POD_B));
        let came = eventually(PATIENCE, ask);
        std::thread::sleep(2 * second);
        stop.store(true, Ordering::Relaxed);
        first.and(came).unwrap();
        (sending.join().unwrap(), hearing.join().unwrap())
    });
    let (back, _) = *heard
        .iter()
        .find(|(_, by_b)| *by_b)
        .expect("nothing from pod-b");
    let last_a = heard
        .iter()
        .filter(|(_, by_b)| !by_b)
        .map(|(at, _)| *at)
        .max()
        .unwrap();
    let late = sent
        .iter()
        .filter(|at| **at > back && **at + Duration::from_millis(200) < start.elapsed())
        .count();
    let answered = heard.iter().filter(|(at, _)| *at > back).count();
    println!(
        "{} packets, {} answered; {:?} between pod-a and pod-b",
        sent.len(),
        heard.len(),
        back - last_a
    );
    assert!(last_a < back, "pod-a answered after pod-b had");
    // The last ones may be on their way when it ends.
    assert!(
        answered + 20 >= late,
        "{answered} of {late} after pod-b came"
    );
    assert!(answered > 50);
}
