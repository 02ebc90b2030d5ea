//! The states that the real kube-proxy made, in our order of rules, compared with what the model alone would make: quick, and
//! without a kernel.
//! In the lab the kernel itself is asked (`cargo xtask golden`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ipvs_codec::{Family, SavedLine};
use ipvs_filter::iptables::{ruleset, set_entry, set_name};
use ipvs_model::input::Change;
use ipvs_model::{Config, Known, LocalTraffic, Model};
use ipvs_netfilter::iptables::{SavedRules, Table};
use ipvs_proxier::{Control, Manifests, load};
use ipvs_test_support::in_our_order;

fn recorded() -> Vec<(PathBuf, PathBuf)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut found = Vec::new();
    for case in fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let input = case.join("input.yaml");
        if !input.is_file() {
            continue;
        }
        for arguments in fs::read_dir(&case)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if arguments.join("args").is_file() {
                found.push((input.clone(), arguments));
            }
        }
    }
    found
}

fn config(arguments: &str) -> Config {
    let mut config = Config::default();
    for word in arguments.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "true")) {
            ("--hostname-override", name) => config.node_name = name.into(),
            ("--cluster-cidr", cidr) => {
                config.local_traffic = LocalTraffic::ClusterCidrs(vec![cidr.parse().unwrap()]);
            }
            ("--masquerade-all", _) => config.masquerade_all = true,
            ("--proxy-mode" | "--conntrack-max-per-core", _) => {}
            (flag, _) => panic!("what does {flag} mean to the model?"),
        }
    }
    config
}

fn made(input: &Path, config: Config) -> Known {
    let mut model = Model::new(config);
    let addresses = ["192.168.50.10", "fd00:50::10"].map(|ip| ip.parse().unwrap());
    model.change(Change::NodeAddresses(addresses.into()));
    let control = Control::new();
    let mut manifests = Manifests::follow(vec![input.to_owned()], control.waker()).unwrap();
    let changes = load(&mut manifests, &control).unwrap();
    changes.into_iter().for_each(|change| model.change(change));
    let mut known = Known::default();
    let plan = model.plan_everything(&known);
    plan.iter().for_each(|operation| known.applied(operation));
    known
}

fn virtual_servers(known: &Known) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for server in known.virtual_servers.values() {
        lines.insert(SavedLine::Service(server.service).to_string());
        for real_server in server.real_servers() {
            let line = SavedLine::Destination(server.service.key, *real_server);
            lines.insert(line.to_string());
        }
    }
    lines
}

fn addresses(known: &Known) -> BTreeSet<String> {
    let bits = |ip: &std::net::IpAddr| Family::of(*ip).bits();
    known
        .vips
        .keys()
        .map(|ip| format!("{ip}/{}", bits(ip)))
        .collect()
}

fn members(known: &Known) -> BTreeSet<String> {
    known
        .members()
        .map(|entry| {
            let name = set_name(entry.set(), entry.family());
            format!("add {name} {}", set_entry(&entry))
        })
        .collect()
}

/// Chains that hold rules: a chain without any is the same as none here.
fn rules(
    saved: &SavedRules,
    chains: &BTreeSet<(Table, String)>,
) -> Vec<(Table, String, Vec<String>)> {
    let of_chain = |(table, chain): &(Table, String)| {
        let rules = saved.rules(*table, chain).unwrap_or_default();
        let words = rules.iter().map(ToString::to_string).collect();
        (*table, chain.clone(), words)
    };
    chains.iter().map(of_chain).collect()
}

/// What `iptables-save` would print.
fn saved(known: &Known, family: Family) -> SavedRules {
    let mut saved = SavedRules::default();
    let shape = known.filters[&family].shape.as_ref().unwrap();
    saved.restored(&ruleset(shape));
    saved
}

fn chains_of(text: &str) -> BTreeSet<(Table, String)> {
    let mut table = Table::Filter;
    let mut chains = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix('*') {
            Some("nat") => table = Table::Nat,
            Some(_) => table = Table::Filter,
            None => {
                let chain = line
                    .strip_prefix(':')
                    .and_then(|line| line.split(' ').next());
                chains.extend(chain.map(|chain| (table, chain.to_owned())));
            }
        }
    }
    chains
}

#[test]
fn the_model_makes_what_kube_proxy_made() {
    let recorded = recorded();
    assert!(recorded.len() >= 26, "{}", recorded.len());
    for (input, folder) in recorded {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let lines = |file: &str| -> BTreeSet<String> {
            let text = read(file);
            let lines = text.lines().filter(|line| !line.starts_with("create "));
            lines.map(|line| line.trim().to_owned()).collect()
        };
        let known = made(&input, config(&read("args")));
        let at = folder.display();
        assert_eq!(virtual_servers(&known), lines("virtual-servers"), "{at}");
        assert_eq!(addresses(&known), lines("addresses"), "{at}");
        assert_eq!(members(&known), lines("ipsets"), "{at}");
        for (family, file) in [(Family::Ipv4, "iptables"), (Family::Ipv6, "ip6tables")] {
            let text = in_our_order(&read(file));
            let chains = chains_of(&text);
            assert_eq!(
                rules(&saved(&known, family), &chains),
                rules(&SavedRules::parse(&text), &chains),
                "{at} {file}"
            );
        }
    }
}
