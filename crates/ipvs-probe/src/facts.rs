use std::collections::BTreeMap;

use crate::bridges::bridges;
use crate::ipvs_tables::ipvs_tables;
use crate::programs::find;
use crate::{
    Bridge, Evidence, IpvsTables, KernelRelease, Module, Modules, Program, Programs, Root,
    RuleTrial, Sysctls, parse,
};

/// What is known of a node, each with where it was found. [`Facts::gather`] reads it; nothing is changed.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Facts {
    /// `kernel.osrelease`, whole; empty where `/proc` is not mounted.
    pub kernel: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub distribution: Option<String>,
    /// `ID` and `ID_LIKE` of the same file, as `["rocky", "rhel", "centos", "fedora"]`.
    pub distribution_ids: Vec<String>,
    /// CPUs of `/proc/cpuinfo`.
    pub cpus: usize,
    /// Every sysctl that a rule names, and those of IPVS and conntrack; `None` where the kernel has none of the name.
    pub sysctls: BTreeMap<&'static str, Option<String>>,
    /// Whether `/proc/sys` is mounted read-only.
    pub read_only_sysctls: bool,
    /// Every module that a rule names, and all schedulers: those of Linux, and those that this kernel has beside them.
    pub modules: BTreeMap<String, Module>,
    /// SELinux as it runs.
    pub selinux: Selinux,
    /// `SELINUX=` of `/etc/selinux/config`.
    pub selinux_configured: Option<String>,
    /// The AppArmor profile of this process; `None` without AppArmor.
    pub apparmor: Option<String>,
    /// The effective capabilities of this process, one bit each.
    pub capabilities: Option<u64>,
    /// Whether this process is in the initial user namespace; `None` where it cannot be known.
    pub initial_user_namespace: Option<bool>,
    /// The processes that change firewalls or IPVS beside us, by name.
    pub neighbours: Vec<Evidence>,
    /// Whether `ufw` is configured to be active.
    pub ufw: bool,
    /// Policies of the chains of the table `filter`, where iptables could be asked.
    pub policies: BTreeMap<String, String>,
    /// The programs that proxies and operators use.
    pub programs: Vec<Program>,
    /// Virtual and real servers that are in the kernel now.
    pub servers: (usize, usize),
    /// The tables that packets look these up in.
    pub tables: IpvsTables,
    /// The bridges that pods are on.
    pub bridges: Vec<Bridge>,
    /// What came of trying IPVS.
    pub ipvs: Attempt,
    /// What came of writing rules: [`try_rules`](crate::try_rules) tries. Empty where nobody tried.
    pub rules: Vec<RuleTrial>,
}

/// How SELinux runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
pub enum Selinux {
    /// Refuses.
    Enforcing,
    /// Only logs.
    Permissive,
    /// Not there.
    Disabled,
}

/// What came of using IPVS: the kernel's family resolved, and a virtual server on 198.51.100.0 with the scheduler made and
/// removed. This crate has no netlink: whoever has a connection tries, and sets [`Facts::ipvs`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Attempt {
    /// Not tried: trying would load modules, or the root is another system's.
    NotTried,
    /// It works.
    Works {
        /// Seconds that an idle TCP connection is kept.
        tcp_timeout: u32,
    },
    /// The kernel has no IPVS family, and loads none.
    NoFamily(String),
    /// The kernel has no such scheduler, and loads none.
    NoScheduler(String),
    /// The kernel refused, for want of rights.
    NotPermitted(String),
    /// Anything else, in the words of who tried.
    Failed(String),
}

/// Names of every scheduler of Linux; the modules are `ip_vs_` and the name.
pub const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos",
];

/// Processes that matter, as `/proc/<pid>/comm` shorten them.
const NEIGHBOURS: [&str; 7] = [
    "firewalld",
    "keepalived",
    "kube-router",
    "kube-proxy",
    "kube-vip",
    "ldirectord",
    "cilium-agent",
];

const PROGRAMS: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "ip6tables-restore",
    "ipset",
    "nft",
    "modprobe",
];

