//! Hands in the kernel: what others take away, change or add beside us is put right, and counted: as soon as the kernel tells of
//! it or a canary is gone, and by the next resync if neither says anything.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipvs_codec::Family;
use ipvs_model::Known;
use ipvs_proxier::Linux;
use ipvs_test_support::{
    Cluster, Need, NetNs, RunningProxier, ask_tcp, eventually, filter_is_nftables, lab_has, seed,
};

use crate::metrics::metrics;
use crate::packets::{CIDR, addr};
use crate::shop::shop;
use crate::state::filter;

/// What an operator, another program or a mistake does.
const HANDS: [&str; 12] = [
    "ipvsadm -D -t 10.96.0.10:80",
    "ipvsadm -d -t 10.96.0.10:80 -r 10.244.1.11:8080",
    "ipvsadm -E -t 10.96.0.20:80 -s wrr",
    "ipvsadm -A -t 10.96.0.10:81 -s rr",
    "ipvsadm -a -t 10.96.0.20:80 -r 10.244.1.99:8080 -m",
    "ipvsadm -C",
    "ipvsadm -C; rmmod ip_vs_rr",
    "ip addr del 10.96.0.10/32 dev kube-ipvs0; ip route del local 10.96.0.10 table local",
    "ip addr add 10.96.0.200/32 dev kube-ipvs0",
    "ip link del kube-ipvs0",
    "ip link set kube-ipvs0 down; ip addr flush dev kube-ipvs0",
    "ip route flush table local dev kube-ipvs0",
];
/// The same with kube-proxy's filter.
const ON_IPTABLES: [&str; 8] = [
    "ipset del KUBE-CLUSTER-IP 10.96.0.10,tcp:80",
    "ipset add KUBE-CLUSTER-IP 10.96.0.200,tcp:80",
    "ipset del KUBE-CLUSTER-IP 10.96.0.10,tcp:80; ipset add KUBE-CLUSTER-IP 10.96.0.200,tcp:80",
    "ipset flush",
    "iptables -t nat -D PREROUTING 1",
    "iptables -t nat -F KUBE-SERVICES",
    "iptables -t filter -F",
    "iptables -t nat -F; iptables -t nat -X; iptables -t filter -F; iptables -t filter -X; ipset destroy",
];
/// And with that of nftables.
const ON_NFTABLES: [&str; 13] = [
    "nft flush set ip kube-proxy-ipvs cluster-ips",
    "nft delete element ip kube-proxy-ipvs cluster-ips '{ 10.96.0.10 . tcp . 80 }'",
    "nft add element ip kube-proxy-ipvs cluster-ips '{ 10.96.0.200 . tcp . 80 }'",
    "nft flush set ip kube-proxy-ipvs vips; nft add element ip kube-proxy-ipvs vips '{ 10.96.0.200 }'",
    "nft flush chain ip kube-proxy-ipvs guard",
    "nft insert rule ip6 kube-proxy-ipvs guard accept",
    "nft flush table ip kube-proxy-ipvs",
    "nft add table ip kube-proxy-ipvs '{ flags dormant; }'",
    "nft add table ip kube-proxy-ipvs '{ flags dormant; }'; nft chain ip kube-proxy-ipvs input '{ policy drop; }'",
    "nft add chain ip kube-proxy-ipvs foo; nft add map ip kube-proxy-ipvs m '{ type ipv4_addr : verdict; }'; nft add element ip kube-proxy-ipvs m '{ 192.0.2.4 : jump foo }'; nft flush chain ip kube-proxy-ipvs guard",
    "nft flush table ip kube-proxy-ipvs; nft delete set ip kube-proxy-ipvs cluster-ips; nft add set ip kube-proxy-ipvs cluster-ips '{ type ipv4_addr . inet_proto . inet_service; size 1; }'",
    "nft delete table ip kube-proxy-ipvs",
    "nft flush ruleset",
];
const PAIRS: usize = 6;

pub(crate) fn observe(namespace: &NetNs) -> Result<Known> {
    let open = || ipvs_proxier::observe(&mut Linux::open(filter())?, &Family::ALL);
    Ok(namespace.run(open)??)
}

