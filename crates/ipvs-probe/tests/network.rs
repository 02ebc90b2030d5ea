//! What stands in the way of packets: modules that are missing, bridges, IPv6, and the tables of IPVS.

mod tree;

use ipvs_probe::{
    Attempt, Facts, Needs, NoPrograms, Profile, Report, Severity, Step, Verdict, check, mend, steps,
};

use crate::tree::{facts, text, unpack, without};

/// A whole system on which only advice is to be given.
const SOUND: &str = "ubuntu-22.04";

/// Ids of what blocks or degrades.
fn faults(report: &Report) -> Vec<&'static str> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.rule.severity != Severity::Advice)
        .map(|finding| finding.rule.id)
        .collect()
}

fn ipv6() -> Needs {
    Needs {
        ipv6: true,
        ..Needs::default()
    }
}

#[test]
fn what_is_missing_is_installed_by_one_command_of_the_distribution() {
    let missing = ["nft_compat", "ip_tables", "ip_set", "br_netfilter"];
    for (system, command) in [
        (
            "ubuntu-22.04",
            "apt install linux-modules-extra-5.15.0-91-generic (brings ",
        ),
        (
            "rhel-8",
            "dnf install kernel-modules-4.18.0-553.el8_10.x86_64 kernel-modules-extra-",
        ),
        (
            "debian-12",
            "install the package with more modules of Linux 6.1.0-50-cloud-amd64 (brings ",
        ),
    ] {
        let text = without(&text(system), &missing);
        let page = check(&facts(&text), &Needs::default())
            .page(false)
            .to_string();
        let todo: Vec<&str> = page
            .lines()
            .filter(|line| line.contains("(brings "))
            .collect();
        assert_eq!(todo.len(), 1, "{page}");
        assert!(todo[0].contains(command), "{page}");
        let names = ["nft_compat", "ip_set", "br_netfilter"];
        assert!(names.iter().all(|name| todo[0].contains(name)), "{page}");
    }
}

/// A bridge with a pod, with or without hairpin mode, and an uplink.
fn bridge(hairpin: u8, promiscuous: bool) -> String {
    let flags = if promiscuous { "0x1103" } else { "0x1003" };
    format!(
        "=== /sys/class/net/cni0/bridge/nf_call_iptables\n0\n=== /sys/class/net/cni0/flags\n{flags}\n\
         === /sys/class/net/cni0/brif/veth1/hairpin_mode\n{hairpin}\n\
         === /sys/class/net/cni0/brif/eth1/hairpin_mode\n0\n\
         === /sys/class/net/veth1/ifindex\n7\n=== /sys/class/net/veth1/iflink\n2\n\
         === /sys/class/net/veth1/uevent\nINTERFACE=veth1\nIFINDEX=7\n\
         === /sys/class/net/eth1/ifindex\n3\n=== /sys/class/net/eth1/iflink\n3\n"
    )
}

/// Frames of bridges pass the rules.
const CALLS: &str = "=== /proc/sys/net/bridge/bridge-nf-call-iptables\n1\n=== /proc/sys/net/bridge/bridge-nf-call-ip6tables\n1\n";

fn with_br_netfilter(text: &str) -> String {
    text.replacen(
        "=== /proc/modules\n",
        "=== /proc/modules\nbr_netfilter 1 0 - Live 0x0\n",
        1,
    ) + CALLS
}

#[test]
fn pods_on_a_bridge_need_br_netfilter() {
    let sound = text(SOUND);
    let report = check(
        &facts(&(sound.clone() + &bridge(1, false))),
        &Needs::default(),
    );
    assert_eq!(faults(&report), ["br_netfilter"]);
    assert_eq!(report.verdict(), Verdict::Degraded);
    assert!(
        report.findings[0]
            .evidence
            .to_string()
            .starts_with("/sys/class/net/cni0/brif: veth1;")
    );
    let loaded = with_br_netfilter(&sound) + &bridge(1, false);
    assert!(faults(&check(&facts(&loaded), &Needs::default())).is_empty());
    let off = loaded.replace("bridge-nf-call-iptables\n1", "bridge-nf-call-iptables\n0");
    let report = check(&facts(&off), &Needs::default());
    assert_eq!(faults(&report), ["bridge-nf-call-iptables"]);
}

