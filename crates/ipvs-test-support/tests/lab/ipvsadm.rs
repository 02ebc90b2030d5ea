//! ipvsadm and `examples/ipvsadm`: the same words give the same text, the same exit status, the same table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipvs_codec::{
    Destination, Family, ForwardMethod, Netmask, PeName, Protocol, Request, SavedLine, Service,
    ServiceFlags, ServiceKey, Tunnel, TunnelFlags,
};
use ipvs_netlink::Ipvs;
use ipvs_test_support::{NetNs, example};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn theirs() -> PathBuf {
    let places = ["/usr/sbin/ipvsadm", "/sbin/ipvsadm"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    found.expect("ipvsadm is installed").into()
}

fn run(program: &Path, line: &str) -> Said {
    let (words, input) = match line.split_once("<<") {
        Some((words, input)) => (words, input.replace("\\n", "\n")),
        None => (line, String::new()),
    };
    let mut child = Command::new(program)
        // Both name themselves.
        .arg0("ipvsadm")
        .args(words.split(' ').filter(|word| !word.is_empty()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends before it has read everything is no failure here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        status: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

type Table = BTreeMap<ServiceKey, (Service, BTreeMap<SocketAddr, Destination>)>;

fn table() -> Table {
    let snapshot = Ipvs::open().unwrap().snapshot().unwrap();
    let of = |server: ipvs_netlink::ObservedVirtualServer| {
        let destinations = server
            .destinations
            .iter()
            .map(|observed| observed.destination);
        let destinations = destinations.map(|destination| (destination.addr, destination));
        let service = server.service.service;
        (service.key, (service, destinations.collect()))
    };
    snapshot.into_iter().map(of).collect()
}

/// Two namespaces alike: the program of the distribution works in the first, ours in the second.
struct Pair {
    theirs: NetNs,
    ours: NetNs,
    compared: usize,
}

impl Pair {
    fn new(name: &str) -> Self {
        let namespace = |whose: &str| {
            let namespace = NetNs::new(&format!("{name}-{whose}")).unwrap();
            let links = "link add sync0 type dummy\naddr add 192.168.70.1/24 dev sync0\nlink set sync0 up multicast on\n";
            namespace.ip(links).unwrap();
            namespace
        };
        Self {
            theirs: namespace("theirs"),
            ours: namespace("ours"),
            compared: 0,
        }
    }

    fn compare(&mut self, line: &str) {
        let (theirs, ours) = (theirs(), example("ipvsadm"));
        let shows = ["-L", "-l", "-S"].iter().any(|word| line.starts_with(word));
        let expected = self.theirs.run(|| run(&theirs, line)).unwrap();
        // The kernel's order differs between namespaces: both show the same one.
        let namespace = if shows { &self.theirs } else { &self.ours };
        let said = namespace.run(|| run(&ours, line)).unwrap();
        assert_eq!(said, expected, "ipvsadm {line}");
        if !shows {
            let expected = self.theirs.run(table).unwrap();
            assert_eq!(
                self.ours.run(table).unwrap(),
                expected,
                "after ipvsadm {line}"
            );
        }
        self.compared += 1;
    }
}

#[test]
fn the_same_words_give_the_same_text_and_table() {
    let mut pair = Pair::new("adm");
    let lines = include_str!("ipvsadm.txt").lines();
    for line in lines.filter(|line| !line.starts_with("# Command")) {
        pair.compare(line);
    }
    assert!(pair.compared > 150);
}

#[test]
fn the_list_of_virtual_servers_shows_flags_tunnels_and_rates() {
    let namespace = NetNs::new("list").unwrap();
    let lines = [
        "-A -t 10.96.0.10:80 -s mh -b mh-fallback,mh-port",
        "-a -t 10.96.0.10:80 -r 10.1.0.1:80 -i -w 7 --tun-type gue --tun-port 6080 --tun-csum",
    ];
    namespace
        .run(|| {
            for line in lines {
                assert_eq!(run(&theirs(), line).status, Some(0), "{line}");
            }
            let list = run(&example("list_virtual_servers"), "--rate").out;
            let rates = "0 connections/s, 0 bytes/s in, 0 bytes/s out";
            let destination = lines[1].replace("-a -t 10.96.0.10:80 ", "");
            let (title, rest) = list.split_once('\n').unwrap();
            assert!(title.contains("1.2.1"), "{list}");
            // The words are those of `ipvsadm -S`, in its order.
            let words = |text: &str| {
                let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                words.sort_unstable();
                words
            };
            let expected = format!(
                "{}, {rates}\n{destination}: 0 active, 0 inactive, {rates}\n",
                lines[0]
            );
            assert_eq!(words(rest), words(&expected), "{list}");
        })
        .unwrap();
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

/// Some of these, in this order, each perhaps.
fn some_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::subsequence(words, 0..=words.len().min(3)).prop_map(|words| words.join(" "))
}

/// Command lines of which about half make sense.
fn line() -> impl Strategy<Value = String> {
    let service = || {
        one_of(&[
            "-t 10.0.0.1:80",
            "-t 10.0.0.1:80",
            "-t 10.0.0.1:81",
            "-u 10.0.0.1:53",
            "-t [2001:db8::1]:80",
            "--sctp-service 10.0.0.1:7",
            "-f 7",
            "-f 7 -6",
            "-u 10.0.0.2",
            "-t 10.0.0.1:http",
            "-t nowhere:80",
            "",
        ])
    };
    let service_options = || {
        some_of(&[
            "-s rr",
            "-s sh",
            "-s mh",
            "-s nosuch",
            "-p",
            "-p 120",
            "-M 255.255.0.0",
            "-M 64",
            "-o",
            "--pe sip",
            "-b sh-port",
            "-b mh-fallback,mh-port",
            "-b flag-2",
            "-w 1",
            "-n",
        ])
    };
    let server = || {
        one_of(&[
            "-r 10.1.0.1:8080",
            "-r 10.1.0.1:8080",
            "-r 10.1.0.2",
            "-r 10.1.0.3:80",
            "-r [2001:db8::5]:80",
            "-r 224.0.0.1:1",
            "-r 10.1.0.4:https",
            "",
        ])
    };
    let server_options = || {
        some_of(&[
            "-m",
            "-m",
            "-m",
            "-i",
            "-g",
            "-w 0",
            "-w 7",
            "-w -1",
            "-x 20",
            "-y 10",
            "-y 30",
            "--tun-type gue",
            "--tun-type gre",
            "--tun-port 6080",
            "--tun-csum",
            "--tun-nocsum",
            "--tun-remcsum",
        ])
    };
    let shown = || {
        some_of(&[
            "-n",
            "--stats",
            "--rate",
            "--exact",
            "--thresholds",
            "--persistent-conn",
            "--tun-info",
            "--nosort",
            "--timeout",
            "--daemon",
            "-c",
        ])
    };
    let daemon = || {
        some_of(&[
            "--mcast-interface sync0",
            "--syncid 5",
            "--mcast-group 239.1.1.2",
            "--mcast-port 9000",
            "--mcast-ttl 3",
            "--sync-maxlen 900",
        ])
    };
    let join = |words: Vec<String>| {
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    };
    prop_oneof![
        6 => (one_of(&["-A", "-A", "-E"]), service(), service_options()).prop_map(|(a, b, c)| vec![a, b, c]),
        8 => (one_of(&["-a", "-a", "-e"]), service(), server(), server_options())
            .prop_map(|(a, b, c, d)| vec![a, b, c, d]),
        1 => service().prop_map(|service| vec!["-D".to_owned(), service]),
        2 => (service(), server()).prop_map(|(a, b)| vec!["-d".to_owned(), a, b]),
        4 => (one_of(&["-L", "-L -n", "-S -n", "-S"]), shown()).prop_map(|(a, b)| vec![a, b]),
        1 => (service(), shown()).prop_map(|(a, b)| vec!["-L -n".to_owned(), a, b]),
        1 => service().prop_map(|service| vec!["-Z".to_owned(), service]),
        1 => one_of(&["--set 1 2 3", "--set 0 0 100", "--set 1 2", "--set x 2 3"]).prop_map(|a| vec![a]),
        1 => (one_of(&["--start-daemon master", "--start-daemon backup"]), daemon()).prop_map(|(a, b)| vec![a, b]),
        1 => one_of(&["--stop-daemon master", "--stop-daemon backup"]).prop_map(|a| vec![a]),
    ]
    .prop_map(join)
}

#[test]
fn generated_words_give_the_same_text_and_table() {
    let mut pair = Pair::new("gen");
    let mut runner = TestRunner::deterministic();
    let line = line();
    for _ in 0..250 {
        let line = line.new_tree(&mut runner).unwrap().current();
        // A daemon that runs is no longer asked for at the next `-a` of another family: both see the same.
        pair.compare(&line);
    }
    let made = pair.ours.run(table).unwrap();
    assert!(
        made.len() >= 5,
        "most of the words make something: {made:?}"
    );
}

/// Services that a kernel takes and `ipvsadm -S` can say.
fn service() -> impl Strategy<Value = Service> {
    let addr = prop_oneof![
        any::<u8>().prop_map(|last| IpAddr::from([10, 0, 3, last])),
        any::<u8>().prop_map(|last| format!("2001:db8::{last:x}").parse().unwrap()),
    ];
    let protocol = prop::sample::select(&[Protocol::TCP, Protocol::UDP, Protocol::SCTP][..]);
    let endpoint = (protocol, addr, 1..9_u16)
        .prop_map(|(protocol, addr, port)| ServiceKey::endpoint(protocol, addr, port));
    let mark = (any::<bool>(), 1..1000_u32).prop_map(|(six, mark)| {
        let family = if six { Family::Ipv6 } else { Family::Ipv4 };
        ServiceKey::fwmark(family, mark).unwrap()
    });
    let scheduler =
        prop::sample::select(&["rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "dh"][..]);
    let persistent = proptest::option::of((1..100_000_u32, 8..=32_u8, any::<bool>()));
    (
        prop_oneof![3 => endpoint, 1 => mark],
        scheduler,
        persistent,
        0..4_u32,
    )
        .prop_map(|(key, scheduler, persistent, flags)| {
            let mut service = Service::new(key, scheduler.parse().unwrap());
            if ["sh", "mh"].contains(&scheduler) {
                service.flags |= ServiceFlags::from_bits_retain(flags << 3);
            }
            if let Some((seconds, prefix, sip)) = persistent {
                service = service.persistent(seconds).unwrap();
                service.netmask = Netmask::prefix(key.family(), prefix).unwrap();
                service.pe = sip.then_some(PeName::SIP);
            } else if key.protocol() == Some(Protocol::UDP) {
                service.flags |= ServiceFlags::ONE_PACKET;
            }
            service
        })
}

fn destination(family: Family) -> impl Strategy<Value = Destination> {
    let tunnel = prop_oneof![
        Just(Tunnel::Ipip),
        (1..u16::MAX, 0..3_u16).prop_map(|(port, flags)| Tunnel::Gue {
            port: NonZeroU16::new(port).unwrap(),
            flags: TunnelFlags::from_bits_retain(flags),
        }),
        (0..2_u16).prop_map(|flags| Tunnel::Gre {
            flags: TunnelFlags::from_bits_retain(flags)
        }),
    ];
    let method = prop_oneof![
        Just(ForwardMethod::MASQUERADE),
        Just(ForwardMethod::DIRECT),
        Just(ForwardMethod::TUNNEL)
    ];
    (
        any::<(u8, bool)>(),
        1..9_u16,
        method,
        tunnel,
        0..=i32::MAX as u32,
        0..50_u32,
    )
        .prop_map(
            move |((last, other), port, forward, tunnel, weight, lower)| {
                let tunnelled = forward == ForwardMethod::TUNNEL;
                let six = (family == Family::Ipv6) != (other && tunnelled);
                let ip = match six {
                    true => format!("2001:db8:1::{last:x}").parse().unwrap(),
                    false => IpAddr::from([10, 1, 3, last]),
                };
                Destination {
                    forward,
                    weight,
                    tunnel: if tunnelled { tunnel } else { Tunnel::Ipip },
                    ..Destination::new((ip, port).into())
                        .with_thresholds(lower * 2, lower)
                        .unwrap()
                }
            },
        )
}

#[test]
fn what_is_sent_is_what_ipvsadm_and_we_read() {
    let table_of = service().prop_flat_map(|service| {
        let destinations = proptest::collection::vec(destination(service.key.family()), 0..4);
        (Just(service), destinations)
    });
    let mut runner = TestRunner::deterministic();
    let tables = proptest::collection::vec(table_of, 40);
    let namespace = NetNs::new("adm-read").unwrap();
    for _ in 0..3 {
        let mut sent = Table::new();
        for (service, destinations) in tables.new_tree(&mut runner).unwrap().current() {
            let destinations = destinations
                .into_iter()
                .map(|destination| (destination.addr, destination));
            sent.entry(service.key)
                .or_insert_with(|| (service, destinations.collect()));
        }
        let mut requests = vec![Request::Flush];
        for (service, destinations) in sent.values() {
            requests.push(Request::NewService(service));
            requests.extend(
                destinations
                    .values()
                    .map(|dest| Request::NewDest(&service.key, dest)),
            );
        }
        let (saved, read) = namespace
            .run(|| {
                for (outcome, request) in
                    Ipvs::open().unwrap().batch(&requests).iter().zip(&requests)
                {
                    assert!(outcome.is_ok(), "{request:?}: {outcome:?}");
                }
                (run(&theirs(), "-S -n").out, table())
            })
            .unwrap();
        let mut by_ipvsadm = Table::new();
        for line in saved.lines() {
            let read: SavedLine = line
                .parse()
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(read.to_string(), line, "printed back byte for byte");
            match read {
                SavedLine::Service(service) => {
                    by_ipvsadm.insert(service.key, (service, BTreeMap::new()));
                }
                SavedLine::Destination(key, destination) => {
                    let (_, destinations) = by_ipvsadm.get_mut(&key).unwrap();
                    destinations.insert(destination.addr, destination);
                }
            }
        }
        assert_eq!(read.len(), sent.len());
        for (key, (service, destinations)) in &sent {
            let (ours, our_destinations) = &read[key];
            assert!(ours.same_config(service), "{ours} is not {service}");
            assert_eq!(our_destinations, destinations, "{service}");
            let (theirs, their_destinations) = &by_ipvsadm[key];
            assert_eq!(theirs, service);
            // ipvsadm forgets thresholds when it saves.
            let without = |destination: &Destination| Destination {
                upper_threshold: 0,
                lower_threshold: 0,
                ..*destination
            };
            let expected: Vec<Destination> = destinations.values().map(without).collect();
            assert!(their_destinations.values().eq(&expected), "{service}");
        }
    }
}
