//! What rules are written with: back ends of iptables, nftables, and which of the two is used where that is left open.

mod tree;

use ipvs_probe::{
    Family, Filter, Needs, Profile, Report, RuleTrial, Severity, TrialOutcome, Verdict, check,
    steps,
};

use crate::tree::{facts, text, unpack, without};

/// A whole system on which only advice is to be given.
const SOUND: &str = "ubuntu-22.04";

/// Ids of what blocks.
fn blocks(report: &Report) -> Vec<&'static str> {
    let findings = report.of(Severity::Blocks);
    findings.map(|finding| finding.rule.id).collect()
}

fn ipv6() -> Needs {
    Needs {
        ipv6: true,
        ..Needs::default()
    }
}

fn with(filter: Filter) -> Needs {
    Needs {
        filter,
        ..Needs::default()
    }
}

fn auto() -> Needs {
    with(Filter::Auto)
}

fn nftables() -> Needs {
    with(Filter::Nftables)
}

#[test]
fn one_whole_back_end_suffices() {
    let sound = text(SOUND);
    let lines = |modules: &[&str], needs: &Needs| {
        let report = check(&facts(&without(&sound, modules)), needs);
        let of_all = report.of(Severity::Blocks);
        let of_all =
            of_all.map(|finding| format!("{}: {}", finding.rule.id, finding.evidence.content));
        of_all.collect::<Vec<_>>()
    };
    let needs = Needs::default();
    assert!(lines(&[], &needs).is_empty());
    assert!(lines(&["nft_compat"], &needs).is_empty(), "legacy is left");
    assert!(lines(&["iptable_nat"], &needs).is_empty(), "nft is left");
    assert_eq!(
        lines(&["nft_compat", "iptable_nat"], &needs),
        ["backend: iptables-nft lacks nft_compat; iptables-legacy lacks iptable_nat"]
    );
    let nft = Needs {
        filter: Filter::IptablesNft,
        ..Needs::default()
    };
    assert_eq!(
        lines(&["nft_compat", "nft_chain_nat"], &nft),
        ["backend: iptables-nft lacks nft_compat nft_chain_nat"]
    );
    let legacy = Needs {
        filter: Filter::IptablesLegacy,
        ..Needs::default()
    };
    assert!(lines(&["nft_compat"], &legacy).is_empty());
    let of_ipv6 = lines(&["nft_chain_nat", "ip6table_filter"], &ipv6());
    assert!(
        of_ipv6.contains(
            &"backend-ipv6: iptables-nft lacks nft_chain_nat; iptables-legacy lacks ip6table_filter"
                .to_owned()
        ),
        "{of_ipv6:?}"
    );
}

#[test]
fn ipv6_rules_have_a_target_of_their_own() {
    let text = without(&text(SOUND), &["ip6t_REJECT"]);
    let found = blocks(&check(&facts(&text), &ipv6()));
    assert!(found.contains(&"REJECT-ipv6"), "{found:?}");
    let found = blocks(&check(&facts(&text), &Needs::default()));
    assert!(found.is_empty(), "{found:?}");
}

/// The kernel was asked, which says more than lists of modules; for each family by itself.
#[test]
fn rules_that_were_written_or_refused_decide() {
    let mut found = facts(&without(
        &text(SOUND),
        &["xt_comment", "nft_compat", "iptable_nat"],
    ));
    assert_eq!(
        blocks(&check(&found, &Needs::default())),
        ["backend", "xt_comment"]
    );
    let trial = |program: &str, family, outcome| RuleTrial::new(program, family, outcome);
    found.rules = vec![trial("iptables-restore", Family::Ipv4, TrialOutcome::Works)];
    assert!(blocks(&check(&found, &Needs::default())).is_empty());

    let mut found = facts(&text(SOUND));
    let refused = |said: &str| TrialOutcome::Refused(said.to_owned());
    found.rules = vec![
        trial(
            "iptables-restore",
            Family::Ipv4,
            refused("the kernel lacks mark"),
        ),
        trial("iptables-legacy-restore", Family::Ipv4, refused("no table")),
    ];
    let report = check(&found, &Needs::default());
    assert_eq!(blocks(&report), ["rules"]);
    assert_eq!(report.verdict(), Verdict::Unusable);
    assert_eq!(
        report.findings[0].evidence.to_string(),
        "iptables-restore: the kernel lacks mark; iptables-legacy-restore: no table"
    );
    // Another back end works.
    found.rules[1].outcome = TrialOutcome::Works;
    assert!(blocks(&check(&found, &Needs::default())).is_empty());
    // Nothing follows from what could not be tried, nor from one family for the other.
    found.rules = vec![trial(
        "iptables-restore",
        Family::Ipv4,
        TrialOutcome::NotTried("no unshare".to_owned()),
    )];
    assert!(blocks(&check(&found, &Needs::default())).is_empty());
    found.rules = vec![trial("ip6tables-restore", Family::Ipv6, refused("no"))];
    assert!(blocks(&check(&found, &Needs::default())).is_empty());
    assert!(blocks(&check(&found, &ipv6())).contains(&"rules-ipv6"));
}

