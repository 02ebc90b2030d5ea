use crate::{
    Attempt, Evidence, Facts, Finding, KernelRelease, ModuleState, Need, Needs, Remedy, Report,
    Rule, SCHEDULERS, Selinux, modules_of_1_8::modules_of_1_8, rules::RULES,
};

/// Compares what a node has with what is needed. Costs nothing that grows with the number of services.
///
/// ```
/// use ipvs_probe::{Facts, HostPrograms, Needs, Root, check};
/// let tree = tempfile::tempdir()?; // a machine with nothing
/// let report = check(&Facts::gather(&Root::below(tree.path()), &mut HostPrograms), &Needs::default());
/// assert!(report.findings.iter().any(|finding| finding.rule.id == "iptables-restore"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn check(facts: &Facts, needs: &Needs) -> Report {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .filter(|rule| rule.when.applies(facts, needs))
        .filter_map(|rule| {
            let (evidence, remedy) = missing(rule, facts, needs)?;
            Some(Finding {
                rule,
                evidence,
                remedy,
            })
        })
        .collect();
    findings.sort_by_key(|finding| finding.rule.severity);
    Report {
        kernel: facts.kernel.clone(),
        distribution: facts.distribution.clone(),
        findings,
    }
}

/// What is not as the rule needs it, and what to do.
fn missing(rule: &Rule, facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    match rule.need {
        Need::Module { names, now } => module(facts, names, now),
        Need::Scheduler => {
            let name = format!("ip_vs_{}", needs.scheduler);
            module(facts, &[name.as_str()], false)
        }
        Need::Kube18Modules => kube_1_8(facts),
        Need::Sysctl { name, value } => sysctl(facts, name, value, |found| found == value),
        Need::SysctlNot { name, bad, value } => sysctl(facts, name, value, |found| found != bad),
        Need::Program(name) => {
            let program = facts.program(name)?;
            let remedy = by_hand(format!("install the package that has {name}"));
            program.path.is_none().then(|| (program.evidence(), remedy))
        }
        Need::Capability(number, name) => {
            let effective = facts.capabilities?;
            let evidence = Evidence::new("/proc/self/status", format!("CapEff: {effective:016x}"));
            let remedy = by_hand(format!("run as root, or give the process {name}"));
            (effective >> number & 1 == 0).then_some((evidence, remedy))
        }
        Need::InitialUserNamespace => {
            let evidence = Evidence::new("/proc/self/uid_map", "not that of the initial namespace");
            let remedy = "run it outside of user namespaces: as root of the machine, or in a container without one";
            (facts.initial_user_namespace == Some(false)).then(|| (evidence, by_hand(remedy)))
        }
        Need::Ipvs => ipvs(facts, needs),
        Need::NoSelinux => {
            let evidence = Evidence::new("/sys/fs/selinux/enforce", "1");
            let remedy = "to see whether it refuses: `ausearch -m avc -ts recent`; to let it only log: `setenforce 0`";
            (facts.selinux == Selinux::Enforcing).then(|| (evidence, by_hand(remedy)))
        }
        Need::OpenChain(chain) => {
            let policy = facts.policies.get(chain)?;
            let evidence = Evidence::new("iptables -S", format!("-P {chain} {policy}"));
            let remedy = by_hand(format!("iptables -P {chain} ACCEPT"));
            (policy != "ACCEPT").then_some((evidence, remedy))
        }
        Need::NoProcess(name) => {
            let mut processes = facts.neighbours.iter();
            let process = processes.find(|process| process.content == name)?;
            let remedy = match name {
                "firewalld" => "systemctl disable --now firewalld",
                _ => "stop one of the two, or start the proxy with --foreign=keep",
            };
            Some((process.clone(), by_hand(remedy)))
        }
        Need::NoUfw => {
            let evidence = Evidence::new("/etc/ufw/ufw.conf", "ENABLED=yes");
            facts.ufw.then(|| (evidence, by_hand("ufw disable")))
        }
        Need::FewEstimators => estimators(facts),
        Need::LongTimeouts => timeouts(facts),
        Need::RoomInSets => {
            let (services, _) = facts.servers;
            let evidence = Evidence::new("/proc/net/ip_vs", format!("{services} virtual servers"));
            let remedy = by_hand("divide the services between clusters");
            (services > SET_SIZE).then_some((evidence, remedy))
        }
        Need::Reminder => {
            let evidence = Evidence::new("--masquerade-all", "chosen");
            let remedy =
                "use --cluster-cidr instead, which masquerades only what comes from outside";
            Some((evidence, by_hand(remedy)))
        }
    }
}

