//! The fields of a KubeProxyConfiguration, and the flags that say the same.

use Kind::{Duration, Gates, List, Number, Switch, Text};

/// How a field's value is written; as a flag's it is always text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    /// With commas as a flag's value.
    List,
    Duration,
    /// `NAME=true` with commas as a flag's value, an object as a field's.
    Gates,
}

pub(super) const FIELDS: [(&str, &str, Kind); 47] = [
    ("mode", "proxy-mode", Text),
    ("clusterCIDR", "cluster-cidr", Text),
    ("bindAddress", "bind-address", Text),
    ("bindAddressHardFail", "bind-address-hard-fail", Switch),
    ("hostnameOverride", "hostname-override", Text),
    ("nodePortAddresses", "nodeport-addresses", List),
    ("featureGates", "feature-gates", Gates),
    ("detectLocalMode", "detect-local-mode", Text),
    ("detectLocal.bridgeInterface", "pod-bridge-interface", Text),
    (
        "detectLocal.interfaceNamePrefix",
        "pod-interface-name-prefix",
        Text,
    ),
    ("clientConnection.kubeconfig", "kubeconfig", Text),
    (
        "clientConnection.contentType",
        "kube-api-content-type",
        Text,
    ),
    ("clientConnection.qps", "kube-api-qps", Number),
    ("clientConnection.burst", "kube-api-burst", Number),
    ("iptables.masqueradeBit", "iptables-masquerade-bit", Number),
    ("iptables.masqueradeAll", "masquerade-all", Switch),
    (
        "iptables.localhostNodePorts",
        "iptables-localhost-nodeports",
        Switch,
    ),
    ("iptables.syncPeriod", "iptables-sync-period", Duration),
    (
        "iptables.minSyncPeriod",
        "iptables-min-sync-period",
        Duration,
    ),
    ("ipvs.scheduler", "ipvs-scheduler", Text),
    ("ipvs.syncPeriod", "ipvs-sync-period", Duration),
    ("ipvs.minSyncPeriod", "ipvs-min-sync-period", Duration),
    ("ipvs.excludeCIDRs", "ipvs-exclude-cidrs", List),
    ("ipvs.strictARP", "ipvs-strict-arp", Switch),
    ("ipvs.tcpTimeout", "ipvs-tcp-timeout", Duration),
    ("ipvs.tcpFinTimeout", "ipvs-tcpfin-timeout", Duration),
    ("ipvs.udpTimeout", "ipvs-udp-timeout", Duration),
    ("conntrack.maxPerCore", "conntrack-max-per-core", Number),
    ("conntrack.min", "conntrack-min", Number),
    (
        "conntrack.tcpEstablishedTimeout",
        "conntrack-tcp-timeout-established",
        Duration,
    ),
    (
        "conntrack.tcpCloseWaitTimeout",
        "conntrack-tcp-timeout-close-wait",
        Duration,
    ),
    ("conntrack.tcpBeLiberal", "conntrack-tcp-be-liberal", Switch),
    ("conntrack.udpTimeout", "conntrack-udp-timeout", Duration),
    (
        "conntrack.udpStreamTimeout",
        "conntrack-udp-timeout-stream",
        Duration,
    ),
    ("healthzBindAddress", "healthz-bind-address", Text),
    ("metricsBindAddress", "metrics-bind-address", Text),
    ("enableProfiling", "profiling", Switch),
    ("oomScoreAdj", "oom-score-adj", Number),
    ("configSyncPeriod", "config-sync-period", Duration),
    (
        "showHiddenMetricsForVersion",
        "show-hidden-metrics-for-version",
        Text,
    ),
    ("portRange", "proxy-port-range", Text),
    ("logging.format", "logging-format", Text),
    ("logging.flushFrequency", "log-flush-frequency", Duration),
    ("logging.verbosity", "v", Number),
    ("logging.vmodule", "vmodule", Text),
    ("udpIdleTimeout", "udp-timeout", Duration),
    ("resourceContainer", "resource-container", Text),
];

/// Sections that other modes and systems read, and what has no meaning beside another field.
const OTHERS: [&str; 6] = [
    "nftables.",
    "winkernel.",
    "windowsRunAsService",
    "logging.options.",
    "clientConnection.acceptContentTypes",
    "apiVersion",
];

/// Whether a field is known, and changes nothing here.
pub(super) fn is_of_others(field: &str) -> bool {
    field == "kind" || OTHERS.iter().any(|other| field.starts_with(other))
}

/// Everything that kube-proxy 1.36 has in its configuration, with the values that it gets without any flag. Here `mode` is
/// ipvs.
pub(super) const DEFAULTS: &str = r#"{
  "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
  "kind": "KubeProxyConfiguration",
  "featureGates": {},
  "clientConnection": {"kubeconfig": "", "acceptContentTypes": "",
    "contentType": "application/vnd.kubernetes.protobuf", "qps": 5, "burst": 10},
  "logging": {"format": "text", "flushFrequency": "5s", "verbosity": 0,
    "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}}},
  "hostnameOverride": "",
  "bindAddress": "0.0.0.0",
  "healthzBindAddress": "0.0.0.0:10256",
  "metricsBindAddress": "127.0.0.1:10249",
  "bindAddressHardFail": false,
  "enableProfiling": false,
  "showHiddenMetricsForVersion": "",
  "mode": "ipvs",
  "iptables": {"masqueradeBit": 14, "masqueradeAll": false, "localhostNodePorts": true, "syncPeriod": "30s",
    "minSyncPeriod": "1s"},
  "ipvs": {"syncPeriod": "30s", "minSyncPeriod": "1s", "scheduler": "", "excludeCIDRs": null, "strictARP": false,
    "tcpTimeout": "0s", "tcpFinTimeout": "0s", "udpTimeout": "0s"},
  "nftables": {"masqueradeBit": 14, "masqueradeAll": false, "syncPeriod": "30s", "minSyncPeriod": "1s"},
  "winkernel": {"networkName": "", "sourceVip": "", "enableDSR": false, "rootHnsEndpointName": "",
    "forwardHealthCheckVip": false},
  "detectLocalMode": "ClusterCIDR",
  "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
  "clusterCIDR": "",
  "nodePortAddresses": null,
  "oomScoreAdj": -999,
  "conntrack": {"maxPerCore": 32768, "min": 131072, "tcpEstablishedTimeout": "24h0m0s",
    "tcpCloseWaitTimeout": "1h0m0s", "tcpBeLiberal": false, "udpTimeout": "0s", "udpStreamTimeout": "0s"},
  "configSyncPeriod": "15m0s",
  "portRange": ""
}"#;