/// Nothing is loaded for pods that may never be on a bridge: frames of other bridges would pass the rules then.
#[test]
fn where_no_pod_is_on_a_bridge_it_is_advice_and_left_alone() {
    let uplink = bridge(1, false).replace("iflink\n2", "iflink\n7");
    for text in [text(SOUND), text(SOUND) + &uplink] {
        let (_tree, root) = unpack(&text);
        let found = Facts::gather(&root, &mut NoPrograms);
        let report = check(&found, &Needs::default());
        assert_eq!(report.verdict(), Verdict::Usable);
        let advice: Vec<&str> = report
            .of(Severity::Advice)
            .map(|finding| finding.rule.id)
            .collect();
        assert_eq!(advice, ["br_netfilter-later"]);
        let todo = steps(&root, &found, &Needs::default(), &report);
        assert!(!format!("{todo:?}").contains("br_netfilter"), "{todo:?}");
    }
}

#[test]
fn a_pod_reaches_itself_by_hairpin_mode_or_a_promiscuous_bridge() {
    let hairpin = |hairpin: u8, promiscuous: bool| {
        let text = with_br_netfilter(&text(SOUND)) + &bridge(hairpin, promiscuous);
        let report = check(&facts(&text), &Needs::default());
        let findings = report.findings.into_iter();
        let mut findings = findings.filter(|finding| finding.rule.id == "hairpin");
        findings
            .next()
            .map(|finding| (finding.evidence.place, finding.remedy.to_string()))
    };
    assert_eq!(hairpin(1, false), None);
    assert_eq!(hairpin(0, true), None);
    let (place, remedy) = hairpin(0, false).unwrap();
    assert_eq!(place, "/sys/class/net/cni0/brif/veth1/hairpin_mode");
    assert!(
        remedy.contains("bridge link set dev veth1 hairpin on"),
        "{remedy}"
    );
    // Frames that pass no rules are routed by IPVS alone; one bridge can pass them by itself.
    let without_rules = text(SOUND) + &bridge(0, false);
    let has = |text: &str| faults(&check(&facts(text), &Needs::default())).contains(&"hairpin");
    assert!(!has(&without_rules));
    assert!(has(
        &without_rules.replace("nf_call_iptables\n0", "nf_call_iptables\n1")
    ));
}

/// As in the how-to of its time: the module, and the sysctls of both families, also where IPv6 is not asked for.
#[test]
fn the_profile_of_1_8_has_frames_of_bridges_pass_the_rules() {
    let needs = Needs {
        profile: Profile::Kube18,
        ..Needs::default()
    };
    let (_tree, root) = unpack(&text(SOUND));
    let found = Facts::gather(&root, &mut NoPrograms);
    let report = check(&found, &needs);
    assert!(faults(&report).contains(&"br_netfilter"));
    let todo = steps(&root, &found, &needs, &report);
    let todo: Vec<String> = todo.iter().map(ToString::to_string).collect();
    let todo = todo.join("\n");
    for step in [
        "load module br_netfilter",
        "sysctl net.bridge.bridge-nf-call-iptables = 1",
        "sysctl net.bridge.bridge-nf-call-ip6tables = 1",
        "    net.bridge.bridge-nf-call-ip6tables = 1",
        "    br_netfilter",
    ] {
        assert!(
            todo.lines().any(|line| line == step),
            "{step} is not in\n{todo}"
        );
    }
    let off = CALLS.replace("ip6tables\n1", "ip6tables\n0");
    let text = with_br_netfilter(&text(SOUND)).replace(CALLS, &off);
    assert!(faults(&check(&facts(&text), &needs)).contains(&"bridge-nf-call-ip6tables"));
    assert!(faults(&check(&facts(&text), &Needs::default())).is_empty());
}

#[test]
fn ipv6_that_is_off_for_interfaces_to_come_is_told_and_mended() {
    let text = text(SOUND).replace("ipv6/conf/all/forwarding\n0", "ipv6/conf/all/forwarding\n1")
        + "=== /proc/sys/net/ipv6/conf/default/disable_ipv6\n1\n";
    let (_tree, root) = unpack(&text);
    let gather = || Facts::gather(&root, &mut NoPrograms);
    let report = check(&gather(), &ipv6());
    assert_eq!(faults(&report), ["ipv6-default"]);
    for step in steps(&root, &gather(), &ipv6(), &report) {
        mend(&root, &mut NoPrograms, &step).unwrap();
    }
    assert!(faults(&check(&gather(), &ipv6())).is_empty());
}