fn by_hand(remedy: impl Into<String>) -> Remedy {
    Remedy::ByHand(remedy.into())
}

/// kube-proxy makes its sets with ipset's default.
const SET_SIZE: usize = 65_536;

/// The best of several names; `None` when it is as needed.
fn module(facts: &Facts, names: &[&str], now: bool) -> Option<(Evidence, Remedy)> {
    let known: Vec<_> = names
        .iter()
        .filter_map(|name| facts.modules.get(*name))
        .collect();
    let suffices = |state: ModuleState| state.is_present() || (!now && state.may_be_loaded());
    if known.is_empty() {
        let name = names.join(" ");
        let evidence = Evidence::new(&name, "no scheduler of Linux");
        let remedy = format!(
            "choose one of {}, or load it if this kernel has it: modprobe {name}",
            SCHEDULERS.join(" ")
        );
        return Some((evidence, by_hand(remedy)));
    }
    if known.iter().any(|module| suffices(module.state)) {
        return None;
    }
    let loadable = known.iter().find(|module| module.state.may_be_loaded());
    if let Some(module) = loadable {
        // The kernel was asked, which says more than a list that is not there.
        if module.state == ModuleState::Unknown && facts.ipvs != Attempt::NotTried {
            return None;
        }
        return Some((
            module.evidence.clone(),
            Remedy::LoadModule(module.name.clone()),
        ));
    }
    let barred = known
        .iter()
        .find(|module| module.state == ModuleState::Blacklisted);
    if let Some(module) = barred {
        let Evidence { place, content } = &module.evidence;
        let remedy = format!("take `{content}` out of {place}, then load {}", module.name);
        return Some((module.evidence.clone(), by_hand(remedy)));
    }
    let absent = known.first()?;
    let remedy = "install the package with the missing modules for this kernel (RHEL: kernel-modules-extra, Ubuntu: linux-modules-extra-$(uname -r)), or boot a kernel that has them";
    Some((absent.evidence.clone(), by_hand(remedy)))
}

/// With the error of kube-proxy, which people search for.
fn kube_1_8(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let mut missing: Vec<&str> = modules_of_1_8(facts)
        .into_iter()
        .filter(|name| !facts.has_module(name))
        .collect();
    missing.sort_unstable();
    let evidence = Evidence::new(
        "/proc/modules",
        format!("failed to load kernel modules: [{}]", missing.join(" ")),
    );
    let is_loadable = |name: &&str| {
        let module = facts.modules.get(*name);
        module.is_some_and(|module| module.state.may_be_loaded())
    };
    let remedy = if missing.iter().all(is_loadable) {
        Remedy::LoadModule(missing.join(" "))
    } else {
        by_hand("install the package that has them for this kernel")
    };
    (!missing.is_empty()).then_some((evidence, remedy))
}

fn sysctl(
    facts: &Facts,
    name: &'static str,
    value: &'static str,
    suffices: impl Fn(&str) -> bool,
) -> Option<(Evidence, Remedy)> {
    let place = format!("/proc/sys/{}", name.replace('.', "/"));
    match facts.sysctl(name) {
        Some(found) if suffices(found) => None,
        Some(found) => {
            let remedy = if facts.read_only_sysctls {
                by_hand(format!(
                    "on the machine, as /proc/sys is read-only here: sysctl -w {name}={value}"
                ))
            } else {
                Remedy::Sysctl { name, value }
            };
            Some((Evidence::new(place, found), remedy))
        }
        // What is not there because its module is not, or because the kernel hides it: those rules speak.
        None if name.starts_with("net.ipv4.vs.")
            && (!facts.has_module("ip_vs") || facts.initial_user_namespace == Some(false)) =>
        {
            None
        }
        None if name.starts_with("net.bridge.") || name.starts_with("net.ipv6.") => None,
        None if name.ends_with("conn_reuse_mode") || name.ends_with("rp_filter") => None,
        None => Some((
            Evidence::new(place, "no such file"),
            by_hand(format!("boot a kernel that has {name}")),
        )),
    }
}

