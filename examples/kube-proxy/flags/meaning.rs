//! What the flags mean for the libraries; a value that means nothing is an error that names its flag.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use ipnet::IpNet;
use ipvs_codec::{Family, Scheduler, Timeouts};
use ipvs_model::{
    Config, Foreign, InterfaceName, LocalTraffic, NeverBind, NodePortAddresses,
    SkippedLoadBalancers, VipBinding,
};
use ipvs_proxier::{
    Access, ApiObserver, Build, Cluster, Control, FilterBackend, Health, HealthServer,
    IptablesBackend, Manifests, Metrics, Nodes, Pace, Program, Serve, Source, without_user,
};
use tracing::error;

use super::values::{ip, listened_on};
use super::{Backend, Binding, DetectLocal, FilterFlag, Flags, ForeignFlag};
use crate::config_file;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The gate that is obeyed, and its stage in Kubernetes 1.36.
const EXTERNAL_IPS: &str = "AllowServiceExternalIPs";
const EXTERNAL_IPS_STAGE: &str = "DEPRECATED";

/// Looks at canaries in quicker succession would take the time of syncs.
const SHORTEST_CANARY_PERIOD: Duration = Duration::from_millis(100);

impl Flags {
    /// What metrics tell of this program.
    pub(crate) fn program(&self) -> Program {
        Program {
            version: VERSION,
            build: Build {
                commit: env!("BUILD_COMMIT"),
                date: env!("BUILD_DATE"),
                compiler: env!("BUILD_COMPILER"),
            },
            gates: vec![(EXTERNAL_IPS, EXTERNAL_IPS_STAGE, self.external_ips())],
        }
    }

    /// Whether there is something to do to its end, instead of following a cluster.
    pub(crate) const fn is_once(&self) -> bool {
        let prints = self.dry_run || self.explain.is_some() || self.write_config_to.is_some();
        prints || self.once || self.init_only || self.cleanup
    }

    /// Where objects come from: the manifests if some are named, else the Kubernetes API, which wakes whoever waits, and
    /// the observer of its requests.
    ///
    /// # Errors
    /// When the API cannot be used.
    pub(crate) fn source(
        &self,
        control: &Control,
        observer: impl ApiObserver + 'static,
    ) -> Result<Box<dyn Source>> {
        if !self.manifests.is_empty() {
            let manifests = Manifests::follow(self.manifests.clone(), control.waker());
            return Ok(Box::new(manifests.context("--manifests")?));
        }
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let access = Access {
            kubeconfig: given(&self.kubeconfig).map(PathBuf::from),
            master: given(&self.master),
            program: Some(concat!("kube-proxy-ipvs/", env!("CARGO_PKG_VERSION")).to_owned()),
        };
        let nodes = if self.watch_all_nodes || self.never_bind_nodes {
            Nodes::All
        } else {
            Nodes::Only(self.node_name()?)
        };
        let hint = "no objects: give --kubeconfig, --master or --manifests";
        Ok(Box::new(
            Cluster::connect_observed(&access, nodes, observer, control.waker()).context(hint)?,
        ))
    }

    /// Serves health and metrics of a proxier that is about to start: which families it serves comes out later.
    ///
    /// # Errors
    /// When an address is none.
    pub(crate) fn serve(&self, metrics: Metrics) -> Result<HealthServer> {
        let (health_address, metrics_address) = self.listened_on()?;
        let configuration = serde_json::json!({
            "kubeproxy.config.k8s.io": config_file::of(&self.words),
        });
        Ok(HealthServer::start(Serve {
            health: Health::new(Vec::new(), self.ipvs_sync_period),
            metrics,
            configuration: configuration.to_string(),
            flags: self.shown(),
            version: VERSION.to_owned(),
            health_address,
            metrics_address,
        })?)
    }

    /// The flags by their words, without what is secret: everybody may ask for them.
    fn shown(&self) -> BTreeMap<String, String> {
        let mut words = self.words.clone();
        if let Some(master) = words.get_mut("master") {
            *master = without_user(master);
        }
        words
    }

    /// An address that has no port gets one; port 0 takes it away.
    pub(crate) fn add_ports(&mut self) {
        for (name, address, port) in [
            (
                "healthz-bind-address",
                &mut self.healthz_bind_address,
                self.healthz_port,
            ),
            (
                "metrics-bind-address",
                &mut self.metrics_bind_address,
                self.metrics_port,
            ),
        ] {
            if port == 0 {
                address.clear();
            } else if let Ok(ip) = ip(address) {
                *address = SocketAddr::new(ip, port).to_string();
            }
            self.words.insert(name.to_owned(), address.clone());
        }
    }

