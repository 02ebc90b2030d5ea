//! The command line: kube-proxy's flags for ipvs mode, and ours in a group of their own.

mod go_integer;
mod meaning;
mod values;
mod warnings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use ipnet::IpNet;
use ipvs_model::Subject;

pub(crate) use self::go_integer::{integer, parse as parse_integer, verbosity};
pub(crate) use self::values::boolean;
use self::values::{feature_gate, ip, subject};
use crate::accepted::Accepted;
use crate::go_duration::parse as duration;
use crate::logging::LoggingFormat;

pub(crate) const OURS: &str = "Beyond kube-proxy";
const IPVS: &str = "IPVS";
/// Of numbers of 32 bits with a sign, as kube-proxy's are.
const MOST: u32 = i32::MAX as u32;
const CONNTRACK: &str = "Connection tracking";
const TRAFFIC: &str = "Traffic";
const LOGGING: &str = "Logging";

/// The reference proxier: kube-proxy's ipvs mode, from the ipvs crates.
#[derive(Debug, Parser)]
#[command(name = "kube-proxy", version, about = "The reference proxier: kube-proxy's ipvs mode, from the ipvs crates", long_about = None, args_override_self = true)]
pub(crate) struct Flags {
    /// Only ipvs.
    #[arg(long, default_value = "ipvs", value_name = "MODE")]
    pub(crate) proxy_mode: String,

    /// A KubeProxyConfiguration (v1alpha1), which replaces most flags; when it changes to another good one, the proxier ends to
    /// be started anew.
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,