fn ipvs(facts: &Facts, needs: &Needs) -> Option<(Evidence, Remedy)> {
    let (content, remedy) = match &facts.ipvs {
        Attempt::NotTried | Attempt::Works { .. } => return None,
        Attempt::NoFamily(text) => {
            let remedy = "this kernel has no IPVS and could load none: boot one that has it (CONFIG_IP_VS), install the package with its modules, or, in a container, load ip_vs on the machine";
            let remedy = match facts.modules.get("ip_vs").map(|module| module.state) {
                Some(ModuleState::Loadable) => Remedy::LoadModule("ip_vs".to_owned()),
                _ => by_hand(remedy),
            };
            (text, remedy)
        }
        Attempt::NoScheduler(text) => {
            let name = format!("ip_vs_{}", needs.scheduler);
            let module = facts.modules.get(&name);
            let remedy = if module.is_some_and(|module| module.state != ModuleState::Absent) {
                Remedy::LoadModule(name)
            } else {
                by_hand(format!(
                    "choose a scheduler that this kernel has, or install the package with {name}"
                ))
            };
            (text, remedy)
        }
        Attempt::NotPermitted(text) => (
            text,
            by_hand(
                "run as root of the machine, with CAP_NET_ADMIN and outside of user namespaces",
            ),
        ),
        Attempt::Failed(text) => (
            text,
            by_hand("look for IPVS in the kernel's log: `dmesg | grep -i ipvs`"),
        ),
    };
    Some((
        Evidence::new("virtual server on 198.51.100.0", content),
        remedy,
    ))
}

/// Above this, one pass of the timer is felt.
const COUNTERS: usize = 100_000;

fn estimators(facts: &Facts) -> Option<(Evidence, Remedy)> {
    // Threads of the kernel read them instead where there is a sysctl for their niceness.
    let by_threads = if facts.shows_sysctls_of_ipvs() {
        facts.sysctl("net.ipv4.vs.est_nice").is_some()
    } else {
        facts.release() >= Some(KernelRelease::new(6, 2, 0))
    };
    if by_threads {
        return None;
    }
    let (services, servers) = facts.servers;
    let counters = services.saturating_add(servers).saturating_mul(facts.cpus);
    if counters < COUNTERS || facts.sysctl("net.ipv4.vs.run_estimation") == Some("0") {
        return None;
    }
    let evidence = Evidence::new(
        "/proc/net/ip_vs",
        format!(
            "{services} virtual and {servers} real servers on {} CPUs: {counters} counters",
            facts.cpus
        ),
    );
    let remedy = match facts.sysctl("net.ipv4.vs.run_estimation") {
        Some(_) => "sysctl -w net.ipv4.vs.run_estimation=0 (rates and counters then stand still)",
        None => "boot Linux 6.2 or later, which spreads the work",
    };
    Some((evidence, by_hand(remedy)))
}

fn timeouts(facts: &Facts) -> Option<(Evidence, Remedy)> {
    let Attempt::Works { tcp_timeout } = facts.ipvs else {
        return None;
    };
    let seconds = |name: &str| facts.sysctl(name)?.parse::<u32>().ok();
    let keepalive = seconds("net.ipv4.tcp_keepalive_time")?;
    let conntrack = seconds("net.netfilter.nf_conntrack_tcp_timeout_established");
    let shortest = tcp_timeout.min(conntrack.unwrap_or(u32::MAX));
    let evidence = Evidence::new(
        "timers of an idle TCP connection",
        format!(
            "IPVS {tcp_timeout} s, conntrack {}, first keep-alive after {keepalive} s",
            conntrack.map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds} s"))
        ),
    );
    let remedy = format!(
        "sysctl -w net.ipv4.tcp_keepalive_time={} where clients and pods run, or a longer `ipvsadm --set`",
        shortest / 2
    );
    (keepalive >= shortest).then_some((evidence, by_hand(remedy)))
}