impl Facts {
    /// Reads what is there below a root; programs are run only where it is this machine's. Costs some hundred small files
    /// and a look at every process.
    ///
    /// ```
    /// use ipvs_probe::{Attempt, Facts, HostPrograms, Root};
    /// let facts = Facts::gather(&Root::host(), &mut HostPrograms);
    /// assert_eq!(facts.ipvs, Attempt::NotTried);
    /// ```
    #[must_use]
    pub fn gather(root: &Root, programs: &mut dyn Programs) -> Self {
        let content = |file: &str| root.read(file).content();
        let line = |file: &str| content(file).map(|text| text.trim().to_owned());
        let sysctls = Sysctls::below(root.path("/proc/sys"));
        let kernel = line("/proc/sys/kernel/osrelease").unwrap_or_default();
        let modules = Modules::read(root, &kernel);
        let keys = |file: &str, key: &str| {
            content(file).and_then(|text| parse::assignments(&text).remove(key))
        };
        let of_distribution =
            |key: &str| keys("/etc/os-release", key).or_else(|| keys("/usr/lib/os-release", key));
        let ids = ["ID", "ID_LIKE"].map(|key| of_distribution(key).unwrap_or_default());
        let ip_vs = content("/proc/net/ip_vs").unwrap_or_default();
        let policies = root
            .is_host()
            .then(|| programs.run("iptables", &["-w", "5", "-S"], "").ok())
            .flatten();
        Self {
            distribution: of_distribution("PRETTY_NAME"),
            distribution_ids: ids
                .iter()
                .flat_map(|names| names.split_whitespace())
                .map(str::to_owned)
                .collect(),
            cpus: content("/proc/cpuinfo").map_or(1, |text| {
                let processors = text.lines().filter(|line| line.starts_with("processor"));
                processors.count().max(1)
            }),
            sysctls: crate::rules::sysctl_names()
                .map(|name| (name, sysctls.get(name).ok().flatten()))
                .collect(),
            read_only_sysctls: parse::has_read_only_sysctls(
                &content("/proc/mounts").unwrap_or_default(),
            ),
            modules: crate::rules::module_names()
                .map(str::to_owned)
                .chain(SCHEDULERS.map(|scheduler| format!("ip_vs_{scheduler}")))
                .chain(modules.beginning_with("ip_vs_"))
                .map(|name| (name.clone(), modules.module(&name)))
                .collect(),
            selinux: match line("/sys/fs/selinux/enforce").as_deref() {
                Some("1") => Selinux::Enforcing,
                Some(_) => Selinux::Permissive,
                None => Selinux::Disabled,
            },
            selinux_configured: keys("/etc/selinux/config", "SELINUX"),
            apparmor: line("/proc/self/attr/apparmor/current")
                .or_else(|| line("/proc/self/attr/current"))
                .filter(|_| root.has("/sys/kernel/security/apparmor")),
            capabilities: content("/proc/self/status")
                .and_then(|text| parse::effective_capabilities(&text)),
            initial_user_namespace: content("/proc/self/uid_map")
                .map(|text| parse::is_initial_user_namespace(&text)),
            neighbours: neighbours(root),
            ufw: keys("/etc/ufw/ufw.conf", "ENABLED").as_deref() == Some("yes"),
            policies: parse::policies(&policies.unwrap_or_default()),
            programs: PROGRAMS
                .into_iter()
                .map(|name| find(root, programs, name))
                .collect(),
            servers: parse::proc_ip_vs(&ip_vs),
            tables: ipvs_tables(root, &ip_vs),
            bridges: bridges(root),
            ipvs: Attempt::NotTried,
            rules: Vec::new(),
            kernel,
        }
    }

    /// The release as far as it orders; `None` where there is none to be read.
    #[must_use]
    pub fn release(&self) -> Option<KernelRelease> {
        self.kernel.parse().ok()
    }

    pub(crate) fn sysctl(&self, name: &str) -> Option<&str> {
        self.sysctls.get(name)?.as_deref()
    }

    /// Whether a sysctl of IPVS is to be seen: then one that is not there is not in this kernel.
    pub(crate) fn shows_sysctls_of_ipvs(&self) -> bool {
        let is_of_ipvs = |name: &str| name.starts_with("net.ipv4.vs.");
        let mut sysctls = self.sysctls.iter();
        sysctls.any(|(name, value)| is_of_ipvs(name) && value.is_some())
    }

    pub(crate) fn has_module(&self, name: &str) -> bool {
        self.modules
            .get(name)
            .is_some_and(|module| module.state.is_present())
    }

    pub(crate) fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }
}

/// Each name once, with one of its processes.
fn neighbours(root: &Root) -> Vec<Evidence> {
    let mut found = BTreeMap::new();
    for pid in root.list("/proc") {
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let place = format!("/proc/{pid}/comm");
        let name = root.read(&place).content().unwrap_or_default();
        let name = name.trim();
        if let Some(name) = NEIGHBOURS.iter().find(|known| **known == name) {
            found
                .entry(*name)
                .or_insert_with(|| Evidence::new(place, *name));
        }
    }
    found.into_values().collect()
}