    fn listened_on(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>)> {
        let parse = |flag, text: &str| match text {
            "" => Ok(None),
            text => listened_on(text).map(Some).with_context(|| {
                format!("{flag}: {text}: not IP:PORT with a port from 1 to 65535")
            }),
        };
        Ok((
            parse("--healthz-bind-address", &self.healthz_bind_address)?,
            parse("--metrics-bind-address", &self.metrics_bind_address)?,
        ))
    }

    /// Everything that is wrong with values of flags.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mode = match self.proxy_mode.as_str() {
            "ipvs" => Ok(()),
            other => Err(anyhow!("--proxy-mode={other}: this proxier has only ipvs")),
        };
        let all = [
            mode,
            self.pace().map(drop),
            self.listened_on().map(drop),
            self.scheduler().map(drop),
            self.node_name().map(drop),
            self.local_traffic().map(drop),
            self.node_port_addresses().map(drop),
        ];
        let wrong = all.into_iter().filter_map(Result::err);
        wrong.map(|problem| format!("{problem:#}")).collect()
    }

    /// What the model is told.
    ///
    /// # Errors
    /// Names the first flag with an impossible value.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(Config {
            node_name: self.node_name()?,
            scheduler: self.scheduler()?,
            masquerade_all: self.masquerade_all,
            masquerade_mark: 1 << self.iptables_masquerade_bit,
            local_traffic: self.local_traffic()?,
            external_ips: self.external_ips(),
            foreign: match self.foreign {
                ForeignFlag::Remove => Foreign::Remove,
                ForeignFlag::Keep => Foreign::Keep,
            },
            exclude_cidrs: self.ipvs_exclude_cidrs.clone(),
            node_port_addresses: self.node_port_addresses()?,
            vip_binding: match self.vip_binding {
                Binding::Address => VipBinding::Address,
                Binding::Route => VipBinding::Route,
            },
            never_bind: NeverBind {
                networks: self.never_bind.clone(),
                nodes: self.never_bind_nodes,
                gateways: self.never_bind_gateways,
            },
            skipped_load_balancers: SkippedLoadBalancers {
                networks: self.skip_load_balancer_cidrs.clone(),
                classes: self.skip_load_balancer_classes.clone(),
            },
            stagger: self.ipvs_stagger,
            drain_deadline: Some(self.drain_deadline).filter(|deadline| !deadline.is_zero()),
            node_ips: Some(self.bind_address)
                .into_iter()
                .filter(|ip| !ip.is_unspecified())
                .collect(),
            ..Config::default()
        })
    }

    fn local_traffic(&self) -> Result<LocalTraffic> {
        let name = |flag, text: &str| text.parse::<InterfaceName>().context(flag);
        match self.detect_local_mode {
            DetectLocal::ClusterCidr => Ok(LocalTraffic::ClusterCidrs(self.cluster_cidrs()?)),
            DetectLocal::NodeCidr => Ok(LocalTraffic::NodeCidrs),
            DetectLocal::BridgeInterface => {
                let bridge = name("--pod-bridge-interface", &self.pod_bridge_interface)?;
                Ok(LocalTraffic::Bridge(bridge))
            }
            DetectLocal::InterfaceNamePrefix => {
                let flag = "--pod-interface-name-prefix";
                let prefix = name(flag, &self.pod_interface_name_prefix)?;
                Ok(LocalTraffic::InterfacePrefix(prefix))
            }
        }
    }

    /// The last word counts, as for every flag.
    fn external_ips(&self) -> bool {
        let mut gates = self.feature_gates.iter().rev();
        gates
            .find(|(name, _)| name == EXTERNAL_IPS)
            .is_none_or(|(_, is_on)| *is_on)
    }

    /// Gates that change nothing here.
    pub(crate) fn other_gates(&self) -> impl Iterator<Item = &(String, bool)> {
        let gates = self.feature_gates.iter();
        gates.filter(|(name, _)| name != EXTERNAL_IPS)
    }

    pub(super) fn node_port_addresses(&self) -> Result<NodePortAddresses> {
        let words: Vec<&str> = self
            .nodeport_addresses
            .iter()
            .map(|word| word.trim())
            .collect();
        match words[..] {
            [] => Ok(NodePortAddresses::All),
            ["primary"] => Ok(NodePortAddresses::Primary),
            _ => {
                let parse = |word: &&str| {
                    word.parse()
                        .with_context(|| format!("--nodeport-addresses: {word}"))
                };
                Ok(NodePortAddresses::Cidrs(
                    words.iter().map(parse).collect::<Result<_>>()?,
                ))
            }
        }
    }

    pub(crate) fn pace(&self) -> Result<Pace> {
        if self.ipvs_sync_period.is_zero() {
            bail!("--ipvs-sync-period: must be longer than 0");
        }
        if self.ipvs_min_sync_period > self.ipvs_sync_period {
            bail!("--ipvs-min-sync-period: must not be longer than --ipvs-sync-period");
        }
        let canary = Some(self.canary_period).filter(|period| !period.is_zero());
        if canary.is_some_and(|period| period < SHORTEST_CANARY_PERIOD) {
            bail!("--canary-period: must be 0, for never, or at least 100ms");
        }
        Ok(Pace {
            min_sync: self.ipvs_min_sync_period,
            sync: self.ipvs_sync_period,
            max_sync: self.max_sync_period,
            canary,
            ..Pace::default()
        })
    }

    fn scheduler(&self) -> Result<Scheduler> {
        match self.ipvs_scheduler.as_str() {
            "" => Ok(Scheduler::RR),
            name => name.parse().context("--ipvs-scheduler"),
        }
    }

    fn node_name(&self) -> Result<String> {
        let name = match self.hostname_override.as_str() {
            "" => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            name => name.to_owned(),
        };
        match name.trim().to_lowercase() {
            name if name.is_empty() => bail!("--hostname-override: empty name"),
            name => Ok(name),
        }
    }

    fn cluster_cidrs(&self) -> Result<Vec<IpNet>> {
        let of = |family| {
            self.cluster_cidr
                .iter()
                .filter(move |cidr| Family::of(cidr.addr()) == family)
                .count()
        };
        if Family::ALL.into_iter().any(|family| of(family) > 1) {
            bail!("--cluster-cidr: at most one IPv4 and one IPv6 network");
        }
        Ok(self.cluster_cidr.clone())
    }

    /// Whether what is said of a family suits those that this node can serve.
    ///
    /// # Errors
    /// When the node's address or all pod networks are of another one: nothing that depends on them would work.
    pub(crate) fn suit(&self, families: &[Family]) -> Result<()> {
        let is_served = |ip: IpAddr| families.contains(&Family::of(ip));
        let are_others = |networks: &[IpNet]| {
            !networks.is_empty() && !networks.iter().any(|network| is_served(network.addr()))
        };
        let hint = "of no family that the filter works for on this node";
        if !self.bind_address.is_unspecified() && !is_served(self.bind_address) {
            bail!("--bind-address={}: {hint}", self.bind_address);
        }
        if self.detect_local_mode == DetectLocal::ClusterCidr && are_others(&self.cluster_cidr) {
            bail!("--cluster-cidr: {hint}");
        }
        if are_others(&self.ipvs_exclude_cidrs) {
            error!("--ipvs-exclude-cidrs: {hint}; they keep nothing");
        }
        Ok(())
    }

    /// The IPVS timeouts to set, if any.
    pub(crate) fn timeouts(&self) -> Option<Timeouts> {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let timeouts = Timeouts {
            tcp: seconds(self.ipvs_tcp_timeout),
            tcp_fin: seconds(self.ipvs_tcpfin_timeout),
            udp: seconds(self.ipvs_udp_timeout),
        };
        (timeouts != Timeouts::default()).then_some(timeouts)
    }

    /// What the filter is made with. A certain iptables is asked for by its own flag.
    pub(crate) const fn filter(&self) -> FilterBackend {
        match (self.filter, self.iptables_backend) {
            (FilterFlag::Nftables, _) => FilterBackend::Nftables,
            (FilterFlag::Auto, Backend::Auto) => FilterBackend::Auto,
            (FilterFlag::Auto | FilterFlag::Iptables, _) => {
                FilterBackend::Iptables(self.iptables())
            }
        }
    }

    pub(crate) const fn iptables(&self) -> IptablesBackend {
        match self.iptables_backend {
            Backend::Auto => IptablesBackend::Auto,
            Backend::Legacy => IptablesBackend::Legacy,
            Backend::Nft => IptablesBackend::Nft,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::parse;

    fn parsed(flag: &str) -> Result<Flags> {
        parse(vec!["kube-proxy".into(), flag.into()])
    }

    #[test]
    fn canaries_are_looked_at_ten_times_a_second_at_most_or_never() {
        let canary = |flag| parsed(flag).and_then(|flags| Ok(flags.pace()?.canary));
        for (flag, period) in [
            ("--canary-period=0", None),
            ("--canary-period=100ms", Some(SHORTEST_CANARY_PERIOD)),
            ("--canary-period=1s", Some(Duration::from_secs(1))),
        ] {
            assert_eq!(canary(flag).unwrap(), period, "{flag}");
        }
        for flag in ["--canary-period=1ns", "--canary-period=99ms"] {
            let problem = canary(flag).unwrap_err().to_string();
            let expected = "--canary-period: must be 0, for never, or at least 100ms";
            assert!(problem.contains(expected), "{flag}: {problem}");
        }
    }

    #[test]
    fn what_is_shown_of_the_flags_has_no_secret() {
        for (flag, shown) in [
            ("--master=https://me:hid@den@host:1", "https://host:1"),
            ("--master=https://me:12/hidden@host", "https://host"),
            ("--master=https://host", "https://host"),
        ] {
            assert_eq!(parsed(flag).unwrap().shown()["master"], shown);
        }
    }
}