    /// How to reach the Kubernetes API [default: the pod's service account].
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "FILE"
    )]
    kubeconfig: String,

    /// The API server's URL, instead of the kubeconfig's.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "URL"
    )]
    master: String,

    /// This node's name [default: the host's name].
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    hostname_override: String,

    /// This node's address, where it is not 0.0.0.0 or ::; nothing is bound to it.
    #[arg(long, default_value = "0.0.0.0", value_parser = ip, value_name = "IP")]
    bind_address: IpAddr,

    /// Gates as NAME=BOOL: AllowServiceExternalIPs is obeyed, others are accepted with a notice.
    #[arg(long, value_delimiter = ',', value_parser = feature_gate, value_name = "GATE", action = ArgAction::Append)]
    feature_gates: Vec<(String, bool)>,

    /// Remove what a proxier makes, and all virtual servers unless --foreign=keep or excluded, and exit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) cleanup: bool,

    /// Set sysctls and IPVS timeouts, and exit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) init_only: bool,

    /// Where /healthz and /livez are served: 0.0.0.0 and :: are both families, empty is nowhere. Load balancers ask on the
    /// ports of their Services.
    #[arg(long, default_value = "0.0.0.0:10256", value_name = "IP:PORT")]
    healthz_bind_address: String,

    /// Where /metrics, /configz, /flagz, /statusz and /proxyMode are served, likewise.
    #[arg(long, default_value = "127.0.0.1:10249", value_name = "IP:PORT")]
    metrics_bind_address: String,

    /// Deprecated: the port of --healthz-bind-address where it has none; 0 for nowhere.
    #[arg(long, hide = true, default_value_t = 10256, value_parser = |text: &str| integer(text, 0..=u16::MAX), value_name = "PORT")]
    healthz_port: u16,

    /// Deprecated: the port of --metrics-bind-address where it has none; 0 for nowhere.
    #[arg(long, hide = true, default_value_t = 10249, value_parser = |text: &str| integer(text, 0..=u16::MAX), value_name = "PORT")]
    metrics_port: u16,

    /// End when one of these two addresses cannot be listened on, instead of trying again.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) bind_address_hard_fail: bool,

    /// How ready the kernel is to end this process when memory is short, from -1000 to 1000; where it may not be set, it stays.
    #[arg(long, default_value_t = -999, value_parser = |text: &str| integer(text, -1000..=1000_i16), allow_hyphen_values = true, value_name = "SCORE")]
    pub(crate) oom_score_adj: i16,

    /// Write the configuration that these flags make to a file, and exit.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config_to: Option<PathBuf>,

    /// Pod networks: one, or an IPv4 and an IPv6 one. Traffic to cluster IPs from elsewhere is masqueraded.
    #[arg(long, value_delimiter = ',', value_name = "CIDR", help_heading = TRAFFIC)]
    cluster_cidr: Vec<IpNet>,

    /// How traffic from this node's pods is known.
    #[arg(long, value_enum, default_value_t = DetectLocal::ClusterCidr, value_name = "MODE", help_heading = TRAFFIC)]
    detect_local_mode: DetectLocal,

    /// The bridge of --detect-local-mode=BridgeInterface.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME", help_heading = TRAFFIC)]
    pod_bridge_interface: String,

    /// The beginning of names of --detect-local-mode=InterfaceNamePrefix.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX", help_heading = TRAFFIC)]
    pod_interface_name_prefix: String,

    /// Masquerade all traffic to cluster IPs.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", help_heading = TRAFFIC)]
    masquerade_all: bool,

    /// Bit of the packet mark for traffic to masquerade.
    #[arg(long, default_value_t = 14, value_parser = |text: &str| integer(text, 0..=31_u8), value_name = "BIT", help_heading = TRAFFIC)]
    iptables_masquerade_bit: u8,

    /// Networks whose addresses of this node serve node ports, or `primary` [default: all addresses].
    #[arg(long, value_delimiter = ',', value_name = "CIDR", help_heading = TRAFFIC)]
    nodeport_addresses: Vec<String>,

    /// Scheduler of every virtual server [default: rr].
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME", help_heading = IPVS)]
    ipvs_scheduler: String,

    /// Everything is read and compared this often, or less often as long as nothing is wrong (--max-sync-period).
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION", help_heading = IPVS)]
    ipvs_sync_period: Duration,

    /// The least time between two syncs; the first change after quiet is applied at once.
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION", help_heading = IPVS)]
    ipvs_min_sync_period: Duration,

    /// Virtual servers in these networks are never removed.
    #[arg(long, value_delimiter = ',', value_name = "CIDR", help_heading = IPVS)]
    ipvs_exclude_cidrs: Vec<IpNet>,

    /// Answer ARP only for addresses of the link that asks.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", help_heading = IPVS)]
    pub(crate) ipvs_strict_arp: bool,

    /// Timeout of idle TCP connections; 0 leaves it.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = IPVS)]
    ipvs_tcp_timeout: Duration,

    /// Timeout of TCP connections after a FIN; 0 leaves it.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = IPVS)]
    ipvs_tcpfin_timeout: Duration,

    /// Timeout of UDP flows; 0 leaves it.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = IPVS)]
    ipvs_udp_timeout: Duration,

    /// Tracked connections for each CPU; 0 leaves the limit.
    #[arg(long, default_value_t = 32_768, value_parser = |text: &str| integer(text, 0..=MOST), value_name = "N", help_heading = CONNTRACK)]
    pub(crate) conntrack_max_per_core: u32,

    /// Tracked connections at least, whatever the number of CPUs.
    #[arg(long, default_value_t = 131_072, value_parser = |text: &str| integer(text, 0..=MOST), value_name = "N", help_heading = CONNTRACK)]
    pub(crate) conntrack_min: u32,

    /// Timeout of tracked established TCP connections; 0 leaves it.
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "DURATION", help_heading = CONNTRACK)]
    pub(crate) conntrack_tcp_timeout_established: Duration,

    /// Timeout of tracked TCP connections in CLOSE_WAIT; 0 leaves it.
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION", help_heading = CONNTRACK)]
    pub(crate) conntrack_tcp_timeout_close_wait: Duration,

    /// Let packets of TCP that are out of their window pass as they are, instead of as invalid ones.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = boolean, action = ArgAction::Set, value_name = "BOOL", help_heading = CONNTRACK)]
    pub(crate) conntrack_tcp_be_liberal: bool,

    /// Timeout of tracked UDP flows that were not answered; 0 leaves it.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = CONNTRACK)]
    pub(crate) conntrack_udp_timeout: Duration,

    /// Timeout of tracked UDP flows that were answered; 0 leaves it.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = CONNTRACK)]
    pub(crate) conntrack_udp_timeout_stream: Duration,

    /// How much is logged: from 4 on each operation, from 6 on each request to the Kubernetes API.
    #[arg(short = 'v', long = "v", default_value_t = 0, value_parser = verbosity, value_name = "LEVEL", help_heading = LOGGING)]
    pub(crate) verbosity: u32,

    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LoggingFormat::Text, help_heading = LOGGING)]
    pub(crate) logging_format: LoggingFormat,

    #[command(flatten)]
    pub(crate) accepted: Accepted,

    /// What the configuration file had when it was read.
    #[arg(skip)]
    pub(crate) config_contents: Vec<u8>,

    /// What is to be said of flags and file once there is a log.
    #[arg(skip)]
    pub(crate) warnings: Vec<String>,

    /// Every flag with a value, as it was typed or by default.
    #[arg(skip)]
    pub(crate) words: BTreeMap<String, String>,

    /// Manifest file, or folder of manifests, with Services, EndpointSlices and Nodes; followed while it runs.
    #[arg(long, value_name = "PATH", help_heading = OURS)]
    pub(crate) manifests: Vec<PathBuf>,

    /// Look at all Nodes, not only this one: for Services that weigh endpoints by node.
    #[arg(long, help_heading = OURS)]
    watch_all_nodes: bool,

    /// Sync once and exit: 0 only if every operation succeeded.
    #[arg(long, help_heading = OURS)]
    pub(crate) once: bool,

    /// Print the plan for a node without any state, or with --cleanup what would be removed here; change nothing.
    #[arg(long, help_heading = OURS)]
    pub(crate) dry_run: bool,

    /// Form of the plan.
    #[arg(long, value_enum, default_value_t = Output::Text, help_heading = OURS)]
    pub(crate) output: Output,

    /// How VIPs are bound: as addresses of kube-ipvs0 as kube-proxy does, or as local routes, which have the smallest MTU of the
    /// node's links (read again when addresses change, and with each resync).
    #[arg(long, value_enum, default_value_t = Binding::Address, help_heading = OURS)]
    vip_binding: Binding,

    /// Networks whose addresses are never made local to this node, whatever Services ask for.
    #[arg(long, value_delimiter = ',', value_name = "CIDR", help_heading = OURS)]
    never_bind: Vec<IpNet>,

    /// Never make the addresses of other Nodes local.
    #[arg(long, help_heading = OURS)]
    never_bind_nodes: bool,

    /// Never make this node's gateways local.
    #[arg(long, help_heading = OURS)]
    never_bind_gateways: bool,

    /// Networks of load balancers whose addresses are not programmed.
    #[arg(long, value_delimiter = ',', value_name = "CIDR", help_heading = OURS)]
    skip_load_balancer_cidrs: Vec<IpNet>,

    /// Values of loadBalancerClass whose addresses are not programmed.
    #[arg(long, value_delimiter = ',', value_name = "CLASS", help_heading = OURS)]
    skip_load_balancer_classes: Vec<String>,

    /// Cut the connections of draining TCP endpoints after this long; 0 waits for their end, as kube-proxy does.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION", help_heading = OURS)]
    drain_deadline: Duration,

    /// Look this often for what others change where the kernel tells nobody: IPVS, ipsets, rules of iptables-legacy; 0 never,
    /// else at least 100ms.
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION", help_heading = OURS)]
    canary_period: Duration,

    /// Everything is read and compared at least this often, or each --ipvs-sync-period if that is longer. Each time that
    /// nothing was wrong it waits twice as long, from --ipvs-sync-period up to this, unless --canary-period is 0.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION", help_heading = OURS)]
    max_sync_period: Duration,

    /// Counters of at most so many virtual servers, and of ten times as many real servers, in /metrics; 0 for none. Each
    /// look costs a request for each of them.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = OURS)]
    pub(crate) service_metrics: usize,

    /// Let each node begin with another real server of a virtual server.
    #[arg(long, help_heading = OURS)]
    ipvs_stagger: bool,

    /// Say why a virtual server, real server, set member or address would exist (as `10.96.0.10:80/TCP`,
    /// `10.96.0.10:80/TCP -> 10.244.0.5:8080`, `cluster-ip 10.96.0.10:80/TCP`, `10.96.0.10`; a set member also in the words of
    /// `ipset list`, `KUBE-CLUSTER-IP 10.96.0.10,tcp:80`); change nothing.
    #[arg(long, value_name = "OBJECT", value_parser = subject, help_heading = OURS)]
    pub(crate) explain: Option<Subject>,

    /// What becomes of virtual servers and addresses of others: removed, or taken over where a Service wants them, as by
    /// kube-proxy; or kept.
    #[arg(long, value_enum, default_value_t = ForeignFlag::Remove, help_heading = OURS)]
    foreign: ForeignFlag,

    /// What masquerading and firewalling are done with: iptables and ipset as by kube-proxy; nftables by netlink, which needs no
    /// program; or nftables where iptables and ipset do not work.
    #[arg(long, value_enum, default_value_t = FilterFlag::Auto, help_heading = OURS)]
    filter: FilterFlag,

    /// Which iptables: the one in use, or a certain one. A certain one is no choice for --filter=nftables.
    #[arg(long, value_enum, default_value_t = Backend::Auto, help_heading = OURS)]
    iptables_backend: Backend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DetectLocal {
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    #[value(name = "NodeCIDR")]
    NodeCidr,
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Binding {
    Address,
    Route,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ForeignFlag {
    Remove,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilterFlag {
    Auto,
    Iptables,
    Nftables,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Auto,
    Legacy,
    Nft,
}