/// The repairs that were counted so far, of all causes or of one.
pub(crate) fn drift(namespace: &NetNs, cause: &str) -> Result<u64> {
    let text = metrics(namespace)?;
    let mut sum = 0;
    for line in text.lines() {
        if line.starts_with("ipvs_proxier_drift_total{") && line.contains(cause) {
            let count = line.rsplit(' ').next().context("no count")?;
            sum += count.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// How often everything is read.
const OFTEN: &str = "--ipvs-sync-period=300ms";
/// Not as long as this test runs.
const NEVER: &str = "--ipvs-sync-period=10h";

fn put_right(prefix: &str, binding: &str, period: &str) {
    let cluster = Cluster::new(prefix).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let arguments = [
        shop(),
        CIDR.to_owned(),
        binding.to_owned(),
        "--ipvs-min-sync-period=0s".to_owned(),
        period.to_owned(),
    ];
    let proxier = RunningProxier::start(&cluster.node, &arguments, &log).unwrap();
    let ask = || ask_tcp(&cluster.client, addr("10.96.0.10:80")).map(drop);
    eventually(Duration::from_secs(60), ask).unwrap();
    let wanted = observe(&cluster.node).unwrap();
    assert!(wanted.virtual_servers.len() > 5);

    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let may_unload = lab_has(Need::UnusedModules);
    let of_filter = if filter_is_nftables() {
        &ON_NFTABLES[..]
    } else {
        &ON_IPTABLES
    };
    let hands = HANDS
        .iter()
        .chain(of_filter)
        .copied()
        .filter(|hands| may_unload || !hands.contains("rmmod"));
    let hands: Vec<&str> = hands.collect();
    let mut chosen = || *random.choice(&hands).unwrap();
    let pairs: Vec<String> = (0..PAIRS)
        .map(|_| format!("{}; {}", chosen(), chosen()))
        .collect();
    let all = |namespace: &NetNs| drift(namespace, "");
    let of_resync = |namespace: &NetNs| drift(namespace, "cause=\"resync\"");
    for hands in hands
        .iter()
        .copied()
        .chain(pairs.iter().map(String::as_str))
    {
        let before = all(&cluster.node).unwrap();
        // Some of it may not be there in this binding, or not any more.
        let line = format!("({hands}) 2>/dev/null; true");
        cluster.node.output("sh", &["-c", &line]).unwrap();
        let start = Instant::now();
        let told = |error: anyhow::Error| -> ! {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("seed {seed}: {hands}: {error:#}\n{log}")
        };
        let counted = eventually(Duration::from_secs(60), || {
            let counted = all(&cluster.node)?;
            ensure!(counted > before, "not counted");
            Ok(counted)
        });
        let counted = counted.unwrap_or_else(|error| told(error));
        let took = start.elapsed();
        eventually(Duration::from_secs(20), || {
            let found = observe(&cluster.node)?;
            ensure!(found == wanted, "{found:?}\ninstead of\n{wanted:?}");
            Ok(())
        })
        .unwrap_or_else(|error| told(error));
        ask().unwrap_or_else(|error| panic!("{hands}: {error:#}"));
        println!("{took:?}, {} repairs: {hands}", counted - before);
    }
    println!(
        "seed {seed}: {} hands and {PAIRS} pairs, {} repairs, {} of them by a resync",
        hands.len(),
        all(&cluster.node).unwrap(),
        of_resync(&cluster.node).unwrap(),
    );
    if period == NEVER {
        assert_eq!(of_resync(&cluster.node).unwrap(), 0);
    }
    assert!(proxier.stop().unwrap().success());
}

#[test]
fn what_hands_do_is_put_right_with_addresses() {
    put_right("hands-a", "--vip-binding=address", OFTEN);
}

#[test]
fn what_hands_do_is_put_right_with_routes() {
    put_right("hands-r", "--vip-binding=route", OFTEN);
}

#[test]
fn what_hands_do_comes_out_without_a_resync_with_addresses() {
    put_right("hands-ea", "--vip-binding=address", NEVER);
}

#[test]
fn what_hands_do_comes_out_without_a_resync_with_routes() {
    put_right("hands-er", "--vip-binding=route", NEVER);
}