/// The rest is mended where IPVS cannot be loaded, and nothing of IPVS is tried.
#[test]
fn without_ip_vs_its_sysctls_are_only_written_for_later() {
    let text = without(
        &text("debian-12")
            .replace("ip_vs_rr 1", "other 1")
            .replace("ip_vs 1", "another 1"),
        &["ip_vs", "ip_vs_rr"],
    );
    let text: String = text
        .split("=== ")
        .filter(|file| !file.starts_with("/proc/sys/net/ipv4/vs/"))
        .collect::<Vec<_>>()
        .join("=== ")
        .replace("ip_forward\n1", "ip_forward\n0");
    let (_tree, root) = unpack(&text);
    let mut found = Facts::gather(&root, &mut NoPrograms);
    found.ipvs = Attempt::NoFamily("no".to_owned());
    let report = check(&found, &Needs::default());
    let ids = faults(&report);
    assert!(ids.contains(&"ip_vs") && !ids.contains(&"ipvs"), "{ids:?}");
    let page = report.page(false).to_string();
    assert!(!page.contains("modprobe ip_vs"), "{page}");
    let todo = steps(&root, &found, &Needs::default(), &report);
    let sets = todo.iter().filter(|step| matches!(step, Step::Set { .. }));
    assert_eq!(sets.count(), 1, "{todo:?}");
    for step in &todo {
        mend(&root, &mut NoPrograms, step).unwrap();
    }
    assert!(
        todo.iter()
            .any(|step| step.to_string().contains("net.ipv4.vs.conntrack = 1"))
    );
}

/// A scheduler that is no part of Linux counts where this kernel has its module.
#[test]
fn a_scheduler_is_one_of_linux_or_a_module_of_this_kernel() {
    let needs = Needs {
        scheduler: "own".to_owned(),
        ..Needs::default()
    };
    let sound = text(SOUND);
    let report = check(&facts(&sound), &needs);
    assert_eq!(faults(&report), ["scheduler"]);
    let remedy = report.findings[0].remedy.to_string();
    assert!(
        remedy.contains(" rr wrr ") && !remedy.contains("modprobe"),
        "{remedy}"
    );
    let line = sound
        .lines()
        .find(|line| line.contains("/ip_vs_rr.ko"))
        .unwrap();
    let with_own = sound.replace(
        line,
        &format!("{line}\n{}", line.replace("ip_vs_rr.ko", "ip_vs_own.ko")),
    );
    assert!(faults(&check(&facts(&with_own), &needs)).is_empty());
}

fn advice(facts: &Facts, id: &str) -> Option<String> {
    let report = check(facts, &Needs::default());
    let mut findings = report.findings.iter();
    let finding = findings.find(|finding| finding.rule.id == id)?;
    Some(format!("{}; {}", finding.evidence, finding.remedy))
}

#[test]
fn chains_of_connections_that_get_long() {
    let newest = text("debian-13-backports");
    let found = facts(&newest);
    assert!(found.tables.grow);
    assert_eq!(found.tables.connections, 40_064);
    assert_eq!(found.tables.connection_chains, Some(4096));
    assert_eq!(found.tables.conn_tab_bits, Some(12));
    let said = advice(&found, "connection-table").unwrap();
    assert!(said.contains("40064 connections in 4096 chains"), "{said}");
    assert!(said.contains("conn_tab_bits=16"), "{said}");
    let said = advice(
        &facts(&newest.replace("conn_lfactor\n-4", "conn_lfactor\n3")),
        "connection-table",
    );
    assert!(said.unwrap().contains("net.ipv4.vs.conn_lfactor=-4"));
    let grown = newest.replace("Conn buckets:\t4096", "Conn buckets:\t1048576");
    assert_eq!(advice(&facts(&grown), "connection-table"), None);

    // Before Linux 7.1 there is one table for all namespaces, whose size is in the first line of /proc/net/ip_vs.
    let servers: String = (0..10)
        .map(|_| "  -> 0AF40105:1F90      Masq    1      5000      50\n")
        .collect();
    let fixed = text(SOUND)
        + "=== /proc/net/ip_vs\nIP Virtual Server version 1.2.1 (size=4096)\n"
        + &servers;
    let found = facts(&fixed);
    assert!(!found.tables.grow);
    assert_eq!(found.tables.connections, 50_500);
    assert!(
        advice(&found, "connection-table")
            .unwrap()
            .contains("conn_tab_bits=16")
    );
    let larger = fixed.replace("size=4096", "size=65536");
    assert_eq!(advice(&facts(&larger), "connection-table"), None);
}

#[test]
fn chains_of_virtual_servers_that_get_long() {
    let mut found = facts(&text(SOUND));
    found.servers = (4_096, 0);
    assert_eq!(advice(&found, "service-table"), None);
    found.servers = (10_000, 0);
    assert!(
        advice(&found, "service-table")
            .unwrap()
            .contains("Linux 7.1")
    );
    let mut found = facts(&text("debian-13-backports"));
    found.servers = (10_000, 0);
    assert!(
        advice(&found, "service-table")
            .unwrap()
            .contains("svc_lfactor=-3")
    );
    found.tables.service_chains = Some(131_072);
    assert_eq!(advice(&found, "service-table"), None);
}