/// As kops and others bring it to these nodes: `dnf install kernel-modules-extra iptables-nft ipset`.
fn rhel_10_with_kernel_modules_extra() -> String {
    let more = text("debian-13");
    let of_rhel = text("rhel-10");
    let more: String = more
        .lines()
        .filter(|line| line.starts_with("kernel/"))
        .filter(|line| {
            ["/xt_", "/ip_set", "t_REJECT", "nft_compat", "br_netfilter"]
                .iter()
                .any(|part| line.contains(part))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let list = of_rhel.find("=== /usr/lib/modules/").unwrap();
    let begin = list + of_rhel[list..].find('\n').unwrap() + 1;
    let (before, after) = of_rhel.split_at(begin);
    let programs = ["iptables", "iptables-restore", "ip6tables-restore", "ipset"];
    let programs: String = programs
        .iter()
        .map(|name| format!("=== /usr/sbin/{name}\n"))
        .collect();
    format!("{before}{more}{after}{programs}")
}

/// With what `preflight --fix` does, so that nothing but the filter is left.
fn mended(text: &str) -> String {
    let of_ipvs = [
        "conntrack",
        "expire_nodest_conn",
        "expire_quiescent_template",
    ];
    let of_ipvs: String = of_ipvs
        .iter()
        .map(|name| format!("=== /proc/sys/net/ipv4/vs/{name}\n1\n"))
        .collect();
    text.replacen(
        "=== /proc/modules\n",
        "=== /proc/modules\nip_vs 1 0 - Live 0x0\n",
        1,
    )
    .replace("ip_forward\n0", "ip_forward\n1")
    .replace("module_blacklist=dummy", "")
        + &of_ipvs
}

#[test]
fn rhel_10_without_kernel_modules_extra_is_usable_with_nftables() {
    let found = facts(&mended(&text("rhel-10")));
    let report = check(&found, &auto());
    assert_eq!(report.filter, Filter::Nftables);
    assert_eq!(blocks(&report), [""; 0]);
    let page = report.page(false).to_string();
    insta::assert_snapshot!("rhel-10", page);
    // Its own firewall is there whatever writes the rules.
    let without_firewalld = mended(&text("rhel-10")).replace("firewalld", "another");
    let report = check(&facts(&without_firewalld), &auto());
    let page = report.page(false).to_string();
    assert!(page.ends_with("\n\nusable with nftables\n"), "{page}");

    let ipv6 = Needs {
        ipv6: true,
        ..auto()
    };
    let report = check(&found, &ipv6);
    assert_eq!(
        (report.filter, &*blocks(&report)),
        (Filter::Nftables, &["ipv6-forwarding"][..])
    );
    assert!(
        report
            .not_iptables
            .iter()
            .any(|rule| rule.id == "backend-ipv6")
    );

    let report = check(&found, &with(Filter::Iptables));
    assert_eq!(report.verdict(), Verdict::Unusable);
    assert!(report.not_iptables.is_empty(), "it was asked for");
}

#[test]
fn rhel_10_with_kernel_modules_extra_is_usable_with_iptables() {
    let found = facts(&mended(&rhel_10_with_kernel_modules_extra()));
    for needs in [
        auto(),
        ipv6(),
        Needs {
            ipv6: true,
            ..auto()
        },
    ] {
        let report = check(&found, &needs);
        assert_eq!(report.filter, Filter::Iptables, "{}", report.page(false));
        assert!(report.not_iptables.is_empty());
        assert!(
            blocks(&report).iter().all(|id| *id == "ipv6-forwarding"),
            "{}",
            report.page(false)
        );
    }
}

/// Rules of iptables can be written, but the kernel has no ipset.
#[test]
fn alpine_without_ipset_is_usable_with_nftables() {
    let report = check(&facts(&text("alpine")), &auto());
    insta::assert_snapshot!("alpine", report.page(false).to_string());
    assert_eq!(report.verdict(), Verdict::Usable);
}

/// The kernels of Debian's packages have all that either needs.
#[test]
fn debian_is_usable_with_either() {
    for system in [
        "debian-11",
        "debian-12",
        "debian-13",
        "debian-13-backports",
        SOUND,
    ] {
        let found = facts(&mended(&text(system)));
        let report = check(&found, &auto());
        assert_eq!(
            report.filter,
            Filter::Iptables,
            "{system}: {}",
            report.page(false)
        );
        for ipv6 in [false, true] {
            let report = check(&found, &Needs { ipv6, ..nftables() });
            let rest = blocks(&report)
                .into_iter()
                .filter(|id| *id != "ipv6-forwarding");
            assert_eq!(rest.count(), 0, "{system}: {}", report.page(false));
        }
    }
}

/// Each of these is asked for by itself, and none of them where iptables writes the rules.
#[test]
fn nftables_needs_every_module_of_its_own() {
    let sound = text(SOUND);
    for (module, id, of_ipv6) in [
        ("nf_tables", "nf_tables", false),
        ("nft_chain_nat", "nft_chain_nat", false),
        ("nft_masq", "nft_masq", false),
        ("nft_ct", "nft_ct", false),
        ("nft_fib_ipv4", "nft_fib", false),
        ("nft_reject_ipv4", "nft_reject", false),
        ("nft_fib_ipv6", "nft_fib-ipv6", true),
        ("nft_reject_ipv6", "nft_reject-ipv6", true),
    ] {
        let mut found = facts(&without(&sound, &[module]));
        assert_eq!(
            blocks(&check(&found, &nftables())).contains(&id),
            !of_ipv6,
            "{module}"
        );
        let both = Needs {
            ipv6: true,
            ..nftables()
        };
        let report = check(&found, &both);
        assert!(blocks(&report).contains(&id), "{module}");
        let page = report.page(false).to_string();
        assert!(page.contains(&format!("(brings {module})")), "{page}");
        assert!(!blocks(&check(&found, &ipv6())).contains(&id));
        // That the kernel took rules says more.
        let family = if of_ipv6 { Family::Ipv6 } else { Family::Ipv4 };
        found.rules = vec![RuleTrial::by_netlink(family, TrialOutcome::Works)];
        assert!(!blocks(&check(&found, &both)).contains(&id), "{module}");
    }
}

/// Rules about iptables, its modules, programs, sets, and capability.
#[test]
fn nothing_of_iptables_is_asked_for_where_nftables_writes_the_rules() {
    let bare = "=== /proc/sys/kernel/osrelease\n6.12.0\n=== /proc/self/status\nCapEff:\t0000000000001000\n\
                === /lib/modules/6.12.0/modules.dep\n";
    let mut found = facts(bare);
    found.servers = (70_000, 0);
    let nothing = |needs: Needs| {
        let report = check(&found, &needs);
        let findings = report.findings.iter();
        let ids = findings.map(|finding| finding.rule.id);
        ids.collect::<Vec<_>>()
    };
    for profile in [Profile::Current, Profile::Kube18] {
        let of_iptables = nothing(Needs { profile, ..ipv6() });
        let of_nftables = nothing(Needs {
            profile,
            ipv6: true,
            ..nftables()
        });
        let about_iptables = |id: &&str| {
            let words = [
                "xt_",
                "ip_set",
                "ipset",
                "set-size",
                "REJECT",
                "backend",
                "tables-restore",
                "net-raw",
            ];
            words.iter().any(|word| id.contains(word))
        };
        let is_kube_18 = profile == Profile::Kube18;
        let expected = if is_kube_18 { 23 } else { 22 };
        assert_eq!(
            of_iptables.iter().filter(|id| about_iptables(id)).count(),
            expected,
            "{of_iptables:?}"
        );
        assert_eq!(
            of_nftables.iter().filter(|id| about_iptables(id)).count(),
            0,
            "{of_nftables:?}"
        );
        let about_nftables = of_nftables.iter().filter(|id| id.starts_with("nf"));
        assert_eq!(about_nftables.count(), 9, "{of_nftables:?}");
    }
}

/// Iptables needs CAP_NET_RAW.
#[test]
fn with_one_capability_nftables_is_used() {
    let net_admin = text(SOUND).replace("CapEff:\t0000003fffffffff", "CapEff:\t0000000000001000");
    assert_ne!(net_admin, text(SOUND));
    let report = check(&facts(&net_admin), &auto());
    assert_eq!(
        (report.filter, report.verdict()),
        (Filter::Nftables, Verdict::Usable)
    );
    let ids: Vec<&str> = report.not_iptables.iter().map(|rule| rule.id).collect();
    assert_eq!(ids, ["net-raw"]);
}

#[test]
fn where_neither_works_the_one_that_lacks_less_is_shown() {
    let lacking = |modules: &[&str]| check(&facts(&without(&text(SOUND), modules)), &auto());
    let report = lacking(&["nft_masq", "ip_set", "xt_set"]);
    assert_eq!(
        (report.filter, &*blocks(&report)),
        (Filter::Nftables, &["nft_masq"][..])
    );
    assert_eq!(report.verdict(), Verdict::Unusable);
    assert!(report.page(false).to_string().ends_with("\n\nnot usable\n"));
    let report = lacking(&["nft_masq", "nft_ct", "xt_set"]);
    assert_eq!(
        (report.filter, &*blocks(&report)),
        (Filter::Iptables, &["xt_set"][..])
    );
    let report = lacking(&["nft_masq", "xt_set"]);
    assert_eq!(report.filter, Filter::Iptables, "as kube-proxy");
}

/// Before Linux 5.10 a table forgets whose it is. RHEL 8 has newer things in its 4.18: there only trying tells.
#[test]
fn nftables_needs_a_kernel_of_2020_unless_it_was_tried() {
    for system in ["ubuntu-18.04", "debian-10", "rhel-8", "ubuntu-20.04"] {
        let mut found = facts(&mended(&text(system)));
        let of_nftables = |report: &Report| {
            let ids = blocks(report).into_iter().filter(|id| id.starts_with("nf"));
            ids.collect::<Vec<_>>()
        };
        assert_eq!(
            of_nftables(&check(&found, &nftables())),
            ["nft-release"],
            "{system}"
        );
        found.rules = vec![RuleTrial::by_netlink(Family::Ipv4, TrialOutcome::Works)];
        assert_eq!(
            of_nftables(&check(&found, &nftables())),
            [""; 0],
            "{system}"
        );
    }
    let unknown = "=== /proc/modules\nip_vs 1 0 - Live 0x0\n";
    assert!(!blocks(&check(&facts(unknown), &nftables())).contains(&"nft-release"));
}

/// What one filter was asked says nothing of the other.
#[test]
fn trials_count_for_the_filter_that_was_tried() {
    let mut found = facts(&text(SOUND));
    let refused = || TrialOutcome::Refused("No such file or directory (os error 2)".to_owned());
    found.rules = vec![RuleTrial::by_netlink(Family::Ipv4, refused())];
    assert!(blocks(&check(&found, &with(Filter::Iptables))).is_empty());
    let report = check(&found, &nftables());
    assert_eq!(blocks(&report), ["nft-rules"]);
    let finding = &report.findings[0];
    assert_eq!(
        finding.evidence.to_string(),
        "nf_tables: No such file or directory (os error 2)"
    );
    assert!(
        finding.remedy.to_string().contains("nft_masq"),
        "{}",
        finding.remedy
    );
    assert_eq!(check(&found, &auto()).filter, Filter::Iptables);

    found.rules = vec![RuleTrial::new("iptables-restore", Family::Ipv4, refused())];
    assert!(blocks(&check(&found, &nftables())).is_empty());
    assert_eq!(check(&found, &auto()).filter, Filter::Nftables);
    found
        .rules
        .push(RuleTrial::by_netlink(Family::Ipv4, refused()));
    assert_eq!(
        check(&found, &auto()).filter,
        Filter::Iptables,
        "neither works"
    );
    let both = Needs {
        ipv6: true,
        ..nftables()
    };
    assert!(!blocks(&check(&found, &both)).contains(&"nft-rules-ipv6"));
    found.rules = vec![RuleTrial::by_netlink(Family::Ipv6, refused())];
    assert!(blocks(&check(&found, &both)).contains(&"nft-rules-ipv6"));
}

/// kube-proxy of that time knows nothing else.
#[test]
fn the_profile_of_1_8_is_iptables() {
    let needs = Needs {
        profile: Profile::Kube18,
        ..auto()
    };
    let report = check(&facts(&text("alpine")), &needs);
    assert_eq!(report.filter, Filter::Iptables);
    assert!(blocks(&report).contains(&"ipset-program"));
}

/// nf_tables has the kernel load what rules use.
#[test]
fn no_module_of_nftables_is_loaded_beforehand() {
    let (_tree, root) = unpack(&text("rhel-10"));
    let found = facts(&text("rhel-10"));
    let report = check(&found, &auto());
    let steps = steps(&root, &found, &auto(), &report);
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert!(steps.contains(&"load module ip_vs".to_owned()));
    assert!(!steps.join("\n").contains("nf_tables"), "{steps:?}");
}
